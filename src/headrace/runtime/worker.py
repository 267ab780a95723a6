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

from headrace.errors import HeadraceError, Terminal, Transient, WatermarkConflict
from headrace.lake.catalog import Lake
from headrace.lake.commit import CommitBatch, Committer, Stale
from headrace.lake.watermark import Watermark
from headrace.log.frames import Frame
from headrace.log.reader import LogReader
from headrace.model.flow import FlowRevision
from headrace.model.ids import ulid
from headrace.runtime import commits
from headrace.runtime.pipeline import Batch, Pipeline
from headrace.store.documents import Store
from headrace.store.revisions import Revisions
from headrace.testing.crashpoints import reach

PARTITION = "inlet-0"
MOST_ROWS_WAITING = 200_000
FREE_EVERY = 5.0


@dataclass(slots=True)
class FlowState:
    """A flow as the worker sees it. `frames` are those of the running batch, kept until they have landed."""

    flow_id: str
    committer: Committer
    watermark: Watermark
    pipeline: Pipeline
    batch: Batch | None = None
    opened: float = 0.0
    stopped: str | None = None
    prepared: int = -1
    retry_at: float = 0.0
    failures: int = 0

    @property
    def position(self) -> int:
        return self.watermark.offsets.get(PARTITION, 0)


@dataclass
class Worker:
    """`report` receives one JSON-able event a commit, start or stop of a flow."""

    store: Store
    lake: Lake
    reader: LogReader
    interval: float
    commit_rows: int
    report: Callable[[dict[str, Any]], None]
    flows: dict[str, FlowState] = field(default_factory=dict)
    pipelines: dict[tuple[str, int], Pipeline] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._revisions = Revisions(self.store)
        self._freed = time.monotonic()
        self._held: deque[Frame] = deque()

    def step(self) -> bool:
        """One round: read, run, land what is due. True when there was something to read."""
        waiting = sum(flow.batch.records for flow in self.flows.values() if flow.batch)
        if not self._held and waiting < MOST_ROWS_WAITING:
            self._held.extend(self.reader.read())
        taken = 0
        while self._held and self._take(self._held[0]):
            self._held.popleft()
            taken += 1
        now = time.monotonic()
        for flow in self.flows.values():
            if flow.batch is not None and self._due(flow, now):
                self.land(flow)
        if now - self._freed > FREE_EVERY:
            self._freed = now
            self.reader.free({id: flow.position for id, flow in self.flows.items()})
        return taken > 0

    def _due(self, flow: FlowState, now: float) -> bool:
        if flow.stopped or now < flow.retry_at or flow.batch is None:
            return False
        return flow.batch.records >= self.commit_rows or now - flow.opened >= self.interval

    def _take(self, frame: Frame) -> bool:
        """Run a frame; False when it has to wait because its flow's batch cannot land just now."""
        meta = frame.meta
        flow = self.flows.get(meta.flow_id) or self._open(meta.flow_id, meta.revision)
        if flow.stopped or frame.end <= flow.position:
            return True
        batch = flow.batch
        if batch is not None and (
            batch.pipeline.revision.revision != meta.revision
            or batch.envelope != meta.envelope
            or batch.records >= self.commit_rows
        ):
            if time.monotonic() >= flow.retry_at:
                self.land(flow)  # a revision meets the log at a position, never inside a batch
            if flow.stopped:
                return True
            if flow.batch is not None:
                return False
            batch = None
        if batch is None:
            flow.pipeline = self._pipeline(meta.flow_id, meta.revision)
            batch = flow.batch = flow.pipeline.batch(meta.envelope, PARTITION)
            flow.opened = time.monotonic()
        batch.add(frame)
        return True

    def _pipeline(self, flow_id: str, revision: int) -> Pipeline:
        key = (flow_id, revision)
        if key not in self.pipelines:
            found = self._revisions.get(flow_id, revision)
            if found is None:
                raise Terminal(
                    f"the log names revision {revision} of flow {flow_id}, which the store lacks"
                )
            self.pipelines[key] = Pipeline(found)
        return self.pipelines[key]

    def _open(self, flow_id: str, revision: int) -> FlowState:
        pipeline = self._pipeline(flow_id, revision)
        pinned: FlowRevision = pipeline.revision
        committer = Committer(self.lake, pinned.sandbox, pinned.dataset_id, flow_id)
        stopped, watermark = None, Watermark()
        fresh = not commits.dataset_has_rows(self.store, pinned.dataset_id)
        landed = commits.totals(self.store).get(flow_id, {}).get("position", 0)
        try:
            self.lake.ensure(pinned.sandbox, pinned.dataset_id, pipeline.tree, create=fresh)
            watermark = committer.position()
            if landed and not watermark.offsets:
                raise WatermarkConflict(
                    f"the table has no watermark, yet records up to {landed} have landed in it"
                )
            position = watermark.offsets.get(PARTITION, 0)
            commits.recover(self.store, flow_id, pinned.dataset_id, watermark, position)
        except Terminal as error:
            stopped = str(error)
        flow = FlowState(flow_id, committer, watermark, pipeline, stopped=stopped)
        self.flows[flow_id] = flow
        self._tell(flow)
        return flow

    def land(self, flow: FlowState) -> None:
        """Commit the flow's batch. A transient failure leaves it for a later try; a terminal one stops the flow."""
        batch = flow.batch
        if batch is None or flow.stopped:
            return
        started = time.time()
        batch_id, failed_batch_id = ulid(), ulid()
        revision = batch.pipeline.revision
        try:
            # the table follows the schema before its rows do
            if flow.prepared != revision.revision:
                self.lake.ensure(
                    revision.sandbox, revision.dataset_id, batch.pipeline.tree, create=False
                )
                flow.prepared = revision.revision
            good, failed = batch.good(batch_id), batch.failed(failed_batch_id)
            result = flow.committer.commit(
                CommitBatch(
                    good=good, failed=failed,
                    start={PARTITION: flow.position}, next={PARTITION: batch.next},
                    sequence=batch.sequence, landed=len(batch.offsets), failed_count=len(batch.failures),
                    warnings=batch.warnings.total(), batch_id=batch_id, failed_batch_id=failed_batch_id,
                )
            )  # fmt: skip
        except Stale as stale:
            # an earlier attempt of ours did land, or another process has: what is covered must not land again
            flow.watermark = stale.watermark
            flow.batch = None
            if flow.position < batch.next:
                self._replan(flow, batch)
        except Transient as error:
            self._back_off(flow, str(error))
        except HeadraceError as error:
            flow.stopped = str(error)
        except OSError as error:
            self._back_off(flow, f"disk: {os.strerror(error.errno or 0)}")
        else:
            reach("worker-after-commit")
            flow.watermark = result.watermark
            flow.batch, flow.failures, flow.retry_at = None, 0, 0.0
            commits.record(self.store, batch, result, started)
        self._tell(flow)

    def _replan(self, flow: FlowState, old: Batch) -> None:
        """A new batch of what the table does not cover yet, read from the log again."""
        batch = old.pipeline.batch(old.envelope, PARTITION)
        reader = LogReader(self.reader.directory)
        while frames := reader.read():
            for frame in frames:
                mine = frame.meta.flow_id == flow.flow_id
                if mine and flow.position <= frame.offset < old.next:
                    batch.add(frame)
        reader.close()
        flow.batch = batch if batch.records else None

    def _back_off(self, flow: FlowState, reason: str) -> None:
        flow.failures += 1
        flow.retry_at = time.monotonic() + min(30.0, 0.2 * 2**flow.failures)
        self.report({"event": "retry", "flow": flow.flow_id, "reason": reason})

    def _tell(self, flow: FlowState) -> None:
        mark = flow.watermark
        self.report(
            {
                "event": "flow", "flow": flow.flow_id, "position": flow.position, "landed": mark.landed,
                "failed": mark.failed, "sequence": mark.sequence, "warnings": mark.warnings,
                "stopped": flow.stopped,
            }
        )  # fmt: skip

    def finish(self) -> None:
        """Land what has been read, before a clean stop."""
        for flow in self.flows.values():
            if flow.batch is not None:
                self.land(flow)


def run(data_dir: Path, interval: float, commit_rows: int) -> int:
    """Work until standard input ends or a signal asks to stop; the exit status."""
    stopping = False

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
            if _parent_gone(0.1):
                return 0
        worker = Worker(
            Store(data_dir / "headrace.db"), Lake(data_dir), LogReader(data_dir / "log"), interval, commit_rows,
            _tell_server,
        )  # fmt: skip
        worker.report({"event": "ready"})
        gc.collect()
        gc.freeze()
        while not stopping:
            if not worker.step() and _parent_gone(0.01):
                stopping = True
        if not _parent_gone(0):
            while worker.step():
                pass
            worker.finish()
        worker.reader.close()
    return 0


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
    sys.exit(run(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
