"""Replays in the worker: rows of the store say which are wanted, and later what became of them.

One page of one replay at a time, between the commits of flows. What a replay has done is written after each page; a
worker that dies repeats a page, which changes nothing but its count, and that is taken from the table in the end.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from headrace.errors import HeadraceError, Terminal, Transient
from headrace.lake.catalog import Lake
from headrace.lake.commit import CommitResult, Stale
from headrace.lake.replay import Replayer, Rerun
from headrace.lake.replay_rows import Selection, count, keys_of, page
from headrace.lake.upkeep import Upkeep
from headrace.lake.watermark import Watermark
from headrace.log.frames import LOG_PARTITION
from headrace.model.ids import ulid
from headrace.runtime import commits
from headrace.runtime.landing import FlowState
from headrace.runtime.pipeline import Pipeline
from headrace.runtime.replay import PAGE_BYTES, PAGE_ROWS, Reasons, rerun, selection_of
from headrace.runtime.replay_requests import CANCELLING, KIND, OPEN
from headrace.store.documents import Conflict, Document, Scope, Store
from headrace.store.revisions import Revisions
from headrace.testing.crashpoints import reach

LOOK_EVERY = 0.5
LONGEST_PAUSE = 30.0
MOST_BATCHES = 100
"""Batches that one replay names: the newest."""
_WAITING = "SELECT org, sandbox, id FROM documents WHERE kind=? AND json_extract(body, '$.state') IN (?, ?, ?) ORDER BY seq"
_PASSING = (Stale, Transient, OSError, sqlite3.Error, SQLAlchemyError)
"""What passes by itself: the page is repeated."""


@dataclass(slots=True)
class _Running:
    """The replay at hand. `document.body` is what is stored."""

    scope: Scope
    document: Document
    pipeline: Pipeline
    replayer: Replayer
    reasons: Reasons


@dataclass
class Replaying:
    """`flow` finds a flow that the worker runs; its counts follow what is replayed."""

    store: Store
    lake: Lake
    report: Callable[[dict[str, Any]], None]
    upkeep: Upkeep
    flow: Callable[[str], FlowState | None]
    stands: Callable[[str], bool] = lambda flow_id: False
    """Whether a flow that the worker does not run was stopped: nothing may be reported that says otherwise."""
    page_rows: int = PAGE_ROWS
    _running: _Running | None = None
    _looked: float = -LOOK_EVERY
    _paused: dict[str, tuple[float, int]] = field(default_factory=dict)

    def step(self) -> bool:
        """One page, if a replay is wanted; whether there was one."""
        if self._running is None and not self._begin():
            return False
        running = self._running
        assert running is not None
        id = running.document.id
        try:
            if not self._page(running):
                self._running = None
                self._paused.pop(id, None)
        except _PASSING as error:
            self._pause(id, running, error)
        except Conflict:
            self._running = None  # it was deleted
        except Exception as error:  # whatever it is, landing must go on
            self._running = None
            self._end(running.scope, running.document, error)
        return True

    # -- which replays there are ----------------------------------------------------------------------------

    def _begin(self) -> bool:
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return False
        self._looked = now
        rows = self.store.connection.execute(_WAITING, (KIND, *OPEN)).fetchall()
        for org, sandbox, id in rows:
            scope = Scope(org, sandbox)
            document = self.store.get(scope, KIND, id)
            if document is None or now < self._paused.get(id, (0.0, 0))[0]:
                continue
            try:
                self._running = self._open(scope, document)
                return True
            except _PASSING as error:
                self._pause(id, None, error)
            except Conflict:
                continue
            except Exception as error:
                self._end(scope, document, error)
        return False

    def _open(self, scope: Scope, document: Document) -> _Running:
        body = document.body
        flow_id = body["flowId"]
        revision = Revisions(self.store).latest(flow_id)
        if revision is None:
            raise Terminal(f"flow {flow_id} does not exist any more")
        pipeline = Pipeline(revision)
        self.lake.ensure(revision.sandbox, revision.dataset_id, pipeline.tree, create=False)
        replayer = Replayer(self.lake, revision.sandbox, revision.dataset_id, flow_id)
        mark = replayer.position()
        # rows whose batch has landed only in part are not counted yet: their turn comes with the next replay
        fresh: dict[str, Any] = {}
        if body["state"] == "queued":
            below = dict(mark.offsets)
            selected = count(
                replayer.failed_table(), selection_of(flow_id, body["selection"], below)
            )
            fresh = {
                "state": "running", "started": _now(), "below": below, "selected": selected,
                "revision": revision.revision,
            }  # fmt: skip
        elif body["revision"] != revision.revision and body["state"] != CANCELLING:
            # the flow changed while the worker was down: what was passed over may be good now
            fresh = {"revision": revision.revision, "after": None, "reasons": [], "stillFailed": 0}
        # an earlier worker may have died between a commit and its row
        position = mark.offsets.get(LOG_PARTITION, 0)
        commits.recover(self.store, flow_id, revision.dataset_id, mark, position)
        document = self._write(scope, document, fresh) if fresh else document
        return _Running(scope, document, pipeline, replayer, Reasons.read(document.body["reasons"]))

    # -- one replay -----------------------------------------------------------------------------------------

    def _page(self, running: _Running) -> bool:
        """Replay a page; False when that was the last."""
        document = self.store.get(running.scope, KIND, running.document.id)
        if document is None:
            raise Conflict(running.document.id)
        running.document = document  # it may have been cancelled since
        body, pinned = document.body, running.pipeline.revision
        chosen = selection_of(pinned.flow_id, body["selection"], body["below"])
        after = tuple(body["after"]) if body["after"] else None
        replayer = running.replayer
        # after a death, rows of its last page may have landed and be among the failed still: these alone are dealt with
        over = body["state"] == CANCELLING
        rows = None
        if not over or body["open"]:
            rows = page(replayer.failed_table(), chosen, after, self.page_rows, PAGE_BYTES)
        if rows is None:
            self._finish(running, chosen)
            return False
        started, batch_id, reasons = _now(), ulid(), Reasons(running.reasons.counts.copy())

        def committed(result: CommitResult, good: Rerun, count: int) -> None:
            position = result.watermark.offsets.get(LOG_PARTITION, 0)
            commits.record_replay(
                self.store, pinned, result, len(good.keys), count, good.warnings, started, position
            )
            self._tell(pinned.flow_id, pinned.dataset_id, result.watermark)

        # what this worker does not come to, the next one knows by the batch
        earlier = self._batches(pinned.flow_id)
        begun = body["open"] if over else [*body["open"], batch_id]
        running.document = self._write(running.scope, running.document, {"open": begun})
        done = replayer.replay(
            rows,
            lambda rest: (
                Rerun((), ()) if over else rerun(running.pipeline, rest, batch_id, reasons)
            ),
            batch_id,
            earlier,
            committed,
        )
        landed = done.landed + done.before
        batches = [*body["batches"], batch_id] if done.landed else body["batches"]
        running.document = self._write(
            running.scope, running.document,
            {
                "after": list(keys_of(rows)[-1]), "reasons": reasons.listed(),
                "landed": body["landed"] + landed,
                "stillFailed": body["stillFailed"] + rows.num_rows - landed,
                "batches": batches[-MOST_BATCHES:],
                # after a death the rows of the page before may be spread over several pages
                "open": [] if len(begun) == 1 and not over else begun,
            },
        )  # fmt: skip
        running.reasons = reasons
        reach("replay-after-progress")
        self._paused.pop(running.document.id, None)
        for suffix in ("", "_failed") if landed else ():
            self.upkeep.note(pinned.sandbox, pinned.dataset_id + suffix)
        return True

    def _finish(self, running: _Running, chosen: Selection) -> None:
        """The counts in the end are those of the table: pages may have been repeated."""
        left = count(running.replayer.failed_table(), chosen)
        selected = running.document.body["selected"]
        self._write(
            running.scope, running.document,
            {
                "state": "cancelled" if running.document.body["state"] == CANCELLING else "done",
                "ended": _now(), "stillFailed": left, "landed": selected - left,
                "open": [],
            },
        )  # fmt: skip

    def _batches(self, flow_id: str) -> frozenset[str]:
        """Batches that replays of the flow began and did not end: their rows may still be among the failed."""
        rows = self.store.connection.execute(
            "SELECT each.value FROM documents, json_each(body, '$.open') AS each"
            " WHERE documents.kind=? AND json_extract(body, '$.flowId')=?",
            (KIND, flow_id),
        )
        return frozenset(row[0] for row in rows)

    def _tell(self, flow_id: str, dataset_id: str, mark: Watermark) -> None:
        state = self.flow(flow_id)
        if state is not None and state.pipeline.revision.dataset_id == dataset_id:
            # the counts alone: that another process moved the flow must still be noticed
            state.watermark = replace(
                state.watermark, landed=mark.landed, failed=mark.failed, warnings=mark.warnings,
                again=mark.again,
            )  # fmt: skip
        if state is None and self.stands(flow_id):
            return  # the counts follow when it runs again
        self.report(
            {
                "event": "flow", "flow": flow_id, "position": mark.offsets.get(LOG_PARTITION, 0),
                "landed": mark.landed, "failed": mark.failed, "sequence": mark.sequence,
                "warnings": mark.warnings, "again": mark.again, "lost": mark.lost,
                "stopped": state.stopped if state else None,
            }
        )  # fmt: skip

    def _pause(self, id: str, running: _Running | None, error: Exception) -> None:
        """Leave a replay alone for a while, longer each time."""
        self._running = None
        failures = self._paused.get(id, (0.0, 0))[1] + 1
        pause = min(LONGEST_PAUSE, 0.2 * 2 ** min(failures, 10))
        self._paused[id] = (time.monotonic() + pause, failures)
        if running is not None and not isinstance(error, Stale):
            reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
            flow_id = running.pipeline.revision.flow_id
            self.report({"event": "retry", "flow": flow_id, "reason": f"replay: {reason}"})

    def _end(self, scope: Scope, document: Document, error: Exception) -> None:
        """Give a replay up. What it landed has landed; the rest is where it was."""
        known = isinstance(error, HeadraceError)
        reason = str(error) if known else f"a defect stopped it: {type(error).__name__}"
        change = {"state": "failed", "ended": _now(), "error": reason}
        with contextlib.suppress(Conflict, sqlite3.Error):  # then it is begun again
            self.store.replace(scope, KIND, document.id, document.body | change, document.version)

    def _write(self, scope: Scope, document: Document, changes: dict[str, Any]) -> Document:
        """Conflict when it was deleted; that it is to be cancelled is kept."""
        id = document.id
        try:
            return self.store.replace(scope, KIND, id, document.body | changes, document.version)
        except Conflict:
            now = self.store.get(scope, KIND, id)
            if now is None or now.body["state"] != CANCELLING:
                raise
            body = now.body | changes | {"state": CANCELLING}
            return self.store.replace(scope, KIND, id, body, now.version)


def _now() -> int:
    return int(time.time() * 1000)
