"""Where traced records were copied from, and where to: as receipts and rewinds into other flows tell."""

from collections.abc import Sequence
from typing import Any

from headrace.log.frames import LOG_PARTITION
from headrace.runtime.backfills import KIND, copied_record, original_receipt
from headrace.store.documents import Scope, Store


def relate(store: Store, scope: Scope, entries: Sequence[dict[str, Any]]) -> None:
    """Add to entries of a trace `copyOf` (the original) and `copies`, where there are any. A copy is listed as soon as
    the log has it; its own trace tells whether it has landed."""
    rewinds = {d.id: d.body for d in store.list(scope, KIND) if d.body.get("into") is not None}
    for entry in entries:
        origin = original_receipt(entry["receipt"])
        if origin is not None and origin[1] in rewinds:
            flow_id = rewinds[origin[1]]["flowId"]
            entry["copyOf"] = {"receipt": origin[0], "flow": flow_id, "rewind": origin[1]}
        copies = [
            {"receipt": copied_record(entry["receipt"], id), "flow": body["into"], "rewind": id}
            for id, body in rewinds.items()
            if entry["partition"] == LOG_PARTITION
            and entry["flow"]["id"] == body["flowId"]
            and body["first"] <= entry["offset"] < body["next"]
        ]
        if copies:
            entry["copies"] = copies
