"""What a replay would do, without doing it."""

import time
from dataclasses import dataclass, field
from typing import Any

from headrace.lake.catalog import Lake
from headrace.lake.replay import Replayer
from headrace.lake.replay_rows import Key, count, keys_of, landed, page
from headrace.model.flow import FlowRevision
from headrace.runtime.batch import Failure
from headrace.runtime.pipeline import Pipeline
from headrace.runtime.replay import (
    PAGE_BYTES,
    PAGE_ROWS,
    Reasons,
    outcomes,
    run,
    selection_of,
)

MOST_EXAMINED = 10_000
MOST_EXAMPLES = 20
PATIENCE = 20.0
"""Seconds after which a preview answers with what it has."""


@dataclass(slots=True)
class _Seen:
    examined: int = 0
    landing: int = 0
    failing: int = 0
    already: int = 0
    reasons: Reasons = field(default_factory=Reasons)
    examples: list[dict[str, Any]] = field(default_factory=list)


def preview(lake: Lake, revision: FlowRevision, selection: dict[str, Any]) -> dict[str, Any]:
    """Run failed rows of a flow under a revision: counts, why rows would fail again, and examples of what changes,
    those that would land first. Terminal when the flow has no table."""
    pipeline = Pipeline(revision)
    replayer = Replayer(lake, revision.sandbox, revision.dataset_id, revision.flow_id)
    chosen = selection_of(revision.flow_id, selection, dict(replayer.position().offsets))
    good, failed = lake.table(revision.sandbox, revision.dataset_id), replayer.failed_table()
    selected, seen = count(failed, chosen), _Seen()
    after: Key | None = None
    until = time.monotonic() + PATIENCE
    while seen.examined < MOST_EXAMINED and time.monotonic() < until:
        most = min(PAGE_ROWS, MOST_EXAMINED - seen.examined)
        rows = page(failed, chosen, after, most, PAGE_BYTES)
        if rows is None:
            break
        keys = keys_of(rows)
        after = keys[-1]
        known = landed(good, revision.flow_id, keys)
        seen.examined += len(keys)
        seen.already += sum(key in known for key in keys)
        found = outcomes(pipeline, run(pipeline, rows))
        before = dict(zip(keys, rows.to_pylist(), strict=True))
        for key, then in found.items():
            if key not in known:
                _note(seen, key, before[key], then)
    seen.examples.sort(key=lambda example: "row" not in example["after"])
    return {
        "dryRun": True, "flowId": revision.flow_id, "revision": revision.revision,
        "selected": selected, "examined": seen.examined, "wouldLand": seen.landing,
        "wouldFail": seen.failing, "alreadyLanded": seen.already,
        "reasons": seen.reasons.listed(), "examples": seen.examples[:MOST_EXAMPLES],
    }  # fmt: skip


def _note(seen: _Seen, key: Key, before: dict[str, Any], then: dict[str, Any] | Failure) -> None:
    was = {name: before[name] for name in ("code", "path", "message")}
    if isinstance(then, Failure):
        seen.failing += 1
        seen.reasons.add([then])
        now = {"code": then.code, "path": then.path, "message": then.message}
        after: dict[str, Any] = {"failure": now}
    else:
        seen.landing += 1
        after, now = {"row": then}, {}
    kept = sum(("row" in example["after"]) == (not now) for example in seen.examples)
    if was != now and kept < MOST_EXAMPLES:
        place = {"partition": key[0], "offset": key[1], "receipt": key[2]}
        seen.examples.append(place | {"before": was, "after": after})
