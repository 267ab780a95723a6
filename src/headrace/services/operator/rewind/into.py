"""`POST /headrace/flows/{id}/rewinds` with `into`: a flow's records in the log, delivered once more to another flow.

The same command again goes on where the earlier one ended, so that it delivers nothing twice; with other bounds it is
another command. The server copies the records in the background (`runtime.backfilling`).
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.errors import ApiError, Transient
from headrace.http.contract import Answer, Call
from headrace.log.frames import LOG_PARTITION
from headrace.log.segments import segments
from headrace.log.writer import LogWriter
from headrace.logs import fields
from headrace.model.flow import FlowRevision
from headrace.model.ids import ulid
from headrace.runtime.backfills import FAILED, KIND, RUNNING, between, fresh, shown
from headrace.services.operator.rewind.log_range import Range, look, misfit
from headrace.services.operator.rewind.places import parsed, refused
from headrace.sources.connectors import connector, known
from headrace.sources.contract import EARLIEST, LATEST
from headrace.store.documents import Document, Scope, Store
from headrace.store.revisions import Revisions

if TYPE_CHECKING:
    from headrace.services.operator.rewind.requests import Asked

MOST_RUNNING = 10
"""Rewinds into other flows that may run in one sandbox at a time."""
TRIES = 3
logger = logging.getLogger("headrace.rewind")


@dataclass(frozen=True, slots=True)
class Into:
    """`log()` gives the writer of the running server."""

    store: Store
    log: Callable[[], LogWriter]

    def post(self, scope: Scope, source: FlowRevision, asked: "Asked", call: Call) -> Answer:
        """202 and a new rewind, 200 and the earlier one when there is nothing to add to it; ApiError when it cannot be
        done, and 409 with what would happen without `confirm`. Transient."""
        target = self._target(scope, source, asked)
        for _ in range(TRIES):
            last = self._last(scope, source.flow_id, asked)
            if last is not None and last.body["state"] == RUNNING:
                return Answer(200, shown(last.body))
            found = self._range(scope, source.flow_id, asked, last)
            if last is not None and not found.records:
                return Answer(200, shown(last.body))
            reason = misfit(found, source.flow_id, target, Revisions(self.store))
            if reason:
                raise refused(reason)
            text = self._described(source, target, found, last)
            if not asked.confirm:
                text += " Repeat it with `confirm` true to do it."
                raise refused(text, code="confirm_needed")
            body = self._body(source, target, asked, found, text) | {"by": call.who.client_id}
            if self._begin(scope, body, last, asked, found):
                told = fields(flow=source.flow_id, request=call.request_id, rewind=body["id"])
                logger.warning("%s Asked for by %s.", text, call.who.client_id, extra=told)
                return Answer(202, shown(body))
        raise Transient("the log is being freed: try again")

    def _target(self, scope: Scope, source: FlowRevision, asked: "Asked") -> FlowRevision:
        """The newest revision of the flow that is to get the records."""
        if asked.partition not in (None, LOG_PARTITION):
            text = f"The flow reads the log, which has one partition: {LOG_PARTITION}."
            raise refused(text, 400, "body")
        if not _reads_log(source):
            raise refused(
                f"Flow {source.flow_id} reads a source that can be read again: create a flow for the other data set and"
                " move that one."
            )  # fmt: skip
        into = str(asked.into)
        if into == source.flow_id:
            raise refused("`into` must be another flow: to read again into its own data set, leave `into` out.", 400, "body")  # fmt: skip
        document = self.store.get(scope, "flows", into)
        latest = Revisions(self.store).latest(into)
        if document is None or latest is None:
            raise ApiError(404, "not_found", "Resource not found", f"There is no flow {into}.")
        if document.body.get("state") != "enabled":
            raise refused(f"Flow {into} is {document.body.get('state')}: enable it first.")
        if not _reads_log(latest):
            raise refused(
                f"Flow {into} reads a source of its own and takes no records of the log: name one of the HTTP API or"
                " Pub/Sub."
            )  # fmt: skip
        if self.store.get(scope, "dataSets", latest.dataset_id) is None:
            raise refused(f"Data set {latest.dataset_id} of flow {into} does not exist any more.")
        return latest

    def _last(self, scope: Scope, flow_id: str, asked: "Asked") -> Document | None:
        """The newest rewind that was asked for in the same words."""
        words = _words(asked)
        same = [
            document
            for document in between(self.store, scope, flow_id, asked.into)
            if document.body["asked"] == words
        ]
        return same[-1] if same else None

    def _range(self, scope: Scope, flow_id: str, asked: "Asked", last: Document | None) -> Range:
        """What is to be copied now; ApiError when the log does not have it."""
        if last is not None and last.body.get("uncertain"):
            raise refused(f"{last.body['error']} Look there, and name other bounds.")
        log = self.log()
        start, until = bounds(asked)
        begin = max(start or 0, last.body["next"] if last is not None else 0)
        before = [
            range(d.body["first"], d.body["next"])
            for d in between(self.store, scope, flow_id, asked.into)
        ]
        found = look(log.directory, flow_id, begin, until, log.next_offset, before)
        oldest = found.oldest
        if begin > found.durable or (until or 0) > found.durable:
            raise refused(f"The log ends at {found.durable}.")
        # all that the log has lost of the flow, less what an earlier rewind took in time
        gone = log.sequences.get(flow_id, 0) if oldest is None else oldest[1]
        gone -= last.body["sequence"] + last.body["copied"] if last is not None else 0
        if start is not None and gone > 0 and (oldest is None or begin < oldest[0]):
            held = (
                "none of the flow's records any more"
                if oldest is None
                else f"the flow's records from {oldest[0]} on"
            )
            raise refused(
                f"The log no longer goes back to {begin}: it holds {held}. Records are freed when they have landed;"
                " use `earliest` for all that are still there."
            )  # fmt: skip
        found.gone = max(0, gone) if last is not None else 0
        if not found.records and last is None:
            raise refused("The log has no records of the flow in this range: there is nothing to deliver.")  # fmt: skip
        return found

    def _described(
        self, source: FlowRevision, target: FlowRevision, found: Range, last: Document | None
    ) -> str:
        name = next(iter(_names(self.store, target)), "")
        parts = [
            f"{found.records} records of flow {source.flow_id} ({found.requests} requests, from offset {found.first} to"
            f" {found.end}) are delivered to flow {target.flow_id}{name} too and land in data set {target.dataset_id}."
        ]
        if last is not None:
            ended = f": {last.body['error']}" if last.body["state"] == FAILED else "."
            parts.append(
                f"This goes on where rewind {last.id} ended, with {last.body['copied']} records{ended}"
            )
        if found.gone:
            parts.append(f"{found.gone} records that came in between are no longer in the log.")
        if found.twice:
            parts.append(
                f"{found.twice} of them have been delivered to it before: they will be there twice."
            )
        if found.missing:
            parts.append(f"{found.missing} records in between are damaged and left out.")
        return " ".join(parts)

    def _body(
        self, source: FlowRevision, target: FlowRevision, asked: "Asked", found: Range, text: str
    ) -> dict[str, Any]:
        return {
            "id": ulid(), "flowId": source.flow_id, "into": target.flow_id, "by": "",
            "at": int(time.time() * 1000), "asked": _words(asked),
            "from": {LOG_PARTITION: str(found.first)}, "to": {LOG_PARTITION: str(found.end)},
            "detail": text, "records": found.records, "mapped": target.rules is not None,
            "schema": target.schema_id, "sequence": found.sequence, **fresh(found.first, found.end, found.durable),
        }  # fmt: skip

    def _begin(
        self, scope: Scope, body: dict[str, Any], last: Document | None, asked: "Asked", found: Range
    ) -> bool:  # fmt: skip
        """Write it down, unless its segments were freed meanwhile or somebody was faster."""
        with self.store.transaction():
            now = self._last(scope, body["flowId"], asked)
            there = {base for base, _ in segments(self.log().directory)}
            if (now and now.id) != (last and last.id) or not there.issuperset(found.needed):
                return False
            running = [d for d in self.store.list(scope, KIND) if d.body.get("state") == RUNNING]
            if len(running) >= MOST_RUNNING:
                text = f"{len(running)} rewinds into other flows are running: let them come to an end first."
                raise ApiError(429, "rewinds", "Too Many Requests", text)
            self.store.create(scope, KIND, body["id"], body)
        return True


def bounds(asked: "Asked") -> tuple[int | None, int | None]:
    """(start, end) as offsets; None for the oldest record that is there, and for where the log stands. ApiError 400."""
    word, start, token = parsed(asked.to)
    if token or word not in ("", EARLIEST):
        raise refused("With `into`, `to` must be an offset of the log (1234) or `earliest`.", 400, "body")  # fmt: skip
    if asked.until is None:
        return start, None
    try:
        word, until, token = parsed(asked.until)
    except ApiError:
        word, until, token = "", None, "@"
    if token or word not in ("", LATEST):
        raise refused("`until` must be an offset of the log (1234) or `latest`.", 400, "body")
    if until is not None and until <= (start or 0):
        raise refused("`until` must be behind `to`.", 400, "body")
    return start, until


def _words(asked: "Asked") -> dict[str, str | None]:
    """What makes two commands the same, beside the two flows."""
    start, until = bounds(asked)
    return {"to": EARLIEST if start is None else str(start), "until": None if until is None else str(until)}  # fmt: skip


def _reads_log(revision: FlowRevision) -> bool:
    return not known(revision.source) or not connector(revision.source).replayable


def _names(store: Store, revision: FlowRevision) -> list[str]:
    found = store.get(Scope(revision.org_id, revision.sandbox), "flows", revision.flow_id)
    return [f" ({found.body['name']})"] if found and found.body.get("name") else []
