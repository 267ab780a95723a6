"""Two revisions of a flow over the same records: what would land, fail or come out different. Nothing is written."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.lake.replay_rows import Key
from headrace.log.frames import Frame
from headrace.runtime.batch import Failure
from headrace.runtime.pipeline import Pipeline
from headrace.runtime.replay import Reasons, outcomes

MOST_FIELDS = 100
EXAMPLES = 3
"""Examples of a field's changes; of records that land or fail otherwise there are up to 10."""
MOST_RECORDS_SHOWN = 10
_AT_ONCE = 2_000

Outcome = dict[str, Any] | Failure


@dataclass(slots=True)
class Differences:
    """Counts of records by what becomes of them under either revision."""

    counts: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    fields: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    newly_landed: list[dict[str, Any]] = field(default_factory=list)
    newly_failed: list[dict[str, Any]] = field(default_factory=list)
    reasons: Reasons = field(default_factory=Reasons)

    def add(self, key: Key, before: Outcome, after: Outcome) -> None:
        """One record."""
        self.counts["landedBefore"] += not isinstance(before, Failure)
        self.counts["landedAfter"] += not isinstance(after, Failure)
        if isinstance(after, Failure):
            self.reasons.add([after])
        place = {"partition": key[0], "offset": key[1], "receipt": key[2]}
        if isinstance(before, Failure) and isinstance(after, Failure):
            self.counts["failedBoth"] += 1
        elif isinstance(before, Failure):
            self.counts["failedToLanded"] += 1
            if len(self.newly_landed) < MOST_RECORDS_SHOWN:
                self.newly_landed.append(place | {"before": _reason(before), "after": after})
        elif isinstance(after, Failure):
            self.counts["landedToFailed"] += 1
            if len(self.newly_failed) < MOST_RECORDS_SHOWN:
                self.newly_failed.append(place | {"before": before, "after": _reason(after)})
        elif before == after:
            self.counts["same"] += 1
        else:
            self.counts["changed"] += 1
            self._compare(key, before, after)

    def _compare(self, key: Key, before: dict[str, Any], after: dict[str, Any]) -> None:
        was, now = dict(_leaves(before)), dict(_leaves(after))
        for path in sorted(was.keys() | now.keys()):
            if path in was and path in now and was[path] == now[path]:
                continue
            if path not in self.changes and len(self.changes) >= MOST_FIELDS:
                path = "further fields"
            self.changes[path] += 1
            examples = self.fields.setdefault(path, [])
            if len(examples) < EXAMPLES and path in (was.keys() | now.keys()):
                examples.append(
                    {"receipt": key[2], "before": was.get(path), "after": now.get(path)}
                )

    def listed(self) -> dict[str, Any]:
        """As an answer; the most frequent changes first."""
        names = (
            "landedBefore", "landedAfter", "landedToFailed", "failedToLanded", "failedBoth", "changed",
            "same",
        )  # fmt: skip
        return {
            "counts": {name: self.counts[name] for name in names},
            "fields": [
                {"path": path, "count": count, "examples": self.fields[path]}
                for path, count in self.changes.most_common()
            ],
            "failedToLanded": self.newly_landed,
            "landedToFailed": self.newly_failed,
            "reasons": self.reasons.listed(),
        }


def rehearse(
    now: Pipeline, then: Pipeline, frames: Sequence[Frame], most: int, going: Callable[[], bool]
) -> tuple[Differences, int]:
    """The differences of the last `most` records of the frames, and how many were run; newest first, as long as
    `going`."""
    found, left = Differences(), most
    group: list[Frame] = []
    for frame in reversed(frames):
        if group and (
            sum(each.count for each in group) >= _AT_ONCE
            or group[0].meta.envelope != frame.meta.envelope
        ):
            left -= _run(now, then, group[::-1], left, found)
            group = []
            if left <= 0 or not going():
                return found, most - left
        group.append(frame)
    if group and left > 0:
        left -= _run(now, then, group[::-1], left, found)
    return found, most - left


def _run(
    now: Pipeline, then: Pipeline, frames: Sequence[Frame], most: int, found: Differences
) -> int:
    sides = []
    for pipeline in (now, then):
        batch = pipeline.batch(frames[0].meta.envelope)
        for frame in frames:
            batch.add(frame)
        sides.append(outcomes(pipeline, [batch]))
    before, after = sides
    keys = sorted(before, key=lambda key: (key[1], key[2]))[-most:]
    for key in keys:
        found.add(key, before[key], after[key])
    return len(keys)


def _reason(failure: Failure) -> dict[str, str]:
    return {"code": failure.code, "path": failure.path, "message": failure.message}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths with the values there; an array is one value."""
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from _leaves(child, f"{path}.{name}" if path else name)
    else:
        yield path, value
