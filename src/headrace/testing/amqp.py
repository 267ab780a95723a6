"""AMQP 1.0 as bytes: values, frames and the sections of messages, as far as a broker for tests needs them.

Every performative is written with all its fields, trailing nulls included: clients index them by number.
"""

import struct
import uuid
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

AMQP, SASL = 0, 1
"""Types of frames."""
PROTOCOL = b"AMQP"
BATCH_FORMAT = 0x80013700
"""Message format of a transfer whose data sections are messages themselves (Event Hubs)."""


class Code(IntEnum):
    """Descriptors of performatives, outcomes and termini."""

    OPEN = 0x10
    BEGIN = 0x11
    ATTACH = 0x12
    FLOW = 0x13
    TRANSFER = 0x14
    DISPOSITION = 0x15
    DETACH = 0x16
    END = 0x17
    CLOSE = 0x18
    ERROR = 0x1D
    ACCEPTED = 0x24
    REJECTED = 0x25
    SOURCE = 0x28
    TARGET = 0x29
    SASL_MECHANISMS = 0x40
    SASL_INIT = 0x41
    SASL_OUTCOME = 0x44


class Section(IntEnum):
    """Descriptors of the sections of a message."""

    HEADER = 0x70
    DELIVERY_ANNOTATIONS = 0x71
    MESSAGE_ANNOTATIONS = 0x72
    PROPERTIES = 0x73
    APPLICATION_PROPERTIES = 0x74
    DATA = 0x75
    SEQUENCE = 0x76
    VALUE = 0x77


FIELDS: Mapping[int, int] = {
    Code.OPEN: 10,
    Code.BEGIN: 8,
    Code.ATTACH: 14,
    Code.FLOW: 11,
    Code.TRANSFER: 11,
    Code.DISPOSITION: 6,
    Code.DETACH: 3,
    Code.END: 1,
    Code.CLOSE: 1,
    Code.ERROR: 3,
    Code.REJECTED: 1,
    Code.SOURCE: 11,
    Code.TARGET: 7,
    Code.SASL_MECHANISMS: 1,
    Code.SASL_INIT: 3,
    Code.SASL_OUTCOME: 2,
    Section.PROPERTIES: 13,
}
"""How many fields each list has."""


class Symbol(str):
    """A text of the protocol's own vocabulary."""

    __slots__ = ()


class Texts(tuple[str, ...]):
    """An array of strings."""

    __slots__ = ()


class Described(NamedTuple):
    descriptor: Any
    value: Any


class Typed(NamedTuple):
    """A number with the constructor it is written with."""

    code: int
    value: int | float


def ubyte(value: int) -> Typed:
    return Typed(0x50, value)


def ushort(value: int) -> Typed:
    return Typed(0x60, value)


def uint(value: int) -> Typed:
    return Typed(0x70, value)


def ulong(value: int) -> Typed:
    return Typed(0x80, value)


def int32(value: int) -> Typed:
    return Typed(0x71, value)


def timestamp(milliseconds: int) -> Typed:
    return Typed(0x83, milliseconds)


_NUMBERS = {
    code: struct.Struct(">" + form)
    for code, form in {
        0x50: "B", 0x51: "b", 0x52: "B", 0x53: "B", 0x54: "b", 0x55: "b", 0x60: "H", 0x61: "h",
        0x70: "I", 0x71: "i", 0x72: "f", 0x73: "I", 0x80: "Q", 0x81: "q", 0x82: "d", 0x83: "q",
    }.items()
}  # fmt: skip
_CONSTANTS: Mapping[int, Any] = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}
_LENGTH = struct.Struct(">I")
_COMPOUND = struct.Struct(">II")
_FRAME = struct.Struct(">IBBH")
EMPTY_FRAME = _FRAME.pack(8, 2, AMQP, 0)


def encode(value: Any) -> bytes:
    """A value with its constructor; a plain `int` becomes a long."""
    match value:
        case None:
            return b"\x40"
        case bool():
            return b"\x41" if value else b"\x42"
        case Typed(code, number):
            return bytes((code,)) + _NUMBERS[code].pack(number)
        case int():
            return b"\x81" + _NUMBERS[0x81].pack(value)
        case bytes():
            return _variable(0xA0, value)
        case Symbol():
            return _variable(0xA3, value.encode())
        case str():
            return _variable(0xA1, value.encode())
        case uuid.UUID():
            return b"\x98" + value.bytes
        case Described(descriptor, inner):
            return b"\x00" + encode(_descriptor(descriptor)) + encode(inner)
        case Texts():
            parts = [text.encode() for text in value]
            return _compound(0xF0, len(parts), b"\xb1" + b"".join(_LENGTH.pack(len(part)) + part for part in parts))  # fmt: skip
        case Mapping():
            return encode_map(0, b"", value)
        case Sequence():
            return _compound(0xD0, len(value), b"".join(map(encode, value)))
    raise TypeError(f"{type(value).__name__} has no form in AMQP here")


def encode_map(count: int, entries: bytes, more: Mapping[Any, Any]) -> bytes:
    """A map of `count` keys and values that are written already, and more of them."""
    added = b"".join(encode(key) + encode(value) for key, value in more.items())
    return _compound(0xD1, count + 2 * len(more), entries + added)


def described(code: int, *fields: Any) -> Described:
    """A list by its descriptor, filled up with nulls to all its fields."""
    return Described(code, [*fields, *[None] * (FIELDS.get(code, 0) - len(fields))])


def frame(channel: int, code: int, *fields: Any, payload: bytes = b"", kind: int = AMQP) -> bytes:
    body = encode(described(code, *fields)) + payload
    return _FRAME.pack(len(body) + 8, 2, kind, channel) + body


def frame_head(head: bytes) -> tuple[int, int, int, int]:
    """Size of the body, bytes of extended header in it, type, and channel, of a frame's first eight bytes."""
    size, words, kind, channel = _FRAME.unpack(head)
    return size - 8, words * 4 - 8, kind, channel


def performative(body: bytes, skip: int = 0) -> tuple[int, list[Any], bytes]:
    """Descriptor, all fields (missing ones as None) and payload of a frame."""
    found, at = decode(body, skip)
    fields = found.value
    missing = FIELDS.get(found.descriptor, 0) - len(fields)
    return found.descriptor, [*fields, *[None] * missing], body[at:]


def sections(message: bytes) -> Iterator[tuple[int, Any, bytes]]:
    """Descriptor, value and bytes of every section of a message."""
    at = 0
    while at < len(message):
        found, end = decode(message, at)
        yield found.descriptor, found.value, message[at:end]
        at = end


def map_entries(section: bytes) -> tuple[int, bytes]:
    """Count and bytes of the keys and values of a section that is a map, as `encode_map` takes them."""
    _, at = decode(section, 1)
    code = section[at]
    if code == 0xC1:
        return section[at + 2], section[at + 3 :]
    return _LENGTH.unpack_from(section, at + 5)[0], section[at + 9 :]


def decode(data: bytes, at: int, code: int | None = None) -> tuple[Any, int]:
    """The value at a position, and the position behind it; `code` is its constructor where an array tells it."""
    if code is None:
        code, at = data[at], at + 1
    if code == 0x00:
        descriptor, at = decode(data, at)
        value, at = decode(data, at)
        return Described(descriptor, value), at
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code in _NUMBERS:
        return _NUMBERS[code].unpack_from(data, at)[0], at + _NUMBERS[code].size
    if code == 0x56:
        return data[at] == 1, at + 1
    if code == 0x98:
        return uuid.UUID(bytes=data[at : at + 16]), at + 16
    if code == 0x45:
        return [], at
    wide = bool(code & 0x10)
    size = _LENGTH.unpack_from(data, at)[0] if wide else data[at]
    at += 4 if wide else 1
    family = code & 0xEF
    if family in (0xA0, 0xA1, 0xA3):
        raw = data[at : at + size]
        text = raw if family == 0xA0 else raw.decode()
        return Symbol(text) if family == 0xA3 else text, at + size
    count = _LENGTH.unpack_from(data, at)[0] if wide else data[at]
    return _elements(data, at + (4 if wide else 1), family, count), at + size


def _elements(data: bytes, at: int, family: int, count: int) -> Any:
    if family not in (0xC0, 0xC1, 0xE0):
        raise ValueError("a constructor that AMQP 1.0 does not have")
    inner = None
    if family == 0xE0:
        inner, at = data[at], at + 1
    found = []
    for _ in range(count):
        value, at = decode(data, at, inner)
        found.append(value)
    return dict(zip(found[::2], found[1::2], strict=True)) if family == 0xC1 else found


def _descriptor(descriptor: Any) -> Any:
    return Typed(0x53, int(descriptor)) if isinstance(descriptor, int) else descriptor


def _variable(narrow: int, raw: bytes) -> bytes:
    if len(raw) < 256:
        return bytes((narrow, len(raw))) + raw
    return bytes((narrow | 0x10,)) + _LENGTH.pack(len(raw)) + raw


def _compound(code: int, count: int, body: bytes) -> bytes:
    return bytes((code,)) + _COMPOUND.pack(len(body) + 4, count) + body
