"""The commit protocol: rows and watermark become visible together, each record once.

1. The good table's watermark is the position of the flow. A batch begins exactly there.
2. Failed rows are committed first, if there are any. Their table has a watermark of its own; rows below it are
   left out, so repeating a batch after a crash between the two commits changes nothing.
3. Good rows and the new watermark are committed in one transaction: snapshot summary and table property. Without
   good rows the property alone moves.
4. The library's own retry would apply a batch again on top of another writer's: it is off. A commit that meets a
   moved table reads the watermark again: passed the start of the batch → Stale; else the commit is rebuilt.
5. When the outcome is unknown, the commit id is looked for in the reloaded table before anything else is done.
   Files of an unknown commit are never deleted.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import ValidatableTableRequirement
from sqlalchemy.exc import SQLAlchemyError

from headrace.errors import HeadraceError, Transient
from headrace.lake.catalog import Lake
from headrace.lake.transaction import CachedTransaction
from headrace.lake.watermark import Watermark, current, key
from headrace.lake.write import write_parquet
from headrace.testing.crashpoints import reach

ATTEMPTS = 8


class AssertWatermark(ValidatableTableRequirement):
    """The table's property must say what was read: a commit without rows has nothing else that fences it."""

    type: Literal["assert-headrace-watermark"] = "assert-headrace-watermark"
    name: str
    text: str | None

    def validate(self, base_metadata: TableMetadata | None) -> None:  # type: ignore[override]
        have = base_metadata.properties.get(self.name) if base_metadata else None
        if have != self.text:
            raise CommitFailedException(f"the watermark of {self.name} has moved")


class Stale(HeadraceError):
    """The table's watermark is not where the batch begins; `watermark` is what it says."""

    def __init__(self, watermark: Watermark) -> None:
        super().__init__(f"the table stands at {dict(watermark.offsets)}")
        self.watermark = watermark


@dataclass(slots=True)
class CommitBatch:
    """One batch of one flow. `start` and `next`: partition → offset, `tokens`: partition → the source's mark after it;
    `sequence`: the flow's records after it; `epoch`: that of the watermark it was read from."""

    good: pa.Table | None
    failed: pa.Table | None
    start: Mapping[str, int]
    next: Mapping[str, int]
    sequence: int
    landed: int
    failed_count: int
    warnings: int
    batch_id: str
    failed_batch_id: str = ""
    tokens: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 0


@dataclass(slots=True)
class CommitResult:
    commit_id: str
    watermark: Watermark
    good_snapshot: int | None = None
    failed_snapshot: int | None = None
    files: list[str] = field(default_factory=list)
    failed_files: list[str] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0


class Committer:
    """Commits the batches of one flow. There must be one at a time; a second one cannot do harm, only fail."""

    def __init__(
        self,
        lake: Lake,
        sandbox: str,
        dataset_id: str,
        flow_id: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._lake = lake
        self._sandbox = sandbox
        self._dataset_id = dataset_id
        self._flow_id = flow_id
        self._sleep = sleep

    def position(self) -> Watermark:
        """Where the flow stands; WatermarkConflict when the table was changed outside."""
        return self._watermark(self._load(""))

    def commit(self, batch: CommitBatch) -> CommitResult:
        """Land a batch. Stale, Transient (nothing landed, or it will be noticed next time) or Terminal."""
        started = time.monotonic()
        good = self._load("")
        before = self._watermark(good)
        self._check_start(before, batch)
        commit_id = str(uuid.uuid4())
        watermark = Watermark(
            offsets=dict(before.offsets) | dict(batch.next),
            tokens=dict(before.tokens) | dict(batch.tokens),
            sequence=batch.sequence,
            landed=before.landed + batch.landed,
            failed=before.failed + batch.failed_count,
            warnings=before.warnings + batch.warnings,
            commit_id=commit_id,
            rows_commit=before.rows_commit if batch.good is None else commit_id,
            batch_id=batch.batch_id,
            failed_batch_id=batch.failed_batch_id,
            again=before.again,
            lost=before.lost,
            gone=before.gone,
            epoch=before.epoch,
        )
        result = CommitResult(watermark.commit_id, watermark)
        if batch.failed is not None:
            self._commit_failed(batch, watermark, result)
        reach("after-failed-commit")
        self._commit_good(good, batch, watermark, result)
        reach("after-good-commit")
        result.seconds = time.monotonic() - started
        return result

    def _load(self, suffix: str) -> Table:
        return self._lake.table(self._sandbox, self._dataset_id + suffix)

    def _watermark(self, table: Table) -> Watermark:
        summaries: list[Mapping[str, str]] = []
        snapshot = table.current_snapshot()
        whole = snapshot is None
        while snapshot is not None:
            properties = snapshot.summary.additional_properties if snapshot.summary else {}
            summaries.append(properties)
            whole = snapshot.sequence_number == 1  # expiry cuts the chain of parents
            if key(self._flow_id) in properties or snapshot.parent_snapshot_id is None:
                break
            snapshot = table.metadata.snapshot_by_id(snapshot.parent_snapshot_id)
        return current(self._flow_id, table.metadata.properties, summaries, whole=whole)

    @staticmethod
    def _check_start(before: Watermark, batch: CommitBatch) -> None:
        if before.epoch != batch.epoch or any(
            before.offsets.get(partition, 0) != at for partition, at in batch.start.items()
        ):
            raise Stale(before)

    def _commit_failed(
        self, batch: CommitBatch, watermark: Watermark, result: CommitResult
    ) -> None:
        table = self._lake.failed(self._sandbox, self._dataset_id)
        rows = batch.failed
        assert rows is not None
        have = self._watermark(table)
        covering = have.offsets if have.epoch == watermark.epoch else {}
        for partition, offset in covering.items():
            covered = pc.and_(
                pc.equal(rows["sourcePartition"], partition), pc.less(rows["sourceOffset"], offset)
            )
            rows = rows.filter(pc.invert(covered))
        if not rows.num_rows:
            return
        mark = Watermark(
            offsets=dict(covering) | dict(batch.next), sequence=batch.sequence,
            failed=have.failed + rows.num_rows, commit_id=watermark.commit_id,
            rows_commit=watermark.commit_id, gone=have.gone, epoch=watermark.epoch,
        )  # fmt: skip
        written = write_parquet(table, rows)
        result.failed_files.append(written.path)

        def unchanged(now: Watermark) -> None:
            if now.offsets != have.offsets:
                raise Stale(self.position())

        result.failed_snapshot = self._transact(table, [written.file], mark, unchanged)

    def _commit_good(
        self, table: Table, batch: CommitBatch, watermark: Watermark, result: CommitResult
    ) -> None:
        files = []
        if batch.good is not None:
            written = write_parquet(table, batch.good)
            files.append(written.file)
            result.files.append(written.path)
            result.bytes = written.bytes
        reach("after-data-file")
        result.good_snapshot = self._transact(
            table, files, watermark, lambda now: self._check_start(now, batch)
        )

    def _transact(
        self,
        table: Table,
        files: Sequence[DataFile],
        mark: Watermark,
        verify: Callable[[Watermark], None],
    ) -> int | None:
        """Append files and set the watermark in one transaction; `verify` sees the watermark at each try."""
        for attempt in range(ATTEMPTS):
            verify(self._watermark(table))
            # on the loaded object only: a table property that other writers obey too is left alone
            table.metadata.properties["commit.retry.num-retries"] = "0"
            name, text = key(self._flow_id), mark.to_text()
            fence = AssertWatermark(name=name, text=table.metadata.properties.get(name))
            try:
                with CachedTransaction(table) as transaction:
                    transaction._apply((), (fence,))  # type: ignore[arg-type]
                    if files:
                        with transaction.update_snapshot(
                            {key(self._flow_id): text}
                        ).merge_append() as append:
                            for file in files:
                                append.append_data_file(file)
                    transaction.set_properties({name: text})
            except CommitFailedException:
                reason = "another writer was faster"
            except (CommitStateUnknownException, SQLAlchemyError, TimeoutError) as error:
                reason = f"the outcome is unknown: {type(error).__name__}"
            else:
                snapshot = table.current_snapshot() if files else None
                return snapshot.snapshot_id if snapshot else None
            table = self._lake.table(*table.name())
            if self._watermark(table).commit_id == mark.commit_id:
                snapshot = table.current_snapshot() if files else None
                return snapshot.snapshot_id if snapshot else None
            self._sleep(0.05 * 2**attempt)
        raise Transient(f"the table {'.'.join(table.name())} could not be committed to: {reason}")
