"""`POST /headrace/flows/{id}/rewinds`: an operator moves a flow to another position, or (`into`) has its records
delivered to another flow.

The worker is halted meanwhile, the move is one commit of the flow's table, and the next worker goes on from there: also
a flow that had stopped, for a gap or because its table was rolled back or dropped.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from headrace.errors import ApiError, Terminal, Transient
from headrace.http.contract import Answer, Call, Route
from headrace.log.frames import LOG_PARTITION
from headrace.logs import fields
from headrace.model.flow import FlowRevision
from headrace.model.ids import uuid_text
from headrace.runtime import backfills, commits
from headrace.runtime.opening import settings_of
from headrace.runtime.supervisor import Supervisor
from headrace.security.egress import Egress
from headrace.services.operator.rewind.into import Into, bounds
from headrace.services.operator.rewind.places import (
    Place,
    in_log,
    in_source,
    parsed,
    refused,
)
from headrace.services.operator.routes import LogOf, no_flow
from headrace.sources.connectors import connector, known
from headrace.sources.contract import Source
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions
from headrace.xdm.fields import Field

if TYPE_CHECKING:
    from headrace.lake.catalog import Lake
    from headrace.lake.rewind import Standing
    from headrace.lake.watermark import Watermark

KIND = "rewinds"
logger = logging.getLogger("headrace.rewind")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request body. `to` and `until` are as they were written. `into`: the flow that gets the records instead."""

    to: str | int
    partition: str | None
    confirm: bool
    into: str | None = None
    until: str | int | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Asked":
        """ApiError 400 naming what is wrong."""
        unknown = sorted(body.keys() - {"to", "partition", "confirm", "into", "until"})
        if unknown:
            raise refused(
                f"'{unknown[0][:40]}' is unknown; known are to, partition, confirm, into, until. To read into another data"
                " set, make a flow for that data set and move it, or name it in `into`.", 400, "body",
            )  # fmt: skip
        partition, confirm = body.get("partition"), body.get("confirm", False)
        into, until = body.get("into"), body.get("until")
        if not isinstance(partition, str | None):
            raise refused("`partition` must be a text.", 400, "body")
        if not isinstance(confirm, bool):
            raise refused("`confirm` must be true or false.", 400, "body")
        if not isinstance(into, str | None) or into == "":
            raise refused("`into` must be the id of a flow.", 400, "body")
        if until is not None and into is None:
            raise refused("`until` is for rewinds with `into`.", 400, "body")
        parsed(body.get("to"))
        asked = cls(body["to"], partition, confirm, into, until)
        if into is not None:
            bounds(asked)
        return asked


@dataclass(frozen=True, slots=True)
class Rewinds:
    """Moves flows, and delivers their records to others. `egress` guards what connections may reach."""

    store: Store
    supervisor: Supervisor
    lake: "Callable[[], Lake]"
    egress: Egress
    log: LogOf = field(default_factory=LogOf)

    def routes(self) -> list[Route]:
        path = "/headrace/flows/{id}/rewinds"
        return [
            Route("POST", path, self.post, "plain", "Move a flow to another position"),
            Route("GET", path, self.listed, "plain", "Moves of a flow"),
            Route(
                "DELETE",
                f"{path}/{{rewindId}}",
                self.cancel,
                "plain",
                "Cancel a delivery to another flow",
            ),
        ]

    def cancel(self, call: Call) -> Answer:
        """202 and the rewind; it is `cancelled` when what is at hand has been copied. ApiError 404, or 409 when it does
        not run."""
        scope, flow_id = self._flow(call)
        id = call.params["rewindId"]
        found = self.store.get(scope, KIND, id)
        if found is None or found.body["flowId"] != flow_id:
            raise ApiError(404, "not_found", "Resource not found", f"The flow has no rewind {id}.")
        ending = backfills.cancel(self.store, scope, id)
        if ending is None:
            state = found.body.get("state", "done")
            raise refused(f"The rewind has come to an end: it is {state}.", code="ended")
        told = fields(flow=flow_id, rewind=id, client=call.who.client_id, request=call.request_id)
        logger.info("rewind cancelled", extra=told)
        return Answer(202, backfills.shown(ending))

    def listed(self, call: Call) -> Answer:
        scope, flow_id = self._flow(call)
        found = [
            backfills.shown(document.body)
            for document in self.store.list(scope, KIND)
            if document.body["flowId"] == flow_id
        ]
        return Answer(200, {"rewinds": found})

    def post(self, call: Call) -> Answer:
        scope, flow_id = self._flow(call)
        asked = Asked.of(call.object())
        revision = Revisions(self.store).latest(flow_id)
        if revision is None:
            raise refused(f"Flow {flow_id} has no revision that could be run.")
        try:
            if asked.into is not None:
                return Into(self.store, self.log).post(scope, revision, asked, call)
            if not asked.confirm:
                *_, text = self._plan(revision, asked)
                raise refused(
                    f"{text} Repeat it with `confirm` true to do it.", code="confirm_needed"
                )
            with self.supervisor.halted():
                return Answer(200, self._move(scope, revision, asked, call))
        except Transient as error:
            raise ApiError(503, "unavailable", "Service Unavailable", f"{error}.") from None
        except Terminal as error:
            raise refused(f"{error}.") from None

    def _flow(self, call: Call) -> tuple[Scope, str]:
        scope, id = Scope(call.who.org_id, call.who.sandbox), call.params["id"]
        if self.store.get(scope, "flows", id) is None:
            raise no_flow(id)
        return scope, id

    def _plan(self, revision: FlowRevision, asked: Asked) -> "tuple[Standing, Watermark, str]":
        """Where the flow stands, where it would stand, and that as a text."""
        from headrace.lake.rewind import Standing, rewound, standing, vanished
        from headrace.lake.watermark import Watermark

        lake, flow_id = self.lake(), revision.flow_id
        counts = commits.totals(self.store).get(flow_id)
        try:
            before = standing(lake.table(revision.sandbox, revision.dataset_id), flow_id)
        except Terminal:
            before = Standing(Watermark(), Watermark(), agrees=True)
        if counts is not None and not before.stored.commit_id:
            before = vanished(counts)
        place = self._place(revision, before, asked)
        after = rewound(before, place.offsets, place.sequence, place.forgotten)
        return before, after, _described(revision, before.stored, after)

    def _place(self, revision: FlowRevision, before: "Standing", asked: Asked) -> Place:
        if not known(revision.source) or not connector(revision.source).replayable:
            if asked.partition not in (None, LOG_PARTITION):
                text = f"The flow reads the log, which has one partition: {LOG_PARTITION}."
                raise refused(text, 400, "body")
            directory = self.supervisor.data_dir / "log"
            return in_log(directory, revision.flow_id, before, asked.to)
        found = connector(revision.source)
        settings = settings_of(self.store, self.supervisor.data_dir, revision, self.egress)
        with closing(cast(Source, found.open(settings))) as source:
            return in_source(source, before, asked.partition, asked.to)

    def _move(
        self, scope: Scope, revision: FlowRevision, asked: Asked, call: Call
    ) -> dict[str, Any]:
        flow_id = revision.flow_id
        before, after, text = self._plan(revision, asked)
        entry: dict[str, Any] = {
            "id": uuid_text(), "flowId": flow_id, "by": call.who.client_id, "at": int(time.time() * 1000),
            "from": _position(before.stored), "to": _position(after), "detail": text, "commit": after.commit_id,
            "again": after.again - before.stored.again, "lost": after.lost - before.stored.lost, "done": False,
        }  # fmt: skip
        self.store.create(scope, KIND, entry["id"], entry)
        told = fields(flow=flow_id, request=call.request_id)
        logger.warning("%s Asked for by %s.", text, call.who.client_id, extra=told)
        self._write(revision, after)
        commits.recover(
            self.store, flow_id, revision.dataset_id, after, after.offsets.get(LOG_PARTITION, 0)
        )
        entry["done"] = True
        self.store.replace(scope, KIND, entry["id"], entry)
        logger.warning("flow moved", extra=told)
        return entry

    def _write(self, revision: FlowRevision, after: "Watermark") -> None:
        """Make the move. A table that is gone is made anew, one that was rolled back is agreed with."""
        from headrace.lake.rewind import Standing, repaired, standing, write
        from headrace.lake.watermark import Watermark

        lake, flow_id = self.lake(), revision.flow_id
        sandbox, dataset = revision.sandbox, revision.dataset_id
        try:
            lake.table(sandbox, f"{dataset}_failed")
            fresh = False
        except Terminal:
            fresh = after.failed > 0
        lake.ensure(sandbox, dataset, Field.from_json(revision.schema), create=True)
        write(lake.table(sandbox, dataset), flow_id, after)
        failed = lake.table(sandbox, f"{dataset}_failed")
        there = standing(failed, flow_id)
        if fresh:
            nothing = Standing(Watermark(), Watermark(), agrees=False)
            write(failed, flow_id, repaired(nothing, after.failed))
        elif not there.agrees:
            write(failed, flow_id, repaired(there, there.stored.failed))


def _position(mark: "Watermark") -> dict[str, str]:
    """Offsets by partition, with the source's mark where there is one: as `to` takes them."""
    return {
        id: f"{at}@{mark.tokens[id]}" if mark.tokens.get(id) else str(at)
        for id, at in sorted(mark.offsets.items())
    }


def _described(revision: FlowRevision, old: "Watermark", new: "Watermark") -> str:
    places, moved = _position(old), _position(new)
    changed = [
        f"{id} from {places.get(id, 'its beginning')} to {moved.get(id, 'its beginning')}"
        for id in sorted(places.keys() | moved.keys())
        if places.get(id) != moved.get(id)
    ]
    again, lost = new.again - old.again, new.lost - old.lost
    parts = [f"Flow {revision.flow_id} goes on elsewhere: {', '.join(changed) or 'nothing moves'}."]
    if again:
        parts.append(
            f"{again} records are read again and land in data set {revision.dataset_id} again: those whose rows are"
            " still there twice."
        )  # fmt: skip
    if lost:
        parts.append(f"{lost} accepted records are passed over and will never land.")
    return " ".join(parts)
