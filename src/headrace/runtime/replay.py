"""Failed records run again: their bytes as they were received, under another revision than the one they failed under.

A record keeps its place in the source, its receipt and its time, so that functions such as `now()` see what they would
have seen then. One failed row is one record, whatever its bytes would be split into now.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa

from headrace.lake.replay import Rerun
from headrace.lake.replay_rows import Key, Selection
from headrace.runtime.batch import Batch, Failure
from headrace.runtime.export import JsonLines
from headrace.runtime.pipeline import Pipeline
from headrace.runtime.replay_frames import frames

PAGE_ROWS = 2_000
PAGE_BYTES = 32 * 2**20
MOST_REASONS = 100
"""Kinds of failures that one replay lists."""
_NAMES = ("batch", "code", "path", "receipts", "since", "until")


def selection_of(flow_id: str, given: dict[str, Any], below: dict[str, int]) -> Selection:
    """What a stored replay is about."""
    values = {name: given[name] for name in _NAMES if given.get(name) is not None}
    return Selection(flow_id, below, **values)


def run(pipeline: Pipeline, rows: pa.Table) -> list[Batch]:
    """The rows under a revision, those that carry the envelope in a batch of their own. What no column can hold is a
    failure only after `Batch.good` was asked."""
    batches: dict[bool, Batch] = {}
    for frame in frames(rows, pipeline.revision):
        envelope = frame.meta.envelope
        if envelope not in batches:
            batches[envelope] = pipeline.batch(envelope)
        batches[envelope].add(frame)
    return list(batches.values())


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
    tables, keys, warnings = list[pa.Table](), set[Key](), 0
    for batch in run(pipeline, rows):
        good = batch.good(batch_id)
        reasons.add(batch.failures)
        warnings += batch.warnings.total()
        if good is not None:
            tables.append(good)
            keys.update(good_keys(batch))
    return Rerun(tables, keys, warnings)


def good_keys(batch: Batch) -> list[Key]:
    """The keys of a batch's good rows, in their order."""
    return list(zip(batch.partitions, batch.offsets, batch.receipts, strict=True))


def outcomes(pipeline: Pipeline, batches: Iterable[Batch]) -> dict[Key, dict[str, Any] | Failure]:
    """What became of every record of batches: its row as XDM JSON, or why it failed."""
    found: dict[Key, dict[str, Any] | Failure] = {}
    for batch in batches:
        if batch.good("") is not None:
            lines = JsonLines(pipeline).encode(batch).splitlines()
            for key, line in zip(good_keys(batch), lines, strict=True):
                found[key] = msgspec.json.decode(line)
        for failure in batch.failures:
            found[failure.partition, failure.offset, failure.receipt] = failure
    return found
