"""What the store knows of commits: a row for each table that a commit reached, from which runs and batches come.

The tables are the truth. A row is written after its commit, so a worker can die in between; `recover` writes what
is missing when the flow is opened again.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrace.lake.watermark import Watermark
from headrace.model.ids import ulid
from headrace.sources.contract import Lag
from headrace.store.documents import Store

if TYPE_CHECKING:  # the server reads these rows and has no other need of the lake's libraries
    from headrace.lake.commit import CommitResult
    from headrace.model.flow import FlowRevision
    from headrace.runtime.batch import Batch

MOST_ERRORS = 100
"""Kinds of errors that one row lists."""

_TOTALS = (
    "SELECT flow_id, sum(json_extract(body, '$.records')), sum(json_extract(body, '$.failed')),"
    " sum(json_extract(body, '$.warnings')), max(json_extract(body, '$.next')),"
    " max(json_extract(body, '$.sequence')), total(json_extract(body, '$.again')),"
    " total(json_extract(body, '$.lost')) FROM commits"
)
_REACHED = "SELECT flow_id, json_extract(body, '$.sequence'), max(rowid) FROM commits"


def totals(store: Store) -> dict[str, dict[str, int]]:
    """Flow id → landed, failed, warnings, position (next offset), sequence, again and lost, as far as rows tell.

    Position and sequence are the greatest ever; `reached` is the sequence of the newest row, which is less when the
    flow was rewound since.
    """
    names = ("landed", "failed", "warnings", "position", "sequence", "again", "lost")
    rows = store.connection.execute(f"{_TOTALS} GROUP BY flow_id").fetchall()
    newest = store.connection.execute(f"{_REACHED} GROUP BY flow_id").fetchall()
    reached = {flow: sequence for flow, sequence, _ in newest}
    return {
        row[0]: dict(zip(names, map(int, row[1:]), strict=True)) | {"reached": reached[row[0]]}
        for row in rows
        if row[0] in reached
    }


def dataset_has_rows(store: Store, dataset_id: str) -> bool:
    """Whether the data set ever got a commit."""
    row = store.connection.execute(
        "SELECT 1 FROM commits WHERE dataset_id=? LIMIT 1", (dataset_id,)
    )
    return row.fetchone() is not None


def record(
    store: Store, batch: "Batch", result: "CommitResult", started: float, lag: Mapping[str, Lag]
) -> None:
    """Write a commit's rows; writing them twice changes nothing. `started`: seconds since the epoch; `lag`: by partition
    of the source."""
    errors = Counter((failure.code, failure.message[:200]) for failure in batch.failures)
    revision, mark = batch.pipeline.revision, result.watermark
    told = {id: [each.records, each.milliseconds] for id, each in lag.items()}
    place = {
        "started": int(started * 1000),
        "received": batch.first_received,
        "start": batch.start,
        "next": batch.next,
        "sequence": batch.sequence,
        "revision": revision.revision,
        **({"lag": told} if told else {}),
    }
    good = {
        "records": len(batch.offsets),
        "failed": 0,
        "warnings": batch.warnings.total(),
        "bytes": result.bytes,
        "files": result.files,
        "input_bytes": batch.input_bytes,
        "snapshot": result.good_snapshot,
        "errors": [],
        "warningInfo": [
            {"code": "MAPPER-3700-400", "message": f"{where}: {text}", "count": n}
            for (where, text), n in batch.warnings.items()
        ],
    }
    bad = {
        "records": 0,
        "failed": len(batch.failures),
        "warnings": 0,
        "bytes": 0,
        "files": result.failed_files,
        "input_bytes": 0,
        "snapshot": result.failed_snapshot,
        "errors": [
            {"code": code, "description": text, "recordCount": n}
            for (code, text), n in errors.most_common(MOST_ERRORS)
        ],
    }
    _write(store, revision.flow_id, revision.dataset_id, mark, place | good, place | bad)


def record_replay(
    store: Store,
    revision: "FlowRevision",
    result: "CommitResult",
    landed: int,
    rows: int,
    warnings: int,
    started: int,
    position: int,
) -> None:
    """Write the row of a commit that landed records which had been `rows` failed rows before; writing it twice changes
    nothing. `started`: milliseconds since the epoch; `position`: the flow's in the log, which stays."""
    mark = result.watermark
    body = {
        "started": started, "received": started, "start": position, "next": position,
        "sequence": mark.sequence, "revision": revision.revision, "records": landed, "failed": -rows,
        "warnings": warnings, "again": landed - rows, "bytes": result.bytes, "files": result.files,
        "input_bytes": 0, "snapshot": result.good_snapshot, "errors": [], "replay": True,
    }  # fmt: skip
    _write(store, revision.flow_id, revision.dataset_id, mark, body, {"failed": 0})


def recover(store: Store, flow_id: str, dataset_id: str, mark: Watermark, position: int) -> None:
    """Write what the watermark counts and no row does. Sizes, files and reasons are not known any more."""
    known = totals(store).get(flow_id, {})
    missing = {
        name: getattr(mark, name) - known.get(name, 0)
        for name in ("landed", "failed", "warnings", "again", "lost")
    }
    if not any(missing.values()):
        return
    own = store.connection.execute(
        "SELECT 1 FROM commits WHERE commit_id=?", (f"{mark.commit_id}-good",)
    ).fetchone()
    if own is not None:
        # the newest commit has its row, which must stay: others are too few or too many
        again = f"{mark.commit_id}-{ulid()}"
        mark = replace(mark, commit_id=again, batch_id="", failed_batch_id="")
    now = int(time.time() * 1000)
    place: dict[str, Any] = {
        "started": now,
        "received": now,
        "start": known.get("position", 0),
        "next": position,
        "sequence": mark.sequence,
        "revision": None,
        "bytes": 0,
        "files": [],
        "input_bytes": 0,
        "snapshot": None,
        "errors": [],
    }
    good = {
        "records": missing["landed"], "failed": 0, "warnings": missing["warnings"],
        "again": missing["again"], "lost": missing["lost"],
    }  # fmt: skip
    bad = {"records": 0, "failed": missing["failed"], "warnings": 0}
    _write(store, flow_id, dataset_id, mark, place | good, place | bad)


def _write(
    store: Store,
    flow_id: str,
    dataset_id: str,
    mark: Watermark,
    good: dict[str, Any],
    bad: dict[str, Any],
) -> None:
    now = int(time.time() * 1000)
    rows = [("good", mark.batch_id, good), ("failed", mark.failed_batch_id, bad)]
    with store.transaction() as db:
        for kind, batch_id, body in rows:
            if kind == "good" or body["failed"]:
                text = json.dumps(body, separators=(",", ":"))
                row = (
                    f"{mark.commit_id}-{kind}",
                    batch_id or ulid(),
                    flow_id,
                    dataset_id,
                    kind,
                    now,
                    text,
                )
                db.execute("INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?, ?, ?, ?)", row)
