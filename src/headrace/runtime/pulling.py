"""Flows of pulled sources in the worker: found in the store, read by their pullers, landed like any other.

The lake's watermark holds the position of every partition. A flow that has none first commits where it begins, so
that `latest` means the same moment after a crash.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from headrace.errors import Terminal, Transient
from headrace.lake.catalog import Lake
from headrace.lake.upkeep import Upkeep
from headrace.log.frames import LOG_PARTITION
from headrace.runtime import commits
from headrace.runtime.landing import FlowState, Lander, Outcome, room
from headrace.runtime.opening import Wanted, Watch, settings_of
from headrace.runtime.pipeline import Pipeline
from headrace.runtime.pull import Begun, Puller, Read, Stopped
from headrace.runtime.pulled import frame_of
from headrace.security.egress import Egress
from headrace.sources.connectors import connector, known
from headrace.sources.contract import EARLIEST, Connector, Position, Source
from headrace.store.documents import Store
from headrace.store.revisions import Revisions

LOOK_EVERY = 1.0
"""Seconds between looks for flows that began, changed or ended."""
POSITIONS_EVERY = 30.0
"""Seconds after which positions that moved without records are committed on their own."""
CHUNKS_AT_ONCE = 20
Report = Callable[[dict[str, Any]], None]


def _pulled(spec_id: str) -> bool:
    """Whether flows of a connection spec are read here; queues go through the log, in the server."""
    return known(spec_id) and connector(spec_id).replayable


@dataclass(slots=True)
class PullFlow:
    """One flow and its reader. `sequence` counts its records up to the running batch's end."""

    state: FlowState
    puller: Puller
    pipeline: Pipeline
    want: Wanted
    sequence: int
    moved: float = 0.0
    told: float = 0.0
    upcoming: Pipeline | None = None


@dataclass
class Pulling:
    data_dir: Path
    store: Store
    lake: Lake
    interval: float
    commit_rows: int
    report: Report
    upkeep: Upkeep
    egress: Egress = field(default_factory=Egress)
    flows: dict[str, PullFlow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lander = Lander(self.store, self.lake, self.report, self.upkeep)
        self._revisions = Revisions(self.store)
        self._looked = 0.0
        self._watch = Watch(self.store, _pulled)
        self._stopped: dict[str, Wanted] = {}

    def step(self) -> bool:
        """One round over all flows; whether anything was read."""
        now = time.monotonic()
        if now - self._looked > LOOK_EVERY:
            self._looked = now
            self._look()
        busy = False
        # a flow that cannot land takes no more, and must not keep the others from it
        more = room(flow.state for flow in self.flows.values() if not flow.state.failures)
        for flow in list(self.flows.values()):
            if more:
                busy |= self._take(flow, now)
            self._land_when_due(flow, now)
            self._tell_lag(flow, now)
        return busy

    def stands(self, id: str) -> bool:
        """Whether a flow has no reader because it was stopped."""
        return id in self._stopped

    def state(self, id: str) -> FlowState | None:
        """A flow that is being read."""
        flow = self.flows.get(id)
        return flow.state if flow else None

    def finish(self) -> None:
        """Land what has been read, before a clean stop."""
        for flow in self.flows.values():
            flow.puller.stop()
            if flow.state.next:
                self._lander.land(flow.state)

    # -- which flows there are ------------------------------------------------------------------------------

    def _look(self) -> None:
        wanted = self._watch.look()
        if wanted is None:
            return
        for id in self.flows.keys() - wanted.keys():
            self._end(id)
        for id in self._stopped.keys() - wanted.keys():
            del self._stopped[id]  # to be tried again when it is enabled
            self._tell_stopped(id, None)
        for id, want in wanted.items():
            running = self.flows.get(id)
            if running is None and self._stopped.get(id) != want:
                self._begin(id, want)
            elif running is not None and running.want != want:
                try:
                    self._revise(running, want)
                except Terminal as error:
                    self._stop(id, want, str(error))

    def _begin(self, id: str, want: Wanted) -> None:
        try:
            pipeline = self._pipeline(id, want[0])
            state = self._lander.open(pipeline)
            if state.stopped:
                raise Terminal(state.stopped)
            puller = self._puller(pipeline, state)
        except Terminal as error:
            self._stop(id, want, str(error))
            return
        except Transient as error:  # the lake does not answer: the other flows go on meanwhile
            self._watch.forget()
            self.report({"event": "retry", "flow": id, "reason": str(error)})
            return
        self._stopped.pop(id, None)
        sequence = state.watermark.sequence
        self.flows[id] = PullFlow(
            state, puller.start(), pipeline, want, sequence, moved=time.monotonic()
        )

    def _puller(self, pipeline: Pipeline, state: FlowState) -> Puller:
        revision, mark = pipeline.revision, state.watermark
        found = connector(revision.source)
        positions = {
            id: Position(offset, mark.tokens.get(id, ""))
            for id, offset in mark.offsets.items()
            if id != LOG_PARTITION
        }
        return Puller(
            partial(self._open, found, pipeline), positions, revision.source_params.get("reset") or EARLIEST,
            first=not mark.offsets,
            report=lambda reason: self.report({"event": "retry", "flow": revision.flow_id, "reason": reason}),
        )  # fmt: skip

    def _open(self, found: Connector, pipeline: Pipeline) -> Source:
        revision = pipeline.revision
        settings = settings_of(self.store, self.data_dir, revision, self.egress)
        return cast(Source, found.open(settings))

    def _revise(self, flow: PullFlow, want: Wanted) -> None:
        """A revision meets the source at a position: between two batches. Other credentials or another source open
        it anew."""
        upcoming = self._pipeline(flow.state.flow_id, want[0])
        before, after = flow.pipeline.revision, upcoming.revision
        same = (before.source_params, before.dataset_id) == (after.source_params, after.dataset_id)
        if same and want[1] == flow.want[1]:
            flow.upcoming, flow.want = upcoming, want
            return
        self._end(flow.state.flow_id)
        self._begin(flow.state.flow_id, want)

    def _pipeline(self, id: str, revision: int) -> Pipeline:
        found = self._revisions.get(id, revision)
        if found is None or not known(found.source):
            raise Terminal(f"revision {revision} of the flow cannot be run")
        return Pipeline(found)

    def _end(self, id: str) -> None:
        """The flow was disabled or deleted: what has been read is landed, then reading ends."""
        flow = self.flows.pop(id)
        flow.puller.stop()
        if flow.state.next:
            self._lander.land(flow.state)
        self._forget_lag(id)

    def _stop(self, id: str, want: Wanted, reason: str) -> None:
        self._stopped[id] = want
        self._forget_lag(id)
        running = self.flows.pop(id, None)
        if running is not None:
            running.puller.stop()
            if running.state.next and not running.state.stopped:
                self._lander.land(running.state)
            running.state.stopped = reason
            self._lander.tell(running.state)
        else:
            self._tell_stopped(id, reason)

    def _forget_lag(self, id: str) -> None:
        """Nobody reads: what was known of the distance holds no longer."""
        self.report({"event": "lag", "flow": id, "partitions": {}})

    def _tell_stopped(self, id: str, reason: str | None) -> None:
        """Why a flow that has no reader has none; None when nothing is wrong with it any more."""
        known = commits.totals(self.store).get(id, {})
        names = ("position", "landed", "failed", "warnings", "again", "lost")
        counts = {name: known.get(name, 0) for name in names} | {
            "sequence": known.get("reached", 0)
        }
        self.report({"event": "flow", "flow": id, **counts, "stopped": reason})

    # -- reading and landing --------------------------------------------------------------------------------

    def _take(self, flow: PullFlow, now: float) -> bool:
        state, busy = flow.state, False
        for _ in range(CHUNKS_AT_ONCE):
            if state.full(self.commit_rows) or state.stopped or now < state.retry_at:
                break
            if state.failures and state.batch is not None:
                break  # it takes no more until it has landed what it has
            event = flow.puller.take()
            if event is None:
                break
            busy = True
            if isinstance(event, Begun):
                state.next = dict(event.positions)
                if state.next:
                    self._land(flow)
            elif isinstance(event, Read):
                self._run(flow, event, now)
            elif isinstance(event, Stopped):
                self._stop(state.flow_id, flow.want, event.reason)
                break
        return busy

    def _run(self, flow: PullFlow, event: Read, now: float) -> None:
        state = flow.state
        if flow.upcoming is not None and state.batch is None:
            flow.pipeline, flow.upcoming = flow.upcoming, None
        revision = flow.pipeline.revision
        frame = frame_of(
            event.partition, event.chunk, state.flow_id, revision.revision, flow.sequence, revision.payload,
            revision.format,
        )  # fmt: skip
        if frame.count:
            if state.batch is None:
                state.batch, state.opened = flow.pipeline.batch(False), now
            state.batch.add(frame)
            flow.sequence += frame.count
        state.next[event.partition] = event.chunk.next
        state.lag[event.partition] = event.chunk.lag
        if event.chunk.next.ended:
            del state.lag[event.partition]

    def _land_when_due(self, flow: PullFlow, now: float) -> None:
        state = flow.state
        due = state.due(now, self.commit_rows, self.interval)
        if flow.upcoming is not None and state.batch is not None and now >= state.retry_at:
            due = True
        if state.batch is None and state.next and now - flow.moved > POSITIONS_EVERY:
            due = now >= state.retry_at
        ended = any(position.ended for position in state.next.values())
        if due or (ended and state.batch is None and now >= state.retry_at):
            self._land(flow)
            flow.moved = now

    def _land(self, flow: PullFlow) -> None:
        state = flow.state
        outcome = self._lander.land(state)
        if outcome is Outcome.STOPPED:
            self._stop(state.flow_id, flow.want, state.stopped or "landing failed")
        elif outcome is Outcome.STALE:
            # the table is ahead of what was read: go on where it stands
            flow.puller.stop()
            flow.puller = self._puller(flow.pipeline, state).start()
            flow.sequence = state.watermark.sequence

    def _tell_lag(self, flow: PullFlow, now: float) -> None:
        if now - flow.told < LOOK_EVERY:
            return
        flow.told = now
        lag = {
            id: [found.records, found.milliseconds] for id, found in dict(flow.puller.lag).items()
        }
        if flow.puller.recovered and not flow.state.failures:
            flow.puller.recovered = False
            self._lander.tell(
                flow.state
            )  # the trouble that was reported is over, though nothing lands
        self.report({"event": "lag", "flow": flow.state.flow_id, "partitions": lag})
