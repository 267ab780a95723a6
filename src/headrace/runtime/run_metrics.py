"""The metrics and activities of one run, summed over its commits. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.runtime.stops import Stop

MOST_REASONS = 100
"""Kinds of errors, and of warnings, that one run lists."""

_STOPPED = "CONNECTOR-1001-500"
"""The platform's code for a source from which nothing can be copied."""

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
    flow: dict[str, Any], start: int, commits: Sequence[Commit], stops: Sequence[Stop], over: bool,
    activity: str, links: str,
) -> dict[str, Any]:  # fmt: skip
    """`metrics` and `activities` of the run whose window began at `start` and has these commits and stops, in order.

    There is at least one of either. While the flow stands still the run has failed, whatever landed before.
    `activity` is the id of its only activity, `links` the address under which batches are exported.
    """
    total = {
        name: sum(commit.body[name] for commit in commits)
        for name in ("records", "failed", "warnings", "bytes", "input_bytes")
    }
    # a replay takes back failures that an earlier run may have counted
    total["failed"] = max(0, total["failed"])
    stopped = any(stop.until is None for stop in stops)
    state = "failed" if stopped else "inProgress"
    if over and not stopped:
        well = not total["failed"] and not stops
        state = "success" if well else "partialSuccess" if total["records"] else "failed"
    # a clock that was put back meanwhile has ends before beginnings
    began = [min(c.body["started"], c.committed) for c in commits[:1]] + [s.at for s in stops[:1]]
    ended = [commit.committed for commit in commits[-1:]] + [stop.at for stop in stops[-1:]]
    # the first commit may have been begun before the window
    duration = {"startedAtUTC": max(min(began), start)}
    if over or stopped:
        duration["completedAtUTC"] = max(ended)
    waits = [max(0, commit.committed - commit.body["received"]) for commit in commits]
    latency = (
        {"minMs": min(waits), "maxMs": max(waits), "avgMs": sum(waits) // len(waits)}
        if waits else {}
    )  # fmt: skip
    reasons = [{"code": _STOPPED, "message": reason} for reason in _distinct(stops)]
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
    problems = reasons + [{"code": "CONNECTOR-2001-500", "message": m} for (_, m), _ in errors]
    outcome: dict[str, Any] = {"status": state, "errors": problems}
    failed = [commit.batch_id for commit in commits if commit.kind == "failed"]
    extensions: dict[str, Any] = {"errors": reasons} if reasons else {}
    if failed:
        summary = f"{total['failed']} records failed, {total['records']} landed."
        extensions = {
            "manifest": {
                "failedRecords": f"{links}/{failed[-1]}/meta?path=row_errors",
                "sampleErrors": f"{links}/{failed[-1]}/meta?path=row_errors_sample.json",
            },
            "errors": [
                *reasons,
                {"code": "INGEST-1212-400", "message": summary},
                *({"code": c, "recordCount": n, "message": m} for (c, m), n in errors),
            ],
        }
    # a commit of failures alone, or of positions, has a good batch of nothing
    filled = (c.batch_id for c in reversed(commits) if c.body["records"] or c.body["failed"])
    batches = list(dict.fromkeys(filled))[:MOST_BATCHES]
    lag = _lag(commits)
    summaries = {
        "durationSummary": duration, "latencySummary": latency, "sizeSummary": sizes,
        "recordSummary": records,
    }  # fmt: skip
    return {
        "metrics": {
            **summaries,
            **({"lagSummary": lag} if lag else {}),
            "fileSummary": files | {"activityRefs": [activity]},
            "statusSummary": outcome | {"activityRefs": [activity]},
        },
        "activities": [
            {
                "id": activity,
                "name": "Promotion Activity",
                "updatedAtUTC": max(ended),
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


def _lag(commits: Sequence[Commit]) -> dict[str, Any] | None:
    """How far the source's partitions were behind at the run's last commit; None where that is not known.

    `behindRecords` in all and `behindMs` of the partition that is furthest behind leave out what a source does not say.
    """
    last = next((commit for commit in reversed(commits) if commit.body.get("lag")), None)
    if last is None:
        return None
    found = last.body["lag"]
    records = [lag[0] for lag in found.values() if lag[0] is not None]
    times = [lag[1] for lag in found.values() if lag[1] is not None]
    return {
        "measuredAtUTC": last.committed,
        **({"behindRecords": sum(records)} if records else {}),
        **({"behindMs": max(times)} if times else {}),
        "partitions": [
            {"id": id, "behindRecords": lag[0], "behindMs": lag[1]}
            for id, lag in sorted(found.items())
        ],
    }


def _distinct(stops: Sequence[Stop]) -> list[str]:
    return list(dict.fromkeys(stop.reason for stop in stops))[-MOST_REASONS:]


def _reasons(found: list[tuple[tuple[str, str], int]], kind: str) -> list[dict[str, Any]]:
    return [{"code": c, "message": m, "count": n, "type": kind} for (c, m), n in found]


def _merge(commits: Sequence[Commit], key: str, count: str) -> list[tuple[tuple[str, str], int]]:
    found: dict[tuple[str, str], int] = {}
    for commit in commits:
        for entry in commit.body.get(key, ()):
            what = (entry["code"], entry.get("description") or entry.get("message", ""))
            found[what] = found.get(what, 0) + entry[count]
    return sorted(found.items(), key=lambda item: -item[1])[:MOST_REASONS]
