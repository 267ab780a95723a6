"""Hash functions; the result is lower-case hex."""

import hashlib
import zlib
from collections.abc import Callable
from typing import Any

from headrace.mapping.errors import TransformError
from headrace.mapping.functions.definition import Function, Parameter, examples
from headrace.mapping.values import shorten, text_of

CATEGORY = "Hashing"


def _check_charset(charset: Any) -> None:
    _encoded("", charset)


def _encoded(value: Any, charset: Any) -> bytes:
    text = text_of(value)
    match "UTF-8" if charset is None else text_of(charset).upper():
        case "UTF-8" | "UTF8":
            return text.encode("utf-8", "replace")
        case "UTF-16" | "UTF16":  # Java writes big-endian with a byte-order mark
            return b"\xfe\xff" + text.encode("utf-16-be", "surrogatepass")
        case "ISO-8859-1":
            return text.encode("latin-1", "replace")
        case "US-ASCII":
            return text.encode("ascii", "replace")
    raise TransformError(
        f"Unknown character set {shorten(charset)}: use UTF-8, UTF-16, ISO-8859-1 or US-ASCII."
    )


def _little_endian_crc32(data: bytes) -> str:
    """The byte order of the original, the reverse of the usual one."""
    return zlib.crc32(data).to_bytes(4, "little").hex()


_DIGESTS: dict[str, Callable[[bytes], str]] = {
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
    "sha512": lambda data: hashlib.sha512(data).hexdigest(),
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "crc32": _little_endian_crc32,
}

_ORDER = {"crc32": ", its bytes in little-endian order"}


def _hasher(digest: Callable[[bytes], str]) -> Callable[..., Any]:
    def hashed(value: Any, charset: Any = None) -> str | None:
        if value is None:
            return None
        if charset is None and type(value) is str:
            return digest(value.encode("utf-8", "replace"))
        return digest(_encoded(value, charset))

    return hashed


def _digest_of(algorithm: Any) -> Callable[[bytes], str]:
    digest = _DIGESTS.get(text_of(algorithm).lower().replace("-", ""))
    if digest is None:
        raise TransformError(
            f"Unknown hash {shorten(algorithm)}: use SHA-1, SHA-256, SHA-512, MD5 or CRC32."
        )
    return digest


def hash_with(algorithm: Any, value: Any, charset: Any = None) -> str | None:
    digest = _digest_of(algorithm)
    return None if value is None else digest(_encoded(value, charset))


_INPUT = (
    Parameter("input", "string", "the text"),
    Parameter(
        "charset",
        "string",
        "UTF-8 (the default), UTF-16, ISO-8859-1 or US-ASCII",
        optional=True,
        check=_check_charset,
    ),
)
FUNCTIONS = (
    *(
        Function(
            name,
            CATEGORY,
            _INPUT,
            "string",
            f"The {name} hash of a text{_ORDER.get(name, '')}.",
            examples((f'{name}("my text")', f'"{digest(b"my text")}"', f"{name}(null)", "null")),
            _hasher(digest),
        )
        for name, digest in _DIGESTS.items()
    ),
    Function(
        "hash",
        CATEGORY,
        (
            Parameter(
                "algorithm", "string", "SHA-1, SHA-256, SHA-512, MD5 or CRC32", check=_digest_of
            ),
            *_INPUT,
        ),
        "string",
        "The hash of a text by a named algorithm.",
        examples(('hash("CRC32", "my text", "US-ASCII")', '"8df92e80"')),
        hash_with,
    ),
)
