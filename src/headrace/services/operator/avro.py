"""Rewriting Avro files value by value, whatever their schema: header, codec and schema stay as they are.

Libraries that write Iceberg's manifests build them anew, with other snapshot and sequence numbers; a file that is
only moved must keep its own.
"""

import io
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

from pyiceberg.avro.codecs import KNOWN_CODECS

MAGIC = b"Obj\x01"
SYNC = 16
_META = {"type": "map", "values": "bytes"}
_FLOATS = {"float": struct.Struct("<f"), "double": struct.Struct("<d")}
Change = Callable[[dict[str, Any]], dict[str, Any]]


def rewritten(content: bytes, change: Change) -> bytes:
    """The file with each record replaced by what `change` makes of it.

    ValueError when it is no Avro file, or of a codec that is not known here.
    """
    source = io.BytesIO(content)
    if source.read(4) != MAGIC:
        raise ValueError("it is no Avro file")
    names: dict[str, Any] = {}
    meta = _read(source, _META, names)
    sync = source.read(SYNC)
    schema = json.loads(meta["avro.schema"])
    codec = meta.get("avro.codec", b"null").decode()
    if codec not in KNOWN_CODECS:
        raise ValueError(f"it is compressed with {codec}")
    coder = KNOWN_CODECS[codec]
    out = io.BytesIO()
    out.write(MAGIC)
    _write(out, meta, _META, names)
    out.write(sync)
    while source.tell() < len(content):
        count, size = _read_long(source), _read_long(source)
        block = source.read(size)
        if source.read(SYNC) != sync:
            raise ValueError("a block is damaged")
        values = io.BytesIO(coder.decompress(block) if coder else block)
        changed = io.BytesIO()
        for _ in range(count):
            _write(changed, change(_read(values, schema, names)), schema, names)
        packed = coder.compress(changed.getvalue())[0] if coder else changed.getvalue()
        _write_long(out, count)
        _write_long(out, len(packed))
        out.write(packed)
        out.write(sync)
    return out.getvalue()


def checked(content: bytes) -> dict[str, str]:
    """The header's values, after every block was unpacked and compared with its marks.

    ValueError that says what is damaged. The format has no checksum; but what pyiceberg compresses ends with three of
    the four bytes of zlib's, which readers pass over and which are looked at here.
    """
    source = io.BytesIO(content)
    if source.read(4) != MAGIC:
        raise ValueError("it is no Avro file")
    try:
        meta = {name: value.decode() for name, value in _read(source, _META, {}).items()}
    except UnicodeDecodeError as error:
        raise ValueError(f"its header is no text: {error}") from None
    sync = source.read(SYNC)
    while source.tell() < len(content):
        _read_long(source)
        size = _read_long(source)
        block = source.read(size)
        if size < 0 or len(block) != size or source.read(SYNC) != sync:
            raise ValueError("a block does not end with the file's mark")
        if meta.get("avro.codec") == "deflate":
            _inflated(block)
    return meta


def _inflated(block: bytes) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = stream.decompress(block)
    except zlib.error as error:
        raise ValueError(f"a block cannot be unpacked: {error}") from None
    rest, own = stream.unused_data, zlib.adler32(plain).to_bytes(4, "big")
    if not stream.eof or len(rest) > len(own) or (len(rest) >= 3 and not own.startswith(rest)):
        raise ValueError("a block does not fit its checksum")
    return plain


def _kind(schema: Any, names: dict[str, Any]) -> tuple[str, Any]:
    """The type's name and its schema, with names that were declared before resolved."""
    while True:
        if isinstance(schema, list):
            return "union", schema
        if isinstance(schema, str):
            if schema not in names:
                return schema, schema
            schema = names[schema]
        elif isinstance(schema["type"], str):
            if "name" in schema:
                names[schema["name"]] = schema
            return schema["type"], schema
        else:
            schema = schema["type"]


def _read(source: io.BytesIO, schema: Any, names: dict[str, Any]) -> Any:
    kind, schema = _kind(schema, names)
    if kind == "record":
        return {f["name"]: _read(source, f["type"], names) for f in schema["fields"]}
    if kind == "union":
        branch = _read_long(source)
        return branch, _read(source, schema[branch], names)
    if kind in ("int", "long", "enum"):
        return _read_long(source)
    if kind in ("string", "bytes"):
        data = source.read(_read_long(source))
        return data.decode() if kind == "string" else data
    if kind == "boolean":
        return source.read(1) == b"\x01"
    if kind in _FLOATS:
        return source.read(_FLOATS[kind].size)
    if kind == "fixed":
        return source.read(schema["size"])
    if kind == "array":
        return [_read(source, schema["items"], names) for _ in _items(source)]
    if kind == "map":
        return {_read(source, "string", names): _read(source, schema["values"], names) for _ in _items(source)}  # fmt: skip
    if kind == "null":
        return None
    raise ValueError(f"the type {kind} is not known")


def _items(source: io.BytesIO) -> Any:
    """Once for each item of an array or map, block after block."""
    while count := _read_long(source):
        if count < 0:
            _read_long(source)  # the block's bytes, for those who skip it
        for _ in range(abs(count)):
            yield None


def _write(out: io.BytesIO, value: Any, schema: Any, names: dict[str, Any]) -> None:
    kind, schema = _kind(schema, names)
    if kind == "record":
        for field in schema["fields"]:
            _write(out, value[field["name"]], field["type"], names)
    elif kind == "union":
        _write_long(out, value[0])
        _write(out, value[1], schema[value[0]], names)
    elif kind in ("int", "long", "enum"):
        _write_long(out, value)
    elif kind in ("string", "bytes"):
        data = value.encode() if kind == "string" else value
        _write_long(out, len(data))
        out.write(data)
    elif kind == "boolean":
        out.write(b"\x01" if value else b"\x00")
    elif kind in _FLOATS or kind == "fixed":
        out.write(value)
    elif kind in ("array", "map"):
        if value:
            _write_long(out, len(value))
        for item in value:
            if kind == "array":
                _write(out, item, schema["items"], names)
            else:
                _write(out, item, "string", names)
                _write(out, value[item], schema["values"], names)
        _write_long(out, 0)


def _read_long(source: io.BytesIO) -> int:
    number = shift = 0
    while True:
        read = source.read(1)
        if not read:
            raise ValueError("the file ends early")
        number |= (read[0] & 0x7F) << shift
        shift += 7
        if read[0] < 0x80:
            return number >> 1 ^ -(number & 1)


def _write_long(out: io.BytesIO, value: int) -> None:
    number = (value << 1) ^ (value >> 63)
    while number > 0x7F:
        out.write(bytes((number & 0x7F | 0x80,)))
        number >>= 7
    out.write(bytes((number,)))
