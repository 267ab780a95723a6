"""Messages of a pulled source as frames of the pipeline, with the source's own offsets and identifiers."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from headrace.log.frames import DELIMITED, PARTS, Frame, Meta
from headrace.log.payloads import DelimitedError, as_object, header_of, split_delimited
from headrace.security.inflate import InflateRefused, inflate_gzip
from headrace.sources.contract import Chunk, Message

MOST_INFLATED = 64 * 2**20
"""Bytes that one compressed message may become."""

Part = tuple[bytes, bytes]


class _Entity(msgspec.Struct, gc=False):
    xdmEntity: msgspec.Raw


class _Enveloped(msgspec.Struct, gc=False):
    body: _Entity


_one = msgspec.json.Decoder(msgspec.Raw).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_enveloped = msgspec.json.Decoder(_Enveloped).decode


@dataclass(slots=True, frozen=True)
class Pulled(Frame):
    """A chunk of one partition. `offset` is that of its first message and `next` the position after it; each list has
    an entry for every record: bytes as received with the JSON to decode, offset, identifier, time at the source;
    `headers`, when it is not empty, too: see `csv_header`."""

    source_partition: str = ""
    next: int = 0
    parts: Sequence[Part] = ()
    offsets: Sequence[int] = ()
    receipts: Sequence[str] = ()
    moments: Sequence[int] = ()
    headers: Sequence[str | None] = ()

    @property
    def partition(self) -> str:
        return self.source_partition

    @property
    def end(self) -> int:
        return self.next

    @property
    def size(self) -> int:
        return sum(len(original) for original, _ in self.parts)

    def offsets_of(self, indexes: Sequence[int]) -> list[int]:
        return [self.offsets[index] for index in indexes]

    def received_of(self, indexes: Sequence[int]) -> list[int]:
        return [self.moments[index] for index in indexes]


def frame_of(
    partition: str,
    chunk: Chunk,
    flow_id: str,
    revision: int,
    sequence: int,
    payload: str,
    format: str,
) -> Pulled:
    """A chunk as a frame. A message of several records gives each of them its offset; `sequence` counts the flow's
    records before the chunk."""
    parts: list[Part] = []
    offsets: list[int] = []
    receipts: list[str] = []
    moments: list[int] = []
    headers: list[str | None] = []
    for message in chunk.messages:
        found, header = _split(message, payload, format)
        several = len(found) > 1
        parts += found
        offsets += [message.offset] * len(found)
        moments += [message.at] * len(found)
        headers += [header] * len(found)
        receipts += (
            [f"{message.id}-{n}" for n in range(len(found))]
            if several
            else [message.id] * len(found)
        )
    first = chunk.messages[0] if chunk.messages else None
    return Pulled(
        offset=first.offset if first else chunk.next.offset, count=len(parts), received=first.at if first else 0,
        meta=Meta(PARTS, flow_id, revision, sequence, ""), body=b"", source_partition=partition, next=chunk.next.offset,
        parts=parts, offsets=offsets, receipts=receipts, moments=moments,
        headers=headers,
    )  # fmt: skip


def csv_header(frame: Frame, index: int) -> str | None:
    """The CSV header row that a record came under, empty when it is too long to keep; None for what is no row of CSV."""
    if isinstance(frame, Pulled):
        return frame.headers[index] if frame.headers else None
    return header_of(frame.body) if frame.meta.layout == DELIMITED else None


def records_of(message: Message, payload: str, format: str) -> list[Part]:
    """(bytes as received, JSON to decode) of a message's records; what cannot be split is one record that fails."""
    return _split(message, payload, format)[0]


def _split(message: Message, payload: str, format: str) -> tuple[list[Part], str | None]:
    """The records, and the header that they came under if they are rows of CSV."""
    body = message.body
    if body[:2] == b"\x1f\x8b":
        try:
            body = inflate_gzip(body, MOST_INFLATED)
        except InflateRefused:
            return [(message.body, b"")], None
    if format == "delimited":
        try:
            names, rows = split_delimited(body)
        except (DelimitedError, UnicodeDecodeError):
            return [(message.body, b"")], None
        return [(original, as_object(names, cells)) for original, cells in rows], header_of(body)
    if body.lstrip()[:1] != b"[":
        return [(each, entity(each, payload)) for each in _lines(body)], None
    try:
        elements = [bytes(element) for element in _elements(body)]
    except (msgspec.DecodeError, RecursionError):
        return [(message.body, b"")], None
    return [(element, entity(element, payload)) for element in elements], None


def _lines(body: bytes) -> list[bytes]:
    """The objects of a message that has one in each line; else the message itself, whatever it is."""
    if b"\n" not in body.strip():
        return [body]
    try:
        _one(body)
    except (msgspec.DecodeError, RecursionError):
        lines = [line for line in body.splitlines() if line.strip()]
        try:
            for line in lines:
                _one(line)
        except (msgspec.DecodeError, RecursionError):
            return [body]
        return lines
    return [body]


def entity(text: bytes, payload: str) -> bytes:
    """The XDM of a message that carries the streaming envelope, else the text itself."""
    if payload == "xdm" and b'"xdmEntity"' in text:
        try:
            return bytes(_enveloped(text).body.xdmEntity)
        except (msgspec.DecodeError, RecursionError):
            return text
    return text
