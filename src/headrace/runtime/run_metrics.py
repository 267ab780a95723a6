"""The metrics and activities of one run, summed over its commits. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST_REASONS = 100
"""Kinds of errors, and of warnings, that one run lists."""

MOST_BATCHES = 100
"""Batches that one run names: the newest. Catalog lists all."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One row of commits; `kind` is `good` or `failed`, `committed` milliseconds since the epoch."""

    batch_id: str
    committed: int
    kind: str
    body: dict[str, Any]


def measured(
    flow: dict[str, Any], start: int, commits: Sequence[Commit], over: bool, activity: str, links: str
) -> dict[str, Any]:  # fmt: skip
    """`metrics` and `activities` of the run whose window began at `start` and has these commits, in order.

    `activity` is the id of its only activity, `links` the address under which batches are exported.
    """
    total = {
        name: sum(commit.body[name] for commit in commits)
        for name in ("records", "failed", "warnings", "bytes", "input_bytes")
    }
    state = "inProgress"
    if over:
        state = (
            "success" if not total["failed"] else "partialSuccess" if total["records"] else "failed"
        )
    # the first commit may have been begun before the window
    duration = {"startedAtUTC": max(commits[0].body["started"], start)}
    if over:
        duration["completedAtUTC"] = commits[-1].committed
    waits = [commit.committed - commit.body["received"] for commit in commits]
    latency = {
        "minMs": min(waits), "maxMs": max(waits), "avgMs": sum(waits) // len(waits),
    }  # fmt: skip
    errors, warnings = (
        _merge(commits, "errors", "recordCount"),
        _merge(commits, "warningInfo", "count"),
    )
    records = {
        "inputRecordCount": total["records"] + total["failed"],
        "createdRecordCount": total["records"],
        "outputRecordCount": total["records"],
        "updatedRecordCount": 0,
        "skippedRecordCount": 0,
        "failedRecordCount": total["failed"],
        "warningRecordCount": total["warnings"],
        "failedInfo": _reasons(errors, "Error"),
        "warningInfo": _reasons(warnings, "Warning"),
        "skippedInfo": [],
    }
    sizes = {"inputBytes": total["input_bytes"], "outputBytes": total["bytes"]}
    files = {"inputFileCount": 0, "outputFileCount": sum(len(c.body["files"]) for c in commits)}
    problems = [{"code": "CONNECTOR-2001-500", "message": m} for (_, m), _ in errors]
    outcome: dict[str, Any] = {"status": state, "errors": problems}
    failed = [commit.batch_id for commit in commits if commit.kind == "failed"]
    extensions = {}
    if failed:
        summary = f"{total['failed']} records failed, {total['records']} landed."
        extensions = {
            "manifest": {
                "failedRecords": f"{links}/{failed[-1]}/meta?path=row_errors",
                "sampleErrors": f"{links}/{failed[-1]}/meta?path=row_errors_sample.json",
            },
            "errors": [
                {"code": "INGEST-1212-400", "message": summary},
                *({"code": c, "recordCount": n, "message": m} for (c, m), n in errors),
            ],
        }
    batches = list(dict.fromkeys(commit.batch_id for commit in reversed(commits)))[:MOST_BATCHES]
    summaries = {
        "durationSummary": duration, "latencySummary": latency, "sizeSummary": sizes,
        "recordSummary": records,
    }  # fmt: skip
    return {
        "metrics": {
            **summaries,
            "fileSummary": files | {"activityRefs": [activity]},
            "statusSummary": outcome | {"activityRefs": [activity]},
        },
        "activities": [
            {
                "id": activity,
                "name": "Promotion Activity",
                "updatedAtUTC": commits[-1].committed,
                **summaries,
                "fileSummary": files,
                "statusSummary": outcome | ({"extensions": extensions} if extensions else {}),
                "sourceInfo": [
                    {"id": id, "type": "SourceConnection"}
                    for id in flow.get("sourceConnectionIds", [])
                ],
                "targetInfo": [
                    {
                        "id": id,
                        "type": "TargetConnection",
                        "reference": {"type": "Batch", "ids": batches},
                    }
                    for id in flow.get("targetConnectionIds", [])
                ],
            }
        ],
    }


def _reasons(found: list[tuple[tuple[str, str], int]], kind: str) -> list[dict[str, Any]]:
    return [{"code": c, "message": m, "count": n, "type": kind} for (c, m), n in found]


def _merge(commits: Sequence[Commit], key: str, count: str) -> list[tuple[tuple[str, str], int]]:
    found: dict[tuple[str, str], int] = {}
    for commit in commits:
        for entry in commit.body.get(key, ()):
            what = (entry["code"], entry.get("description") or entry.get("message", ""))
            found[what] = found.get(what, 0) + entry[count]
    return sorted(found.items(), key=lambda item: -item[1])[:MOST_REASONS]
