"""The worker process: tails the log, runs pipelines, commits to the lake.

One process for all flows of a data directory; it owns `DIR/worker.lock`. It learns of flows from the log's frames
and of their revisions from the store, so that it needs no messages but the end of its standard input, which says
that the server is gone. After each commit it prints one JSON line for the server's metrics.
"""

import contextlib
import fcntl
import gc
import json
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError, Terminal
from headrace.lake.catalog import Lake
from headrace.lake.upkeep import Upkeep
from headrace.log.damage import Damage
from headrace.log.frames import LOG_PARTITION, Frame
from headrace.log.reader import LogReader
from headrace.runtime import backfills, commits
from headrace.runtime.batch import Batch
from headrace.runtime.behind import Behind
from headrace.runtime.landing import FlowState, Lander, Outcome, room
from headrace.runtime.pipeline import Pipeline
from headrace.runtime.pulling import Pulling
from headrace.runtime.replaying import Replaying
from headrace.security.egress import Egress
from headrace.sources.contract import Position
from headrace.store.documents import Store
from headrace.store.revisions import Revisions

FREE_EVERY = 5.0
LOOK_EVERY = 0.03
"""Seconds between looks at the log while nothing comes: little beside the commit interval, and little work."""
ALIVE_EVERY = 1.0
"""Seconds between signs of life while nothing else is reported."""


@dataclass
class Worker:
    """`report` receives one JSON-able event a commit, start or stop of a flow."""

    store: Store
    lake: Lake
    reader: LogReader
    interval: float
    commit_rows: int
    report: Callable[[dict[str, Any]], None]
    upkeep: Upkeep
    flows: dict[str, FlowState] = field(default_factory=dict)
    pipelines: dict[tuple[str, int], Pipeline] = field(default_factory=dict)
    orphaned: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._revisions = Revisions(self.store)
        self._freed = time.monotonic()
        self._held: deque[Frame] = deque()
        self._behind = Behind(self.reader.directory)
        self.unusable: set[str] = set()
        self._damage: list[Damage] = []
        self._lander = Lander(self.store, self.lake, self.report, self.upkeep)

    def step(self) -> bool:
        """One round: read, run, land what is due. True when there was something to read."""
        more = room(self.flows.values())
        if not more:
            for flow in self.flows.values():
                if flow.failures and flow.batch is not None:
                    self._behind.leave(flow)
        elif not self._held:
            self._held.extend(self.reader.read())
            if self.reader.damage != self._damage:
                self._tell_damage()
        taken = 0
        while self._held and self._take(self._held[0]):
            self._held.popleft()
            taken += 1
        for id in self._behind.ids() if more else ():
            taken += self._catch_up(self.flows[id])
        now = time.monotonic()
        for flow in self.flows.values():
            if flow.due(now, self.commit_rows, self.interval):
                self.land(flow)
        if now - self._freed > FREE_EVERY:
            self._freed = now
            if self.orphaned():
                return taken > 0  # the next server may still want to read what this one wrote
            positions = {id: flow.position for id, flow in self.flows.items()}
            positions |= dict.fromkeys(self._aimless(), sys.maxsize)
            backfills.free(self.store, self.reader.free, positions)
        return taken > 0

    def _take(self, frame: Frame) -> bool:
        """Run a frame, unless its flow is read otherwise; False when the log has to wait for it."""
        id = frame.meta.flow_id
        return self._behind.has(id) or self._run(frame) or self._behind.leave(self.flows[id])

    def _catch_up(self, flow: FlowState) -> int:
        """Run some frames of a flow that was left behind; how many were looked at."""
        if flow.stopped:
            self._behind.forget(flow)
            return 0
        if time.monotonic() < flow.retry_at:
            return 0
        frames = self._behind.read(flow)
        for frame in frames:
            if frame.meta.flow_id == flow.flow_id and not self._run(frame):
                self._behind.leave(flow)
                break
        return len(frames)

    def _run(self, frame: Frame) -> bool:
        """Run a frame; False when it has to wait because its flow's batch cannot land just now."""
        meta = frame.meta
        if meta.flow_id in self.unusable:
            return True
        try:
            flow = self.flows.get(meta.flow_id) or self._open(meta.flow_id, meta.revision)
        except Terminal as error:
            self._refuse(meta.flow_id, str(error))
            return True
        batch = flow.batch
        if flow.stopped or frame.end <= (batch.next if batch else flow.position):
            return True
        missing = meta.sequence - (batch.sequence if batch else flow.watermark.sequence)
        if missing > 0:
            return self._stop_before_gap(flow, frame, missing)
        if batch is not None and (
            batch.pipeline.revision.revision != meta.revision
            or batch.envelope != meta.envelope
            or flow.full(self.commit_rows)
        ):
            if time.monotonic() >= flow.retry_at:
                self.land(flow)  # a revision meets the log at a position, never inside a batch
            if flow.stopped or frame.end <= flow.position:
                return True
            if flow.batch is not None:
                return False
            batch = None
        if batch is None:
            try:
                flow.pipeline = self._pipeline(meta.flow_id, meta.revision)
            except Terminal as error:
                self._stop(flow, str(error))
                return True
            batch = flow.batch = flow.pipeline.batch(meta.envelope)
            flow.opened = time.monotonic()
        batch.add(frame)
        flow.next = {LOG_PARTITION: Position(batch.next)}
        return True

    def _stop_before_gap(self, flow: FlowState, frame: Frame, missing: int) -> bool:
        """Records of the flow before a frame were not in the log: what is read lands, then the flow stops. False when
        it cannot land just now."""
        if flow.batch is not None and time.monotonic() >= flow.retry_at:
            self.land(flow)
        if flow.batch is not None and not flow.stopped:
            return False
        ranges = "; ".join(map(str, self.reader.damage)) or "they are gone from the log"
        self._stop(
            flow, f"{missing} accepted records before position {frame.offset} cannot be read ({ranges}); to go on without"
            f" them: headrace rewind {flow.flow_id} --to {frame.offset}"
        )  # fmt: skip
        return True

    def _stop(self, flow: FlowState, reason: str) -> None:
        flow.stopped = flow.stopped or reason
        self._lander.tell(flow)

    def _refuse(self, flow_id: str, reason: str) -> None:
        """A flow that cannot be opened: its records stay in the log, the other flows go on."""
        self.unusable.add(flow_id)
        known = commits.totals(self.store).get(flow_id, {})
        names = ("position", "landed", "failed", "warnings", "again", "lost")
        counts = {name: known.get(name, 0) for name in names}
        sequence = known.get("reached", 0)
        self.report(
            {"event": "flow", "flow": flow_id, **counts, "sequence": sequence, "stopped": reason}
        )

    def _tell_damage(self) -> None:
        self._damage = list(self.reader.damage)
        ranges = [{"detail": str(found), "count": found.count} for found in self._damage]
        self.report({"event": "damage", "ranges": ranges})

    def _pipeline(self, flow_id: str, revision: int) -> Pipeline:
        key = (flow_id, revision)
        if key not in self.pipelines:
            found = self._revisions.get(flow_id, revision)
            if found is None:
                raise Terminal(
                    f"the log names revision {revision} of flow {flow_id}, which the store lacks"
                )
            try:
                self.pipelines[key] = Pipeline(found)
            except Terminal:
                raise
            except (HeadraceError, ValueError, KeyError, TypeError) as error:
                text = f"revision {revision} of the flow cannot be run: {type(error).__name__}"
                raise Terminal(text) from error
        return self.pipelines[key]

    def _open(self, flow_id: str, revision: int) -> FlowState:
        flow = self.flows[flow_id] = self._lander.open(self._pipeline(flow_id, revision))
        return flow

    def land(self, flow: FlowState) -> None:
        """Commit the flow's batch; what the table has already is left out of the next one."""
        batch = flow.batch
        if batch is None or flow.stopped:
            return
        if self._lander.land(flow) is Outcome.STALE and flow.position < batch.next:
            self._replan(flow, batch)

    def _replan(self, flow: FlowState, old: Batch) -> None:
        """A new batch of what the table does not cover yet, read from the log again."""
        batch = old.pipeline.batch(old.envelope)
        reader = LogReader(self.reader.directory)
        while frames := reader.read():
            for frame in frames:
                mine = frame.meta.flow_id == flow.flow_id
                if mine and flow.position <= frame.offset < old.next:
                    batch.add(frame)
        reader.close()
        if batch.records:
            flow.batch, flow.next = batch, {LOG_PARTITION: Position(batch.next)}

    def _aimless(self) -> list[str]:
        """Flows that stopped because their data set was deleted: nothing of theirs will ever land."""
        return [
            id
            for id, flow in self.flows.items()
            if flow.stopped
            and self.store.find("dataSets", flow.pipeline.revision.dataset_id) is None
        ]

    def finish(self) -> None:
        """Land what has been read, before a clean stop."""
        for flow in self.flows.values():
            if flow.batch is not None:
                self.land(flow)


def run(data_dir: Path, interval: float, commit_rows: int, egress_allow: str) -> int:
    """Work until standard input ends or a signal asks to stop; the exit status."""
    stopping, clock = False, [0.0]

    def stop(*_: Any) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with (data_dir / "worker.lock").open("w") as lock:
        while not stopping:  # a worker of a killed server ends as soon as it notices
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            _tell_alive(clock)
            if _parent_gone(0.1):
                return 0
        parent = os.getppid()
        store, lake = Store(data_dir / "headrace.db"), Lake(data_dir)
        upkeep = Upkeep(lake)
        worker = Worker(
            store, lake, LogReader(data_dir / "log"), interval, commit_rows, _tell_server, upkeep,
            orphaned=lambda: os.getppid() != parent,
        )  # fmt: skip
        pulling = Pulling(
            data_dir, store, lake, interval, commit_rows, _tell_server, upkeep, Egress(egress_allow)
        )
        replaying = Replaying(
            store, lake, _tell_server, upkeep,
            lambda id: worker.flows.get(id) or pulling.state(id),
            lambda id: id in worker.unusable or pulling.stands(id),
        )  # fmt: skip
        worker.report({"event": "ready"})
        gc.collect()
        gc.freeze()
        while not stopping:
            _tell_alive(clock)
            busy = worker.step()
            busy |= pulling.step()
            busy |= replaying.step()
            done = upkeep.step(busy=busy)
            if done is not None:
                busy = True
                if done.what == "failed":
                    worker.report(
                        {"event": "upkeep", "table": list(done.table), "reason": done.detail}
                    )
            if not busy and _parent_gone(LOOK_EVERY):
                stopping = True
        if not _parent_gone(0):
            while worker.step():
                _tell_alive(clock)
            worker.finish()
            pulling.finish()
        upkeep.close()
        worker.reader.close()
    return 0


def _tell_alive(clock: list[float]) -> None:
    """Say so at most once in `ALIVE_EVERY`; `clock` holds when it was said last. It comes from the loop itself, not from
    a thread: a loop that stands still is what the server must notice. Every landing is reported too, so that only a
    single step, such as one commit, can be silent for long."""
    if time.monotonic() - clock[0] >= ALIVE_EVERY:
        clock[0] = time.monotonic()
        _tell_server({"event": "alive"})


def _tell_server(event: dict[str, Any]) -> None:
    with contextlib.suppress(
        BrokenPipeError
    ):  # it is gone: the next look at standard input says so
        os.write(1, json.dumps(event).encode() + b"\n")


def _parent_gone(wait: float) -> bool:
    """Whether standard input has ended; waits up to `wait` seconds for that."""
    readable, _, _ = select.select([0], [], [], wait)
    return bool(readable) and not os.read(0, 4096)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
