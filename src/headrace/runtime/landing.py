"""Landing: a flow's batch becomes one commit, whatever it was read from."""

import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from headrace.errors import HeadraceError, Terminal, Transient, WatermarkConflict
from headrace.lake.catalog import Lake
from headrace.lake.commit import CommitBatch, Committer, Stale
from headrace.lake.upkeep import Upkeep
from headrace.lake.watermark import Watermark
from headrace.log.frames import LOG_PARTITION
from headrace.model.ids import ulid
from headrace.runtime import commits
from headrace.runtime.batch import Batch
from headrace.runtime.pipeline import Pipeline
from headrace.sources.contract import Lag, Position
from headrace.store.documents import Store
from headrace.testing.crashpoints import reach

logger = logging.getLogger("headrace.landing")
LONGEST_PAUSE = 30.0
FULL_BYTES = 64 * 1024 * 1024
"""Bytes, as received and as mapped, at which a batch is landed without waiting: it is in memory."""
MOST_ROWS_WAITING = 200_000
MOST_BYTES_WAITING = 4 * FULL_BYTES
"""Of all flows of the log, and as much of all that are pulled: what comes behind stays where it is."""
Report = Callable[[dict[str, Any]], None]


class Outcome(Enum):
    """What became of a try to land: `STALE` says that the table stands elsewhere than the batch thinks."""

    LANDED = "landed"
    STALE = "stale"
    WAITING = "waiting"
    STOPPED = "stopped"


@dataclass(slots=True)
class FlowState:
    """A flow as the worker sees it. `next` has the positions behind the running batch, by partition."""

    flow_id: str
    committer: Committer
    watermark: Watermark
    pipeline: Pipeline
    batch: Batch | None = None
    next: dict[str, Position] = field(default_factory=dict)
    lag: dict[str, Lag] = field(default_factory=dict)
    """How far each partition was behind when the last of it was read, for runs."""
    opened: float = 0.0
    stopped: str | None = None
    prepared: int = -1
    retry_at: float = 0.0
    failures: int = 0

    @property
    def position(self) -> int:
        """The position in the log."""
        return self.watermark.offsets.get(LOG_PARTITION, 0)

    def due(self, now: float, rows: int, interval: float) -> bool:
        """Whether the running batch is to be landed: it is large or old enough, and no pause is on."""
        if self.stopped or now < self.retry_at or self.batch is None:
            return False
        return self.full(rows) or now - self.opened >= interval

    def full(self, rows: int) -> bool:
        """Whether the running batch is to take no more. Failures make it two commits, and worth twice as much."""
        batch = self.batch
        if batch is None:
            return False
        commits = 2 if batch.failures else 1
        return batch.records >= rows * commits or batch.held >= FULL_BYTES * commits


def room(flows: Iterable[FlowState]) -> bool:
    """Whether more may be read: what flows hold in memory until it lands is bounded."""
    batches = [flow.batch for flow in flows if flow.batch is not None]
    return (
        sum(batch.records for batch in batches) < MOST_ROWS_WAITING
        and sum(batch.held for batch in batches) < MOST_BYTES_WAITING
    )


@dataclass(frozen=True, slots=True)
class Lander:
    """Opens flows at their watermarks and lands their batches; `report` hears of every change."""

    store: Store
    lake: Lake
    report: Report
    upkeep: Upkeep

    def open(self, pipeline: Pipeline) -> FlowState:
        """A flow at its watermark; `stopped` when table and rows disagree about it."""
        pinned = pipeline.revision
        committer = Committer(self.lake, pinned.sandbox, pinned.dataset_id, pinned.flow_id)
        stopped, watermark = None, Watermark()
        fresh = not commits.dataset_has_rows(self.store, pinned.dataset_id)
        landed = commits.totals(self.store).get(pinned.flow_id, {}).get("position", 0)
        try:
            self.lake.ensure(pinned.sandbox, pinned.dataset_id, pipeline.tree, create=fresh)
            watermark = committer.position()
            if landed and not watermark.offsets:
                raise WatermarkConflict(
                    f"the table has no watermark, yet records up to {landed} have landed in it"
                )
            position = watermark.offsets.get(LOG_PARTITION, 0)
            for name in (pinned.dataset_id, f"{pinned.dataset_id}_failed"):
                self.upkeep.note(pinned.sandbox, name)
            commits.recover(self.store, pinned.flow_id, pinned.dataset_id, watermark, position)
        except Terminal as error:
            stopped = str(error)
        flow = FlowState(pinned.flow_id, committer, watermark, pipeline, stopped=stopped)
        self.tell(flow)
        return flow

    def land(self, flow: FlowState) -> Outcome:
        """Commit the flow's batch, or its positions alone when there is none.

        A transient failure leaves everything for a later try; a terminal one stops the flow.
        """
        if flow.stopped:
            return Outcome.STOPPED
        started, batch = time.time(), flow.batch
        outcome = Outcome.WAITING
        try:
            commit = self._commit(flow, batch)
            result = flow.committer.commit(commit)
        except Stale as stale:
            # an earlier attempt of ours did land, or another process has: what is covered must not land again
            flow.watermark = stale.watermark
            flow.batch, flow.next = None, {}
            outcome = Outcome.STALE
        except Transient as error:
            self.back_off(flow, str(error))
        except HeadraceError as error:
            flow.stopped = str(error)
            flow.batch, flow.next = None, {}
            outcome = Outcome.STOPPED
        except OSError as error:
            self.back_off(flow, f"disk: {os.strerror(error.errno or 0)}")
        except Exception as error:
            # damaged files make libraries raise anything, and the other flows must go on
            logger.exception("a batch of flow %s could not be landed", flow.flow_id)
            self.back_off(flow, f"landing failed: {type(error).__name__}")
        else:
            reach("worker-after-commit")
            flow.watermark = result.watermark
            flow.batch, flow.next, flow.failures, flow.retry_at = None, {}, 0, 0.0
            if batch is not None:
                commits.record(self.store, batch, result, started, flow.lag)
            pinned = flow.pipeline.revision
            self.upkeep.note(pinned.sandbox, pinned.dataset_id)
            if result.failed_files:
                self.upkeep.note(pinned.sandbox, f"{pinned.dataset_id}_failed")
            outcome = Outcome.LANDED
        if outcome is not Outcome.WAITING:  # that would say that the trouble just reported is over
            self.tell(flow)
        return outcome

    def _commit(self, flow: FlowState, batch: Batch | None) -> CommitBatch:
        batch_id, failed_batch_id = ulid(), ulid()
        good = failed = None
        if batch is not None:
            revision = batch.pipeline.revision
            # the table follows the schema before its rows do
            if flow.prepared != revision.revision:
                self.lake.ensure(
                    revision.sandbox, revision.dataset_id, batch.pipeline.tree, create=False
                )
                flow.prepared = revision.revision
            good, failed = batch.good(batch_id), batch.failed(failed_batch_id)
        return CommitBatch(
            good=good, failed=failed,
            start={id: flow.watermark.offsets.get(id, 0) for id in flow.next},
            next={id: position.offset for id, position in flow.next.items()},
            tokens={id: position.token for id, position in flow.next.items() if position.token},
            sequence=batch.sequence if batch else flow.watermark.sequence,
            landed=len(batch.offsets) if batch else 0, failed_count=len(batch.failures) if batch else 0,
            warnings=batch.warnings.total() if batch else 0, batch_id=batch_id, failed_batch_id=failed_batch_id,
            epoch=flow.watermark.epoch,
        )  # fmt: skip

    def back_off(self, flow: FlowState, reason: str) -> None:
        """Leave the flow alone for a while, longer each time."""
        flow.failures += 1
        flow.retry_at = time.monotonic() + min(LONGEST_PAUSE, 0.2 * 2 ** min(flow.failures, 10))
        self.report({"event": "retry", "flow": flow.flow_id, "reason": reason})

    def tell(self, flow: FlowState) -> None:
        mark = flow.watermark
        self.report(
            {
                "event": "flow", "flow": flow.flow_id, "position": flow.position, "landed": mark.landed,
                "failed": mark.failed, "sequence": mark.sequence, "warnings": mark.warnings,
                "again": mark.again, "lost": mark.lost, "stopped": flow.stopped,
            }
        )  # fmt: skip
