"""Bodies that the inlet answers with (Streaming Ingestion API)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.xdm.check import Violation

encode = msgspec.json.Encoder().encode

PROBLEM = "http://ns.adobe.com/adobecloud/problem/data-collection-service/inlet"
AUTHORIZATION = "https://ns.adobe.com/adobecloud/problem/data-collection-service-authorization"
INVALID = "Invalid XDM Message Format"


def accepted(inlet_id: str, receipt: str, received: int, validated: str | None) -> bytes:
    """One message accepted. `validated` is the parameter by which the sender asked for validation, if any."""
    if validated is None:
        return (
            f'{{"inletId":"{inlet_id}","xactionId":"{receipt}","receivedTimeMs":{received},'
            '"syncValidation":{"skipped":true}}'
        ).encode()
    passed = {"status": "pass"}
    body = {"inletId": inlet_id, "xactionId": receipt, "receivedTimeMs": received}
    return encode(body | {"syncValidation": passed, validated: passed})


def batch(
    inlet_id: str, batch_id: str, received: int, receipt: str, total: int, refused: dict[int, str]
) -> bytes:
    """The multi-status body: one element a message, in order. Only refusals carry a status."""
    if not refused:
        ids = "".join([f'{{"xactionId":"{receipt}-{n}"}},' for n in range(total)])[:-1]
        return (
            f'{{"inletId":"{inlet_id}","batchId":"{batch_id}","receivedTimeMs":{received},"responses":[{ids}]}}'
        ).encode()
    responses: list[dict[str, Any]] = []
    for index in range(total):
        element: dict[str, Any] = {"xactionId": f"{receipt}-{index}"}
        if index in refused:
            element |= {"status": 400, "statusCode": 400, "message": refused[index]}
        responses.append(element)
    return encode(
        {
            "inletId": inlet_id,
            "batchId": batch_id,
            "receivedTimeMs": received,
            "responses": responses,
        }
    )


def problem(
    inlet_id: str, org: str, text: str, *, status: int = 400, title: str = INVALID,
    violations: Sequence[Violation] | None = None,
) -> bytes:  # fmt: skip
    """The problem object; with `violations` it explains a failed synchronous validation."""
    report: dict[str, Any] = {"message": f"inletId: [{inlet_id}] imsOrgId: [{org}] {text}"}
    if violations is not None:
        report["cause"] = {"_streamingValidation": [_explain(violations)]}
    return encode({"type": PROBLEM, "status": status, "title": title, "report": report})


def _explain(violations: Sequence[Violation]) -> dict[str, Any]:
    each: list[dict[str, Any]] = [
        {
            "schemaLocation": "#"
            + "".join(f"/properties/{step}" for step in v.pointer.split("/")[1:]),
            "pointerToViolation": f"#{v.pointer}",
            "causingExceptions": [],
            "keyword": v.keyword,
            "message": v.message,
        }
        for v in violations
    ]
    if len(each) == 1:
        return each[0]
    return {
        "schemaLocation": "#",
        "pointerToViolation": "#",
        "message": f"{len(each)} schema violations found",
        "causingExceptions": each,
    }


def unauthorized(inlet_id: str, text: str) -> bytes:
    """`status` is text here: that is how the original answers."""
    return encode(
        {
            "type": AUTHORIZATION,
            "status": "401",
            "title": "Authorization",
            "report": {"message": f"[{inlet_id}] {text}"},
        }
    )
