"""Frames: the log's unit of durability, one a request.

On disk (little endian)::

    u32 length    bytes after this field and the checksum
    u32 crc32c    of those bytes
    u64 offset    of the first record; records are numbered from 0 without gaps by accepted request
    u32 count     records in the frame; 0 for a checkpoint
    u32 meta      bytes of metadata
    u64 received  milliseconds since the epoch
    …             metadata (msgpack of `Meta`), then the body as it was received

A frame is valid when it is whole and its checksum fits. Scanning stops at the first that is not: a torn tail.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import google_crc32c
import msgspec

HEAD = struct.Struct("<II")
FIXED = struct.Struct("<QIIQ")
MAX_FRAME = 64 * 1024 * 1024

LOG_PARTITION = "inlet-0"

SINGLE, MESSAGES, LINES, DELIMITED, CHECKPOINT, PARTS = range(6)
"""How the body holds its records: one JSON value; `{"messages": [...]}`; one a line; CSV with a header row;
none (a checkpoint: the body is a JSON object of every flow's sequence); beside the body (a source's messages, which
are never on disk)."""


class Origin(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Of what a frame is a copy. `rewind`: id of the rewind that copied it; `end`: the offset after the original frame;
    `at`: when it was copied, in milliseconds since the epoch."""

    rewind: str
    end: int
    at: int


class Meta(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the pipeline must know of a frame. `sequence` counts the flow's records before this frame.

    `receipt` identifies the request; in a frame of several records, record i has the receipt
    `receipt-<indexes[i]>`, or `receipt-<i>` without `indexes` (they are given when some elements of the
    request were refused). `envelope` says that records carry the streaming envelope. `origin` is there in copies.
    """

    layout: int
    flow_id: str
    revision: int
    sequence: int
    receipt: str
    envelope: bool = False
    indexes: list[int] | None = None
    origin: Origin | None = None


@dataclass(slots=True, frozen=True)
class Frame:
    offset: int
    count: int
    received: int
    meta: Meta
    body: bytes

    @property
    def end(self) -> int:
        """The offset after the last record."""
        return self.offset + self.count

    @property
    def partition(self) -> str:
        """The partition of a flow's source that the frame belongs to: for the log there is one."""
        return LOG_PARTITION

    @property
    def size(self) -> int:
        """Bytes as received."""
        return len(self.body)

    @property
    def accepted(self) -> int:
        """When the log took it, in milliseconds since the epoch; a copy was `received` when its original was."""
        origin = self.meta.origin
        return self.received if origin is None else origin.at

    def offsets_of(self, indexes: Sequence[int]) -> list[int]:
        """The offsets of records."""
        offset = self.offset
        return [offset + index for index in indexes]

    def received_of(self, indexes: Sequence[int]) -> list[int]:
        """When records were received, in milliseconds since the epoch."""
        return [self.received] * len(indexes)


_encode_meta = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(Meta).decode
_crc = google_crc32c.value
_extend = google_crc32c.extend


def encode(offset: int, count: int, received: int, meta: Meta, body: bytes) -> tuple[bytes, bytes]:
    """The frame as two buffers (head and body), so that a large body is never copied."""
    described = _encode_meta(meta)
    head = FIXED.pack(offset, count, len(described), received) + described
    checksum = _extend(_crc(head), body)
    return HEAD.pack(len(head) + len(body), checksum) + head, body


def scan(buffer: bytes, start: int = 0) -> Iterator[tuple[Frame, int]]:
    """Every valid frame from `start` with the position after it; ends at the first that is torn or corrupt."""
    at, size = start, len(buffer)
    while at + HEAD.size <= size:
        length, checksum = HEAD.unpack_from(buffer, at)
        begin = at + HEAD.size
        end = begin + length
        if length < FIXED.size or length > MAX_FRAME or end > size:
            return
        content = buffer[begin:end]
        if _crc(content) != checksum:
            return
        offset, count, described, received = FIXED.unpack_from(content)
        body_at = FIXED.size + described
        meta = _decode_meta(content[FIXED.size : body_at])
        yield Frame(offset, count, received, meta, content[body_at:]), end
        at = end


def announced(buffer: bytes, at: int) -> int:
    """Bytes that the frame at `at` says it needs in all, or 0 when its head is not there."""
    if at + HEAD.size > len(buffer):
        return 0
    return HEAD.size + int(HEAD.unpack_from(buffer, at)[0])
