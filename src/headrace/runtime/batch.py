"""Rows of one flow revision on their way to one commit: what landed so far, what failed, and both as tables."""

from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headrace.log.frames import Frame
from headrace.xdm.arrow import FAILED_SCHEMA, SYSTEM_METADATA

if TYPE_CHECKING:
    from headrace.runtime.pipeline import Pipeline

HEADER = "header"
_ATTRIBUTES = {
    "sourcePartition": "partition", "sourceOffset": "offset", "receiptId": "receipt", "ingestTime": "received",
}  # fmt: skip
"""Columns of failed records that have other names than what they are made of."""
WEIGHED_TOGETHER = 64
"""Rows whose values are weighed at once: it takes a fixed time, and a frame may have one row."""
UNHOLDABLE = (pa.ArrowException, ValueError, TypeError, OverflowError)
"""What building a column raises for a value that it cannot hold."""


@dataclass(slots=True)
class Failure:
    """One record that does not land among the good rows. `header`: the CSV header row that it came under, empty when it
    is too long to keep, None for what is no row of CSV."""

    original: bytes
    stage: str
    code: str
    path: str
    message: str
    offset: int
    receipt: str
    received: int
    partition: str
    header: str | None = None


@dataclass(slots=True)
class Batch:
    """Rows of one revision on their way to one commit."""

    pipeline: "Pipeline"
    envelope: bool
    start: int = -1
    next: int = -1
    sequence: int = 0
    first_received: int = 0
    input_bytes: int = 0
    made_bytes: int = 0
    """By how much what the mapping made is larger than what came in, roughly."""
    values: list[list[Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    partitions: list[str] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    warnings: Counter[tuple[str, str]] = field(default_factory=Counter)
    frames: list[Frame] = field(default_factory=list)
    _weighed: tuple[int, int] = (0, 0)
    """Rows and bytes of input whose values are in `made_bytes`."""

    @property
    def held(self) -> int:
        """Bytes in memory until the batch has landed, roughly."""
        return self.input_bytes + self.made_bytes

    @property
    def records(self) -> int:
        return len(self.offsets) + len(self.failures)

    def add(self, frame: Frame) -> None:
        """Run a frame's records; frames must come in order."""
        if self.start < 0:
            self.start, self.first_received = frame.offset, frame.accepted
        self.next = frame.end
        self.sequence = frame.meta.sequence + frame.count
        self.input_bytes += frame.size
        self.frames.append(frame)
        self.pipeline.run(frame, self)
        if len(self.offsets) - self._weighed[0] >= WEIGHED_TOGETHER:
            self._weigh()

    def _weigh(self) -> None:
        rows, size = self._weighed
        made = self.pipeline.weight(self, rows)
        self.made_bytes += max(0, made - (self.input_bytes - size))
        self._weighed = len(self.offsets), self.input_bytes

    def good(self, batch_id: str) -> pa.Table | None:
        """The good rows with their system metadata, or None. Rows Arrow cannot hold become failures first."""
        if not self.offsets:
            return None
        try:
            arrays = self.pipeline.assemble(self)
        except UNHOLDABLE:
            self.pipeline.isolate(self)
            if not self.offsets:
                return None
            arrays = self.pipeline.assemble(self)
        count = len(self.offsets)
        flow = self.pipeline.revision.flow_id
        metadata = {
            "flowId": pa.repeat(pa.scalar(flow, pa.string()), count),
            "sourcePartition": _texts(self.partitions),
            "sourceOffset": pa.array(self.offsets, pa.int64()),
            "receiptId": pa.array(self.receipts, pa.string()),
            "ingestTime": pa.array(self.received, pa.int64()),
            "acp_sourceBatchId": pa.repeat(pa.scalar(batch_id, pa.string()), count),
        }
        ordered = [metadata[child.name] for child in SYSTEM_METADATA]
        arrays["_acp_system_metadata"] = pa.StructArray.from_arrays(
            ordered, fields=list(SYSTEM_METADATA)
        )
        return pa.table(arrays)

    def failed(self, batch_id: str) -> pa.Table | None:
        """The failed rows, or None. To be asked after `good`."""
        if not self.failures:
            return None
        revision = self.pipeline.revision
        failures = sorted(self.failures, key=lambda failure: failure.offset)
        own = {
            "flowId": revision.flow_id,
            "flowRevision": revision.revision,
            "acp_sourceBatchId": batch_id,
        }
        columns = []
        for column in FAILED_SCHEMA:
            if column.name == HEADER:
                columns.append(_headers(failures))
            elif column.name in own:
                columns.append(pa.repeat(pa.scalar(own[column.name], column.type), len(failures)))
            else:
                values = map(attrgetter(_ATTRIBUTES.get(column.name, column.name)), failures)
                columns.append(pa.array(values, column.type))
        return pa.table(columns, names=FAILED_SCHEMA.names)


def _headers(failures: list[Failure]) -> pa.DictionaryArray:
    """Each header once, however many rows came under it: a request of many short rows must not outgrow memory."""
    known: dict[str, int] = {}
    indexes = [
        None if f.header is None else known.setdefault(f.header, len(known)) for f in failures
    ]
    return pa.DictionaryArray.from_arrays(
        pa.array(indexes, pa.int32()), pa.array(list(known), pa.string())
    )


def _texts(values: list[str]) -> pa.Array:
    """A column of texts, most often all the same."""
    if values.count(values[0]) == len(values):
        return pa.repeat(pa.scalar(values[0], pa.string()), len(values))
    return pa.array(values, pa.string())
