"""Bounded decompression: a small body may not become a large one."""

import zlib

from headrace.errors import HeadraceError


class InflateRefused(HeadraceError):
    """A compressed body that cannot be accepted."""


class InflatedTooLarge(InflateRefused):
    """The decompressed body would exceed the limit."""


class InflateCorrupt(InflateRefused):
    """The bytes are not a complete gzip stream."""


def inflate_gzip(data: bytes, limit: int) -> bytes:
    """The decompressed bytes, at most `limit` of them; members of a concatenated stream are joined."""
    parts: list[bytes] = []
    size = 0
    rest = data
    if not rest:
        raise InflateCorrupt("The body is empty, not a gzip stream.")
    while rest:
        stream = zlib.decompressobj(wbits=31)
        try:
            # One byte beyond the limit tells "exactly at the limit" from "more".
            part = stream.decompress(rest, limit - size + 1)
        except zlib.error as error:
            raise InflateCorrupt(f"The body is not valid gzip: {error}") from None
        size += len(part)
        if size > limit:
            raise InflatedTooLarge(f"The decompressed body exceeds {limit} bytes.")
        if not stream.eof:
            raise InflateCorrupt("The gzip stream ends before its checksum.")
        parts.append(part)
        rest = stream.unused_data.lstrip(b"\0")  # padding after the last member is allowed
    return b"".join(parts)
