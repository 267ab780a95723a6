"""Parameters of the `action` calls: op, subOp and the state that a provider reports."""

from collections.abc import Collection
from typing import Any

from headrace.http.contract import Call
from headrace.services.flow.faults import invalid

PROVIDER = frozenset({"finalize", "finalize_update"})
_SUB_OPS = frozenset({"apply", "rollback", "progress"})
_OVER = frozenset({"completed", "success", "partial_success", "failed", "partial_failure"})
_STATUSES = _OVER | {"in_progress", "queued", "scheduled"}


def operation(call: Call, known: Collection[str]) -> str:
    """The op in lower case, one of `known`; ApiError with the code of the first fault.

    The platform's connectors report through `finalize`; to everybody else it is refused.
    """
    op = (call.value("op") or "").strip().lower()
    if op not in known and op not in PROVIDER:
        raise invalid(1434, f"op '{op}' is unknown; known are {', '.join(known)}.")
    subs = _sub_ops(call, op)
    if call.body.strip():
        _state(call.object(), subs)
    if op in PROVIDER:
        raise invalid(1402, f"op '{op}' is for the providers of connectors.")
    return op


def _sub_ops(call: Call, op: str) -> set[str]:
    given = [part.strip().lower() for text in call.values("subOp") for part in text.split(",")]
    subs = set(filter(None, given))
    unknown = sorted(subs - _SUB_OPS)
    if unknown:
        raise invalid(
            1435, f"subOp '{unknown[0]}' is unknown; known are apply, rollback, progress."
        )
    unusable = sorted(subs - {"apply"})
    if op not in PROVIDER and unusable:
        raise invalid(1436, f"subOp '{unusable[0]}' cannot be used with op '{op}'.")
    if "progress" in subs and len(subs) > 1:
        raise invalid(1406, "subOp progress cannot be combined with others.")
    return subs


def _state(body: dict[str, Any], subs: set[str]) -> None:
    status = body.get("status")
    value = status.get("value") if isinstance(status, dict) else None
    percent = body.get("percentCompleted")
    if percent is not None and (isinstance(percent, bool) or not isinstance(percent, int | float)):
        raise invalid(1452, "percentCompleted must be a number.")
    if value is None:
        return
    text = str(value).lower()
    if text not in _STATUSES:
        raise invalid(1437, f"status.value '{value}' is unknown.")
    if "progress" in subs and text == "failed":
        raise invalid(1407, "subOp progress cannot report a failure.")
    if text in _OVER and percent not in (None, 100):
        raise invalid(1408, f"percentCompleted must be 100 with status {value}.")
