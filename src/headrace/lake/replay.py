"""Failed rows land after all: added to the good table, then taken out of the failed one, each record exactly once.

1. Records that are in the good table already are left out. If an earlier try of a replay put them there, it died
   before it took their rows out of the failed table: that is done now, and counts nothing a second time.
2. Good rows are committed with a watermark that counts them as landed and no longer as failed; its offsets stay.
   The fence is the watermark that was read: whoever commits to the flow in between makes this try Stale.
3. The rows are taken out of the failed table: files that hold them are replaced by ones without them, and that table's
   watermark counts down, in one transaction. Until then a reader of both tables sees them twice.

Repeating a page after a crash at any point ends in the same rows. Rows that fail again are not touched, and no file
of the good table is.
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    ValidationException,
)
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Summary
from pyiceberg.table.update.snapshot import _MergeAppendFiles
from sqlalchemy.exc import SQLAlchemyError

from headrace.disk import local_path
from headrace.errors import Transient
from headrace.lake.commit import ATTEMPTS, AssertWatermark, CommitResult, Committer, Stale
from headrace.lake.files import DurableStream
from headrace.lake.replace import Replace
from headrace.lake.replay_rows import (
    BATCH,
    KEY,
    Key,
    Row,
    data_files,
    keys_of,
    landed,
    may_hold,
    rows_of,
)
from headrace.lake.transaction import CachedTransaction
from headrace.lake.watermark import Watermark, key
from headrace.lake.write import described, write_parquet
from headrace.testing.crashpoints import reach

_BATCH_ROWS = 4_096


@dataclass(slots=True)
class Rerun:
    """What became of failed rows that were run again: those that are good now, by the columns that they have, their
    keys, and their warnings."""

    good: Sequence[pa.Table]
    keys: Collection[Key]
    warnings: int = 0


@dataclass(slots=True)
class Replayed:
    """Rows of the failed table. `landed`: by this try; `before`: by an earlier one, and removed now; `already`: their
    records have landed otherwise, since the flow was rewound; they stay. `result`: of the commit, if there was one."""

    landed: int = 0
    before: int = 0
    already: int = 0
    result: CommitResult | None = None


class Replayer(Committer):
    """Replays failed rows of one flow, in the process that commits its batches."""

    def failed_table(self) -> Table:
        return self._load("_failed")

    def replay(
        self,
        rows: pa.Table,
        run: Callable[[pa.Table], Rerun],
        batch_id: str,
        earlier: Collection[str],
        committed: Callable[[CommitResult, Rerun, int], None],
    ) -> Replayed:
        """Run a page of failed rows and land what is good now, as the batch `batch_id`.

        `earlier`: batches of tries that may not have come to the end, whose rows must be taken out of the failed table
        yet. `committed` hears of a commit, of what it landed, and how many failed rows that was.
        Stale, Transient (repeat it) or Terminal.
        """
        table = self._load("")
        before = self._watermark(table)
        keys = keys_of(rows)
        known = landed(table, self._flow_id, keys)
        begun = {key for key, batch in known.items() if batch in earlier}
        done = Replayed(
            before=sum(key in begun for key in keys),
            already=sum(key in known and key not in begun for key in keys),
        )
        seen, first = set(known), list[bool]()
        for record in keys:
            first.append(record not in seen)
            seen.add(record)
        fresh = rows.filter(pa.array(first, pa.bool_()))
        rerun = run(fresh) if fresh.num_rows else Rerun((), ())
        if rerun.good:
            done.landed = sum(key in rerun.keys for key in keys)
            done.result = self._land(table, before, rerun, done.landed, batch_id)
            reach("replay-after-landing")
            committed(done.result, rerun, done.landed)
        over = begun.union(rerun.keys)
        gone = {row for row in rows_of(rows) if row[:3] in over}
        if gone:
            self._remove(gone)
            reach("replay-after-removal")
        return done

    def _land(
        self, table: Table, before: Watermark, rerun: Rerun, rows: int, batch_id: str
    ) -> CommitResult:
        commit_id, records = str(uuid.uuid4()), len(rerun.keys)
        mark = replace(
            before, landed=before.landed + records, failed=before.failed - rows,
            again=before.again - (rows - records),  # a record that failed more than once lands once
            warnings=before.warnings + rerun.warnings, commit_id=commit_id, rows_commit=commit_id,
            batch_id=batch_id, failed_batch_id="",
        )  # fmt: skip
        written = [write_parquet(table, rows) for rows in rerun.good]
        reach("replay-after-data-file")

        def unchanged(now: Watermark) -> None:
            if now.commit_id != before.commit_id:
                raise Stale(now)

        result = CommitResult(
            commit_id, mark, files=[each.path for each in written],
            bytes=sum(each.bytes for each in written),
        )  # fmt: skip
        result.good_snapshot = self._transact(
            table, [each.file for each in written], mark, unchanged
        )
        return result

    def _remove(self, rows: Collection[Row]) -> None:
        """Take rows out of the failed table; those that are not there are no trouble."""
        reason = ""
        for attempt in range(ATTEMPTS):
            table = self._load("_failed")
            have = self._watermark(table)
            affected = _without(table, self._flow_id, rows)
            if not affected:
                return
            count = sum(file.removed for file in affected)
            commit_id = str(uuid.uuid4())
            mark = replace(
                have, failed=have.failed - count, commit_id=commit_id, rows_commit=commit_id
            )
            added = [file.added for file in affected if file.added is not None]
            try:
                _replace(table, self._flow_id, {f.path for f in affected}, added, mark)
            except (CommitFailedException, ValidationException):
                reason = "another writer was faster"
            except (CommitStateUnknownException, SQLAlchemyError, TimeoutError) as error:
                # looking again tells: what was removed is not found a second time
                reason = f"the outcome is unknown: {type(error).__name__}"
            else:
                return
            self._sleep(0.05 * 2**attempt)
        raise Transient(f"failed rows could not be removed: {reason}")


class _Removal(Replace):
    """As Replace, but rows are gone: readers of changes must not pass the snapshot over."""

    def __init__(
        self, transaction: Transaction, table: Table, removed: Collection[str], summary: dict[str, str]
    ) -> None:  # fmt: skip
        super().__init__(transaction, table, removed)
        self.snapshot_properties = summary

    def _summary(self, snapshot_properties: Any = None) -> Summary:
        return _MergeAppendFiles._summary(self, snapshot_properties or {})


@dataclass(slots=True)
class _Affected:
    """A file that loses rows, and the file of those that stay."""

    path: str
    removed: int
    added: DataFile | None


def _replace(
    table: Table, flow_id: str, removed: set[str], added: list[DataFile], mark: Watermark
) -> None:  # fmt: skip
    # on the loaded object only: the library's own retry would not look at the files again
    table.metadata.properties["commit.retry.num-retries"] = "0"
    name, text = key(flow_id), mark.to_text()
    fence = AssertWatermark(name=name, text=table.metadata.properties.get(name))
    with CachedTransaction(table) as transaction:
        transaction._apply((), (fence,))  # type: ignore[arg-type]
        change = _Removal(transaction, table, removed, {name: text})
        for file in added:
            change.append_data_file(file)
        change.commit()
        transaction.set_properties({name: text})


def _without(table: Table, flow_id: str, rows: Collection[Row]) -> list[_Affected]:
    """The files that hold the rows, each with a new file of the others in it."""
    low, high = min(row[1] for row in rows), max(row[1] for row in rows)
    found = []
    for file in data_files(table):
        if may_hold(table, file, low, high, failed=True):
            gone = _positions(file.file_path, flow_id, rows)
            if gone:
                rest = file.record_count - len(gone)
                added = _rest_of(table, file.file_path, gone, rest) if rest else None
                found.append(_Affected(file.file_path, len(gone), added))
    return found


def _positions(location: str, flow_id: str, rows: Collection[Row]) -> set[int]:
    names = ["flowId", *KEY, BATCH]
    found, at = set[int](), 0
    with pq.ParquetFile(local_path(location)) as file:
        if not set(names) <= set(file.schema_arrow.names):
            return found
        for batch in file.iter_batches(16 * _BATCH_ROWS, columns=names):
            here = pa.Table.from_batches([batch])
            pairs = zip(here["flowId"].to_pylist(), rows_of(here), strict=True)
            found.update(at + n for n, (f, row) in enumerate(pairs) if f == flow_id and row in rows)
            at += here.num_rows
    return found


def _rest_of(table: Table, source: str, gone: set[int], rest: int) -> DataFile:
    """A file as the other is, without some of its rows; written and synced, not yet part of the table."""
    location = f"{table.location()}/data/{uuid.uuid4()}.parquet"
    path, at = local_path(location), 0
    try:
        with (
            pq.ParquetFile(local_path(source), page_checksum_verification=True) as file,
            DurableStream(path, overwrite=False) as stream,
            pq.ParquetWriter(
                pa.PythonFile(stream, "w"), file.schema_arrow, compression="zstd",
                store_schema=False, write_page_checksum=True,
            ) as writer,
        ):  # fmt: skip
            for batch in file.iter_batches(_BATCH_ROWS):
                mask = [at + n not in gone for n in range(batch.num_rows)]
                at += batch.num_rows
                kept = batch.filter(pa.array(mask, pa.bool_()))
                if kept.num_rows:
                    writer.write_batch(kept)
        metadata = pq.read_metadata(path)
        if metadata.num_rows != rest:
            raise Transient(f"{rest} rows should have stayed of {source}, {metadata.num_rows} did")
    except BaseException:
        path.unlink(missing_ok=True)  # no table names it yet
        raise
    return described(table, location, metadata)
