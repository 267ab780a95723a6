"""Flows of queues in the server: found in the store, received by their intakes into our log.

A queue cannot be read again, so its messages go the way of HTTP: through the log, which the worker reads.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import ConfigurationError, Terminal
from headrace.log.writer import LogWriter
from headrace.model.flow import FlowRevision
from headrace.runtime.delivered import Delivered
from headrace.runtime.intake import Counts, Intake, Report, TellLag
from headrace.runtime.opening import Wanted, Watch, settings_of, source_of
from headrace.security.egress import Egress
from headrace.sources.connectors import connector
from headrace.sources.contract import Connector, Queue
from headrace.store.documents import Store
from headrace.store.revisions import Revisions

LOOK_EVERY = 1.0
"""Seconds between looks for flows that began, changed or ended."""
PRUNE_EVERY = 600.0
PATIENCE = 20.0
"""Seconds that all intakes together may take to end."""
logger = logging.getLogger("headrace.queues")


@dataclass
class Queues:
    """`report` hears of retries and stops, from the intakes' threads. `find` gives the connector of a spec id. `note`
    is told why a flow stands still, and (None) when it no longer does."""

    store: Store
    revisions: Revisions
    data_dir: Path
    log: LogWriter
    report: Report
    find: Callable[[str], Connector] = connector
    note: Callable[[str, str | None], None] = lambda flow_id, reason: None
    tell_lag: TellLag = lambda flow_id, lag: None
    egress: Egress = field(default_factory=Egress)
    intakes: dict[str, Intake] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._delivered = Delivered(self.store)
        self._want: dict[str, Wanted] = {}
        self._leaving: dict[str, Intake] = {}
        self._unusable: dict[str, str] = {}
        self._watch = Watch(self.store, self._is_queue)
        self._pruned = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="queues", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """To be awaited before a worker is started, which frees what has landed of the log."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._complete)
        self._thread.start()

    async def stop(self) -> None:
        """To be awaited before the log is closed."""
        self._ending.set()
        await asyncio.to_thread(self._join)

    def counts(self) -> Mapping[str, Counts]:
        """By flow."""
        return {id: intake.counts for id, intake in dict(self.intakes).items()}

    def reasons(self) -> Sequence[Mapping[str, str]]:
        """Why the intakes are not well."""
        found = []
        for id, intake in dict(self.intakes).items():
            if intake.stopped is not None:
                found.append({"reason": "flow", "detail": f"flow {id} stopped: {intake.stopped}"})
            elif intake.trouble is not None:
                found.append({"reason": "source", "detail": f"flow {id}: {intake.trouble}"})
        for id, reason in dict(self._unusable).items():
            found.append({"reason": "flow", "detail": f"flow {id} stopped: {reason}"})
        return found

    def _complete(self) -> None:
        flows = frozenset(
            document.id
            for _, document in self.store.everywhere("flows")
            if self._is_queue(source_of(document.body))
        )
        seen = self._delivered.complete(self.log.directory, flows)
        if seen:
            logger.info("%s messages of queues wait in the log", seen)

    def _join(self) -> None:
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        running = [*self.intakes.values(), *self._leaving.values()]
        for intake in running:
            intake.end()
        until = time.monotonic() + PATIENCE
        for intake in running:
            if not intake.join(max(0.0, until - time.monotonic())):
                logger.warning("an intake of flow %s did not end", intake.revision.flow_id)

    def _is_queue(self, spec_id: str) -> bool:
        try:
            return not self.find(spec_id).replayable
        except ConfigurationError:
            return False

    # -- which flows there are ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._look()
                self._prune()
            except sqlite3.Error as error:
                # the store is busy: the next look finds what this one missed
                self._watch.forget()
                logger.warning("looking for flows of queues failed: %s", error)
            except Exception:
                self._watch.forget()
                logger.exception("looking for flows of queues failed")
            self._ending.wait(LOOK_EVERY)
        self.store.close()

    def _look(self) -> None:
        self._leaving = {id: left for id, left in self._leaving.items() if not left.join(0)}
        wanted = self._watch.look()
        if wanted is None:
            return
        for id in self._want.keys() - wanted.keys():
            self._end(id)
        waits = False
        for id, want in wanted.items():
            if self._want.get(id) != want:
                waits |= not self._follow(id, want)
        if waits:
            self._watch.forget()

    def _follow(self, id: str, want: Wanted) -> bool:
        """Let a flow's intake do what is wanted now; False when an earlier one has to end first."""
        running, before = self.intakes.get(id), self._want.get(id)
        try:
            revision = self._revision(id, want[0])
        except Terminal as error:
            self._end(id)
            self._want[id], self._unusable[id] = want, str(error)
            self._tell({"event": "stopped", "flow": id, "reason": str(error)})
            return True
        if (
            running is not None and running.stopped is None and before is not None
            and before[1] == want[1] and running.revision.source_params == revision.source_params
        ):  # fmt: skip
            running.revision, self._want[id] = revision, want
            return True
        self._end(id)
        if id in self._leaving:
            return False
        assert self._loop is not None
        self._want[id] = want
        self.note(id, None)
        self.intakes[id] = Intake(
            lambda: self._open(revision), revision, self.log, self._loop, self._delivered, self._tell,
            finished=self.store.close, tell_lag=self.tell_lag,
        ).start()  # fmt: skip
        return True

    def _tell(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "stopped":
            self.note(event["flow"], event["reason"])
        self.report(dict(event))

    def _revision(self, id: str, number: int) -> FlowRevision:
        found = self.revisions.get(id, number)
        if found is None or not self._is_queue(found.source):
            raise Terminal(f"revision {number} of the flow cannot be run")
        return found

    def _open(self, revision: FlowRevision) -> Queue:
        settings = settings_of(self.store, self.data_dir, revision, self.egress)
        queue = self.find(revision.source).open(settings)
        return queue  # type: ignore[return-value]

    def _end(self, id: str) -> None:
        """The flow was disabled or deleted, or its queue is another one now."""
        self._want.pop(id, None)
        unusable = self._unusable.pop(id, None)
        intake = self.intakes.pop(id, None)
        if unusable is not None or (intake is not None and intake.stopped is not None):
            self.note(id, None)
        if intake is not None:
            intake.end()
            if not intake.join(0.5):
                self._leaving[id] = intake

    def _prune(self) -> None:
        if time.monotonic() - self._pruned > PRUNE_EVERY:
            self._pruned = time.monotonic()
            self._delivered.prune()
