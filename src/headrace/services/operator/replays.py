"""Routes of replays: failed records of a flow run again under its current revision, as a preview or for good.

The server only writes down what is wanted; the worker, which alone commits to a flow's tables, does it and writes
down how far it is.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from headrace.errors import ApiError, Terminal, Transient
from headrace.http.contract import Answer, Call, Route
from headrace.logs import fields
from headrace.model.flow import FlowRevision
from headrace.runtime.replay_requests import KIND, OPEN, cancel, request
from headrace.services.operator.routes import BASE, no_flow
from headrace.store.documents import Document, Scope, Store
from headrace.store.revisions import Revisions

if TYPE_CHECKING:
    from headrace.lake.catalog import Lake

MOST_RECEIPTS = 1_000
MOST_OPEN = 20
"""Replays of one flow that may wait."""
_TEXTS = {"batchId": "batch", "code": "code", "path": "path"}
_KNOWN = (*_TEXTS, "since", "until", "receipts", "dryRun")
_SHOWN = (
    "flowId", "state", "selection", "requestedBy", "started", "ended", "revision", "selected", "landed",
    "stillFailed", "reasons", "batches", "error",
)  # fmt: skip
logger = logging.getLogger("headrace.replay")


@dataclass(slots=True)
class Replays:
    """`lake()` gives the tables, loaded when they are first asked for."""

    store: Store
    lake: Callable[[], "Lake"]
    previews: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))

    def ask(self, call: Call) -> Answer:
        """202 and the replay that will be done, or with `dryRun` 200 and what it would do."""
        scope, revision = own_flow(self.store, call)
        body = call.object() if call.body.strip() else {}
        selection = self._selection(revision, body)
        dry = body.get("dryRun", False)
        if not isinstance(dry, bool):
            raise refused("dryRun must be true or false.")
        about = fields(
            flow=revision.flow_id, client=call.who.client_id, request=call.request_id, **selection
        )
        if dry:
            logger.info("preview of a replay", extra=about)
            return Answer(200, self._preview(revision, selection))
        with self.store.transaction():
            waiting = [d for d in self._of(scope, revision.flow_id) if d.body["state"] in OPEN]
            if len(waiting) >= MOST_OPEN:
                text = f"{len(waiting)} replays of the flow are waiting: let them come to an end first."
                raise ApiError(429, "replays", "Too Many Requests", text)
            made = request(self.store, scope, revision.flow_id, selection, call.who.client_id)
        logger.info(
            "replay asked for", extra=about | {"fields": about["fields"] | {"replay": made.id}}
        )
        return Answer(202, shown(made))

    def listed(self, call: Call) -> Answer:
        """The flow's replays, newest first."""
        scope, revision = own_flow(self.store, call)
        found = self._of(scope, revision.flow_id)
        return Answer(200, {"replays": [shown(document) for document in reversed(found)]})

    def cancel(self, call: Call) -> Answer:
        """200 and the replay that is over, 202 when the worker has yet to end it; ApiError 404, or 409 when it had come
        to an end."""
        scope, document = self._own(call)
        ended = cancel(self.store, scope, document.id)
        if ended is None:
            text = f"The replay has come to an end: it is {document.body['state']}."
            raise ApiError(409, "ended", "Conflict", text)
        about = fields(
            replay=document.id, flow=document.body["flowId"], client=call.who.client_id,
            request=call.request_id,
        )  # fmt: skip
        logger.info("replay cancelled", extra=about)
        return Answer(202 if ended.body["state"] in OPEN else 200, shown(ended))

    def one(self, call: Call) -> Answer:
        return Answer(200, shown(self._own(call)[1]))

    def _own(self, call: Call) -> tuple[Scope, Document]:
        """The replay that a path names, as it is now; ApiError 404."""
        scope, revision = own_flow(self.store, call)
        found = self.store.get(scope, KIND, call.params["replayId"])
        if found is None or found.body["flowId"] != revision.flow_id:
            text = f"The flow has no replay {call.params['replayId']}."
            raise ApiError(404, "not_found", "Resource not found", text)
        return scope, found

    def _of(self, scope: Scope, flow_id: str) -> list[Document]:
        return [d for d in self.store.list(scope, KIND) if d.body["flowId"] == flow_id]

    def _selection(self, revision: FlowRevision, body: Mapping[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(body) - set(_KNOWN))
        if unknown:
            raise refused(f"'{unknown[0][:40]}' is unknown; known are {', '.join(_KNOWN)}.")
        found: dict[str, Any] = {}
        for name, own in _TEXTS.items():
            if body.get(name) is not None:
                if not isinstance(body[name], str) or not body[name]:
                    raise refused(f"{name} must be a text.")
                found[own] = body[name]
        for name in ("since", "until"):
            if body.get(name) is not None:
                found[name] = _moment(name, body[name])
        receipts = body.get("receipts")
        if receipts is not None:
            texts = isinstance(receipts, list) and all(isinstance(r, str) for r in receipts)
            if not texts or not 1 <= len(receipts) <= MOST_RECEIPTS:
                raise refused(f"receipts must be a list of 1 to {MOST_RECEIPTS} texts.")
            found["receipts"] = receipts
        if "batch" in found:
            found["batch"] = self._failed_batch(revision.flow_id, found["batch"])
        return found

    def _failed_batch(self, flow_id: str, batch_id: str) -> str:
        """The batch of failed rows of the commit that a batch belongs to, or itself when none failed; ApiError 404 when
        it is not of the flow."""
        row = self.store.connection.execute(
            "SELECT other.batch_id FROM commits AS mine JOIN commits AS other"
            " ON other.commit_id IN (mine.commit_id, replace(mine.commit_id, '-good', '-failed'))"
            " WHERE mine.batch_id=? AND mine.flow_id=? ORDER BY other.kind='failed' DESC LIMIT 1",
            (batch_id, flow_id),
        ).fetchone()
        if row is None:
            text = f"The flow has no batch {batch_id}."
            raise ApiError(404, "not_found", "Resource not found", text)
        return str(row[0])

    def _preview(self, revision: FlowRevision, selection: dict[str, Any]) -> dict[str, Any]:
        from headrace.runtime.replay_preview import preview

        if not self.previews.acquire(timeout=20):
            raise ApiError(503, "busy", "Service Unavailable", "Other previews are running.")
        try:
            return preview(self.lake(), revision, selection)
        except Terminal as error:
            raise ApiError(409, "table", "Conflict", str(error)) from None
        except (Transient, FileNotFoundError):
            text = "The tables could not be read just now: try again."
            raise ApiError(503, "lake", "Service Unavailable", text) from None
        finally:
            self.previews.release()


def replay_routes(store: Store, lake: Callable[[], "Lake"]) -> list[Route]:
    """`lake()` gives the tables, loaded when they are first asked for."""
    replays = Replays(store, lake)
    path = f"{BASE}/flows/{{id}}/replays"
    return [
        Route(
            "POST", path, replays.ask, "plain", "Run failed records again, or say what it would do"
        ),
        Route("GET", path, replays.listed, "plain", "Replays of a flow"),
        Route("GET", f"{path}/{{replayId}}", replays.one, "plain", "How far a replay is"),
        Route("DELETE", f"{path}/{{replayId}}", replays.cancel, "plain", "Cancel a replay"),
    ]


def own_flow(store: Store, call: Call) -> tuple[Scope, FlowRevision]:
    """The caller's sandbox and the newest revision of the flow that a path names; ApiError 404."""
    scope = Scope(call.who.org_id, call.who.sandbox)
    found = Revisions(store).latest(call.params["id"])
    if found is None or Scope(found.org_id, found.sandbox) != scope:
        raise no_flow(call.params["id"])
    return scope, found


def refused(text: str) -> ApiError:
    """A body that is not as it must be."""
    return ApiError(400, "body", "Invalid request", text)


def shown(document: Document) -> dict[str, Any]:
    """A replay as it is answered; times in milliseconds since the epoch."""
    values = {name: document.body[name] for name in _SHOWN}
    selection = dict(values["selection"])
    if "batch" in selection:
        selection["batchId"] = selection.pop("batch")
    return {"id": document.id, "created": document.created} | values | {"selection": selection}


def _moment(name: str, given: Any) -> int:
    """Milliseconds since the epoch, given so or as a date and time."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 1 << 53:
        return given
    try:
        moment = datetime.fromisoformat(given)
    except (TypeError, ValueError):
        text = (
            f"{name} must be a time such as 2026-01-31T12:00:00Z, or milliseconds since the epoch."
        )
        raise refused(text) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
