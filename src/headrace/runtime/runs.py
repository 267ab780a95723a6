"""Runs of streaming flows, computed from commits: one a flow and time window in which records were received."""

import json
import uuid
from typing import Any

from headrace.store.documents import Document, Scope, Store

_NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")


def run_items(
    store: Store, scope: Scope, flow: Document, window_seconds: int, now_ms: int
) -> list[dict[str, Any]]:
    """Run items of one flow (Flow Service, runs), newest window first."""
    windows: dict[int, list[tuple[str, int, dict[str, Any]]]] = {}
    rows = store.connection.execute(
        "SELECT batch_id, committed, body FROM commits WHERE flow_id=? ORDER BY committed",
        (flow.id,),
    )
    length = window_seconds * 1000
    for batch_id, committed, text in rows:
        windows.setdefault(committed // length * length, []).append(
            (batch_id, committed, json.loads(text))
        )
    return [
        _item(scope, flow, start, length, windows[start], now_ms)
        for start in sorted(windows, reverse=True)
    ]


def _item(
    scope: Scope, flow: Document, start: int, length: int, commits: list[tuple[str, int, dict[str, Any]]], now: int
) -> dict[str, Any]:  # fmt: skip
    total = {
        name: sum(body[name] for _, _, body in commits)
        for name in ("records", "failed", "warnings", "bytes", "input_bytes")
    }
    over = now >= start + length
    state = "inProgress"
    if over:
        state = (
            "success" if not total["failed"] else "partialSuccess" if total["records"] else "failed"
        )
    first, last = commits[0][2]["started"], commits[-1][1]
    latencies = [committed - body["received"] for _, committed, body in commits]
    activity = str(uuid.uuid5(_NAMESPACE, f"{flow.id}:{start}:activity"))
    errors = _merge(commits, "errors", "recordCount")
    warnings = _merge(commits, "warningInfo", "count")
    records = {
        "inputRecordCount": total["records"] + total["failed"],
        "createdRecordCount": total["records"],
        "outputRecordCount": total["records"],
        "updatedRecordCount": 0,
        "skippedRecordCount": 0,
        "failedRecordCount": total["failed"],
        "warningRecordCount": total["warnings"],
        "failedInfo": [
            {"code": c, "message": m, "count": n, "type": "Error"} for (c, m), n in errors
        ],
        "warningInfo": [
            {"code": c, "message": m, "count": n, "type": "Warning"} for (c, m), n in warnings
        ],
        "skippedInfo": [],
    }
    sizes = {"inputBytes": total["input_bytes"], "outputBytes": total["bytes"]}
    duration: dict[str, Any] = {"startedAtUTC": first}
    if over:
        duration["completedAtUTC"] = last
    latency = {
        "minMs": min(latencies), "maxMs": max(latencies), "avgMs": sum(latencies) // len(latencies),
    }  # fmt: skip
    files = {
        "inputFileCount": 0,
        "outputFileCount": sum(len(body["files"]) for _, _, body in commits),
    }
    problems = [{"code": "CONNECTOR-2001-500", "message": m} for (_, m), _ in errors]
    status = {"status": state, "errors": problems, "activityRefs": [activity]}
    body = flow.body
    return {
        "id": str(uuid.uuid5(_NAMESPACE, f"{flow.id}:{start}")),
        "createdAt": first,
        "updatedAt": last,
        **{
            k: body[k]
            for k in ("createdBy", "updatedBy", "createdClient", "updatedClient")
            if k in body
        },
        "sandboxId": body.get("sandboxId"),
        "sandboxName": scope.sandbox,
        "imsOrgId": scope.org,
        "flowId": flow.id,
        "flowSpec": body.get("flowSpec"),
        "etag": f'"{last:x}"',
        "metrics": {
            "durationSummary": duration,
            "latencySummary": latency,
            "sizeSummary": sizes,
            "recordSummary": records,
            "fileSummary": files | {"activityRefs": [activity]},
            "statusSummary": status,
        },
        "activities": [
            {
                "id": activity,
                "name": "Promotion Activity",
                "updatedAtUTC": last,
                "durationSummary": duration,
                "latencySummary": latency,
                "sizeSummary": sizes,
                "recordSummary": records,
                "fileSummary": files,
                "statusSummary": {"status": state, "errors": problems},
                "sourceInfo": [
                    {"id": id, "type": "SourceConnection"}
                    for id in body.get("sourceConnectionIds", [])
                ],
                "targetInfo": [
                    {
                        "id": id,
                        "type": "TargetConnection",
                        "reference": {"type": "Batch", "ids": [batch for batch, _, _ in commits]},
                    }
                    for id in body.get("targetConnectionIds", [])
                ],
            }
        ],
    }


def _merge(
    commits: list[tuple[str, int, dict[str, Any]]], key: str, count: str
) -> list[tuple[tuple[str, str], int]]:
    found: dict[tuple[str, str], int] = {}
    for _, _, body in commits:
        for entry in body.get(key, ()):
            what = (entry["code"], entry.get("description") or entry.get("message", ""))
            found[what] = found.get(what, 0) + entry[count]
    return sorted(found.items(), key=lambda item: -item[1])[:100]
