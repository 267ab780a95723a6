"""Failed records run again: their bytes as they were received, under another revision than the one they failed under.

A record keeps its place in the source, its receipt and its time, so that functions such as `now()` see what they would
have seen then. One failed row is one record, whatever its bytes would be split into now.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa

from headrace.lake.replay import Rerun
from headrace.lake.replay_rows import Key, Selection
from headrace.log.frames import PARTS, Meta
from headrace.runtime.batch import Batch, Failure
from headrace.runtime.export import JsonLines
from headrace.runtime.pipeline import Pipeline
from headrace.runtime.pulled import Part, Pulled, records_of
from headrace.sources.contract import Message

PAGE_ROWS = 2_000
PAGE_BYTES = 32 * 2**20
MOST_REASONS = 100
"""Kinds of failures that one replay lists."""
_NAMES = ("batch", "code", "path", "receipts", "since", "until")


def selection_of(flow_id: str, given: dict[str, Any], below: dict[str, int]) -> Selection:
    """What a stored replay is about."""
    values = {name: given[name] for name in _NAMES if given.get(name) is not None}
    return Selection(flow_id, below, **values)


def frames(rows: pa.Table, pipeline: Pipeline) -> Iterator[Pulled]:
    """Failed rows as frames, one for each run of rows of one partition."""
    revision = pipeline.revision
    # records of the XDM inlet keep their envelope when they fail, as those of a source that sends it
    payload = "xdm" if revision.rules is None else revision.payload
    columns = {name: rows[name].to_pylist() for name in rows.column_names}
    partitions = columns["sourcePartition"]
    start = 0
    for end in range(1, len(partitions) + 1):
        if end < len(partitions) and partitions[end] == partitions[start]:
            continue
        own = slice(start, end)
        offsets, moments = columns["sourceOffset"][own], columns["ingestTime"][own]
        parts = [_part(original, payload) for original in columns["original"][own]]
        yield Pulled(
            offset=offsets[0], count=len(parts), received=moments[0],
            meta=Meta(PARTS, revision.flow_id, revision.revision, 0, ""), body=b"",
            source_partition=partitions[start], next=offsets[-1] + 1, parts=parts, offsets=offsets,
            receipts=columns["receiptId"][own], moments=moments,
        )  # fmt: skip
        start = end


def run(pipeline: Pipeline, rows: pa.Table) -> Batch:
    """The rows under a revision. What no column can hold is a failure only after `Batch.good` was asked."""
    batch = pipeline.batch(False)
    for frame in frames(rows, pipeline):
        batch.add(frame)
    return batch


@dataclass(slots=True)
class Reasons:
    """Why records failed: kinds of failures with their numbers."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            kind = (failure.code, failure.path, failure.message[:200])
            if kind not in self.counts and len(self.counts) >= MOST_REASONS:
                kind = (failure.code, "", "further reasons")
            self.counts[kind] += 1

    def listed(self) -> list[dict[str, Any]]:
        """The most frequent first."""
        return [
            {"code": code, "path": path, "message": message, "count": count}
            for (code, path, message), count in self.counts.most_common()
        ]

    @classmethod
    def read(cls, listed: Sequence[dict[str, Any]]) -> "Reasons":
        return cls(
            Counter(
                {(each["code"], each["path"], each["message"]): each["count"] for each in listed}
            )
        )


def rerun(pipeline: Pipeline, rows: pa.Table, batch_id: str, reasons: Reasons) -> Rerun:
    """A page of failed rows for the lake; what fails again is added to `reasons`."""
    batch = run(pipeline, rows)
    good = batch.good(batch_id)
    reasons.add(batch.failures)
    return Rerun(good, set(good_keys(batch)) if good else (), batch.warnings.total())


def good_keys(batch: Batch) -> list[Key]:
    """The keys of a batch's good rows, in their order."""
    return list(zip(batch.partitions, batch.offsets, batch.receipts, strict=True))


def outcomes(pipeline: Pipeline, batch: Batch) -> dict[Key, dict[str, Any] | Failure]:
    """What became of every record of a batch: its row as XDM JSON, or why it failed."""
    found: dict[Key, dict[str, Any] | Failure] = {}
    if batch.good("") is not None:
        lines = JsonLines(pipeline).encode(batch).splitlines()
        for key, line in zip(good_keys(batch), lines, strict=True):
            found[key] = msgspec.json.decode(line)
    for failure in batch.failures:
        found[failure.partition, failure.offset, failure.receipt] = failure
    return found


def _part(original: bytes, payload: str) -> Part:
    """(bytes as received, JSON to decode) of one failed record."""
    found = records_of(Message(original, 0, 0, ""), payload, "json")
    # several records were never counted: such a message fails as it did before
    return (original, found[0][1]) if len(found) == 1 else (original, original)
