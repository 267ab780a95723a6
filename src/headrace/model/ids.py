"""Identifiers in the forms the platform's services use. Randomness is the operating system's."""

import secrets
import time
import uuid


def uuid_text() -> str:
    """Connections, flows, runs, sandboxes: lower-case UUID text."""
    return str(uuid.uuid4())


def hex_id(digits: int) -> str:
    """`digits` random lower-case hex digits: 24 data set, 32 mapping, 48 schema, 64 inlet."""
    return secrets.token_hex((digits + 1) // 2)[:digits]


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(milliseconds: int | None = None) -> str:
    """A batch id: 26 upper-case characters, ordered by creation time (`milliseconds` since the epoch)."""
    ms = int(time.time() * 1000) if milliseconds is None else milliseconds
    number = ms << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def etag_text(seconds: int) -> str:
    """A Flow Service etag, quotes included: random digits and the write time (`seconds` since the epoch)."""
    return f'"{secrets.token_hex(4)}-0000-0200-0000-{seconds:08x}0000"'
