"""What the store knows of commits: a row for each table that a commit reached, from which runs and batches come.

The tables are the truth. A row is written after its commit, so a worker can die in between; `recover` writes what
is missing when the flow is opened again.
"""

import json
import time
from collections import Counter
from typing import Any

from headrace.lake.commit import CommitResult
from headrace.lake.watermark import Watermark
from headrace.model.ids import ulid
from headrace.runtime.batch import Batch
from headrace.store.documents import Store

MOST_ERRORS = 100
"""Kinds of errors that one row lists."""

_TOTALS = (
    "SELECT flow_id, sum(json_extract(body, '$.records')), sum(json_extract(body, '$.failed')),"
    " sum(json_extract(body, '$.warnings')), max(json_extract(body, '$.next')),"
    " max(json_extract(body, '$.sequence')) FROM commits"
)


def totals(store: Store) -> dict[str, dict[str, int]]:
    """Flow id → landed, failed, warnings, position (next offset) and sequence, as far as rows tell."""
    names = ("landed", "failed", "warnings", "position", "sequence")
    rows = store.connection.execute(f"{_TOTALS} GROUP BY flow_id")
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}


def dataset_has_rows(store: Store, dataset_id: str) -> bool:
    """Whether the data set ever got a commit."""
    row = store.connection.execute(
        "SELECT 1 FROM commits WHERE dataset_id=? LIMIT 1", (dataset_id,)
    )
    return row.fetchone() is not None


def record(store: Store, batch: Batch, result: CommitResult, started: float) -> None:
    """Write a commit's rows; writing them twice changes nothing. `started`: seconds since the epoch."""
    errors = Counter((failure.code, failure.message[:200]) for failure in batch.failures)
    revision, mark = batch.pipeline.revision, result.watermark
    place = {
        "started": int(started * 1000),
        "received": batch.first_received,
        "start": batch.start,
        "next": batch.next,
        "sequence": batch.sequence,
        "revision": revision.revision,
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


def recover(store: Store, flow_id: str, dataset_id: str, mark: Watermark, position: int) -> None:
    """Write what the watermark counts and no row does. Sizes, files and reasons are not known any more."""
    known = totals(store).get(flow_id, {})
    missing = {
        name: getattr(mark, name) - known.get(name, 0) for name in ("landed", "failed", "warnings")
    }
    if not any(missing.values()):
        return
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
    good = {"records": missing["landed"], "failed": 0, "warnings": missing["warnings"]}
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
