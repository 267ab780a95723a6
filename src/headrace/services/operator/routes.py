"""Routes of our own under `/headrace`: additions to the original's API, for operators."""

from collections.abc import Mapping
from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Answer, Call, Route
from headrace.log.writer import LogWriter
from headrace.runtime.balance import TERMS
from headrace.runtime.supervisor import Progress, Supervisor
from headrace.store.documents import Document, Scope, Store

BASE = "/headrace"


def routes(store: Store, supervisor: Supervisor, log: "LogOf") -> list[Route]:
    """`log()` gives the log writer of the running server."""

    def all_flows(call: Call) -> Answer:
        scope = Scope(call.who.org_id, call.who.sandbox)
        found = [
            status(document, supervisor, log().sequences) for document in store.list(scope, "flows")
        ]
        return Answer(200, {"flows": found})

    def one_flow(call: Call) -> Answer:
        scope = Scope(call.who.org_id, call.who.sandbox)
        document = store.get(scope, "flows", call.params["id"])
        if document is None:
            raise no_flow(call.params["id"])
        return Answer(200, status(document, supervisor, log().sequences))

    return [
        Route("GET", f"{BASE}/flows", all_flows, "plain", "How the flows of the sandbox stand"),
        Route("GET", f"{BASE}/flows/{{id}}", one_flow, "plain", "How a flow stands"),
    ]


def no_flow(id: str) -> ApiError:
    """The sandbox has no flow with this id."""
    return ApiError(404, "not_found", "Resource not found", f"There is no flow {id}.")


class LogOf:
    """The log writer, which exists while the server runs."""

    def __init__(self) -> None:
        self.writer: LogWriter | None = None

    def __call__(self) -> LogWriter:
        if self.writer is None:
            raise ApiError(503, "starting", "Service Unavailable", "The server is starting.")
        return self.writer


def status(
    document: Document, supervisor: Supervisor, accepted: Mapping[str, int]
) -> dict[str, Any]:
    """A flow's counts and how far each partition of its source is behind."""
    known = supervisor.flows.get(document.id, Progress())
    account = known.balance(accepted.get(document.id, 0))
    return {
        "id": document.id,
        "name": document.body.get("name"),
        "state": document.body.get("state"),
        "stopped": known.stopped,
        "trouble": supervisor.trouble.get(document.id),
        **{name: getattr(account, name) for name, _ in TERMS},
        "warnings": known.warnings,
        "partitions": {
            id: {"behindRecords": lag[0], "behindMs": lag[1]}
            for id, lag in supervisor.lag.get(document.id, {}).items()
        },
    }
