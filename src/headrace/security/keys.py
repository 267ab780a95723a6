"""Key files: random bytes in a file only its owner can read, written whole or not at all."""

import os
import secrets
from pathlib import Path

from headrace.disk import sync_directory
from headrace.errors import ConfigurationError

KEY_BYTES = 32


def load_or_create_key(path: Path) -> bytes:
    """The 32-byte key in `path`, created with mode 0600 on first use; ConfigurationError when unusable."""
    if not path.exists():
        write_private(path, secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n")
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"The key file {path} cannot be read: {error}") from None
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"The key file {path} must hold {KEY_BYTES * 2} hexadecimal digits; it holds {len(key) * 2}."
        )
    return key


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` atomically with a file of mode 0600; durable when this returns."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
