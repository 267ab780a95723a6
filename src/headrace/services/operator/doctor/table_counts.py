"""What the tables say: the watermarks of flows, and how many rows of each are there."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.table import Table

from headrace.disk import local_path
from headrace.lake.replace import live_files
from headrace.lake.replay_rows import BATCH, KEY, Key
from headrace.lake.rewind import standing
from headrace.lake.trace import Wanted
from headrace.lake.watermark import PREFIX, Watermark
from headrace.log.frames import LOG_PARTITION
from headrace.services.operator.doctor.accounts import ROLLED_BACK, Books
from headrace.services.operator.doctor.checks import Fault
from headrace.services.operator.inspection import CATALOG, TableEntry, tables

Pair = tuple[str, str]
_AT_ONCE = 65_536
"""Rows that are looked at together."""


@dataclass(slots=True)
class Counted:
    """The watermarks by (flow, data set); the data sets that have a table, and of those that could not be read why."""

    marks: dict[Pair, Watermark] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)


def count_tables(data_dir: Path, books: Books) -> Counted:
    """Read every watermark and count the rows of all flows, each data set's failed ones last."""
    counted = Counted()
    good: dict[str, Table] = {}
    strays: Counter[Pair] = Counter()
    for entry in tables(data_dir / CATALOG):
        counted.listed.add(entry.dataset_id)
        try:
            table = entry.load()
            _note_marks(entry, table, books, counted)
        except Exception as error:  # whatever damaged bytes make a library raise
            text = f"{entry.sandbox}.{entry.name}: {error}"[:400]
            if entry.failed:
                _uncounted(entry, books, counted, text)
            else:
                counted.unreadable[entry.dataset_id] = text
            continue
        try:
            rows = count_rows(table, failed=entry.failed, below=_offsets(counted, entry))
            if entry.failed and entry.dataset_id in good:
                _note_leaving(entry, good[entry.dataset_id], table, books, counted)
        except Exception as error:  # as above
            _uncounted(entry, books, counted, f"{entry.sandbox}.{entry.name}: {error}"[:400])
            continue
        if not entry.failed:
            good[entry.dataset_id] = table
        _note_rows(entry, rows, books, counted, strays)
    for (flow_id, dataset_id), count in sorted(strays.items()):
        if dataset_id not in counted.unreadable:
            text = f"{count} rows of flow {flow_id} in data set {dataset_id}, which has no watermark of it"
            books.strays.append(Fault("unknown_rows", text))
    return counted


def _flows(entry: TableEntry, counted: Counted) -> list[str]:
    return [flow for flow, dataset in counted.marks if dataset == entry.dataset_id]


def _offsets(counted: Counted, entry: TableEntry) -> dict[str, Mapping[str, int]]:
    return {flow: counted.marks[flow, entry.dataset_id].offsets for flow in _flows(entry, counted)}


def _uncounted(entry: TableEntry, books: Books, counted: Counted, reason: str) -> None:
    for flow_id in _flows(entry, counted):
        fault = Fault("rows_uncounted", f"rows cannot be counted: {reason}")
        books.of(flow_id).uncounted.append(fault)


def _note_marks(entry: TableEntry, table: Table, books: Books, counted: Counted) -> None:
    for name in table.metadata.properties:
        if not name.startswith(PREFIX):
            continue
        flow_id = name.removeprefix(PREFIX)
        there = standing(table, flow_id)
        mark, account = there.stored, books.of(flow_id)
        if not there.agrees:
            has, said = (
                (there.truth.failed, mark.failed)
                if entry.failed
                else (there.truth.landed, mark.landed)
            )
            text = f"the table {entry.sandbox}.{entry.name} was rolled back: its rows end at {has}, its watermark at {said}"
            account.broken.append(Fault(ROLLED_BACK, text))
        if entry.failed:
            account.failed_gone += mark.gone
            continue
        counted.marks[flow_id, entry.dataset_id] = mark
        account.landed += mark.landed
        account.failed += mark.failed
        account.again += mark.again
        account.lost += mark.lost
        account.gone += mark.gone
        account.sequence = max(account.sequence, mark.sequence)
        account.position = max(account.position, mark.offsets.get(LOG_PARTITION, 0))
        account.offsets |= mark.offsets


def _note_rows(
    entry: TableEntry, rows: "Rows", books: Books, counted: Counted, strays: Counter[Pair]
) -> None:
    books.foreign += rows.foreign
    for flow_id, count in rows.counts.items():
        if (flow_id, entry.dataset_id) not in counted.marks:
            strays[flow_id, entry.dataset_id] += count
        elif entry.failed:
            books.of(flow_id).failed_rows += count
        else:
            books.of(flow_id).rows += count
    for (flow_id, partition), last in sorted(rows.reach.items()):
        mark = counted.marks.get((flow_id, entry.dataset_id))
        # a flow that an operator moved back stands before rows that it has
        if mark is not None and mark.epoch == 0 and last >= mark.offsets.get(partition, 0):
            text = (
                f"rows of partition {partition} reach offset {last}, the watermark stands at"
                f" {mark.offsets.get(partition, 0)}: what is between would land again"
            )
            books.of(flow_id).ahead.append(Fault("rows_ahead", text))


@dataclass(slots=True)
class Rows:
    """Rows of a table by flow, and how many others appended. `reach`: the greatest offset by (flow, partition)."""

    counts: Counter[str] = field(default_factory=Counter)
    reach: dict[tuple[str, str], int] = field(default_factory=dict)
    foreign: int = 0


def count_rows(table: Table, *, failed: bool, below: Mapping[str, Mapping[str, int]]) -> Rows:
    """Count a table's rows.

    `below`: flow → partition → offset. Failed rows at or behind it belong to a batch that is being committed and
    are left out. ValueError when rows are deleted by delete files, which are not read here.
    """
    found = Rows()
    for columns in _columns(table, ("flowId", "sourcePartition", "sourceOffset"), failed=failed):
        if isinstance(columns, int):
            found.foreign += columns
        elif failed:
            kinds = Counter(zip(*(column.to_pylist() for column in columns), strict=True))
            for (flow, partition, offset), count in kinds.items():
                limit = below.get(flow, {}).get(partition)
                if flow not in below or (limit is not None and offset < limit):
                    found.counts[flow] += count
        else:
            _count_good(columns, found)
    return found


def _count_good(columns: list[Any], found: Rows) -> None:
    rows = pa.table(dict(zip(("flow", "partition", "offset"), columns, strict=True)))
    groups = rows.group_by(["flow", "partition"]).aggregate([("offset", "max"), ([], "count_all")])
    for group in groups.to_pylist():
        flow, partition, last = group["flow"], group["partition"], group["offset_max"]
        if flow is None:
            found.foreign += group["count_all"]
            continue
        found.counts[flow] += group["count_all"]
        if last is not None:
            found.reach[flow, partition] = max(last, found.reach.get((flow, partition), last))


def _columns(
    table: Table, names: Collection[str], *, failed: bool, files: Collection[str] | None = None
) -> "Iterator[list[Any] | int]":
    """Columns of what the table knows of its rows' sources, some rows at a time; of a file without them only how many
    rows it has.

    Footers' statistics are left alone: damaged ones make the library end the process.
    """
    parent = "" if failed else "_acp_system_metadata"
    paths = [f"{parent}.{name}" if parent else name for name in names]
    for data_file in live_files(table):
        if files is not None and data_file.file_path not in files:
            continue
        with pq.ParquetFile(local_path(data_file.file_path)) as file:
            schema = file.metadata.schema
            known = {schema.column(n).path for n in range(file.metadata.num_columns)}
            if not known >= set(paths):
                yield file.metadata.num_rows
                continue
            for batch in file.iter_batches(_AT_ONCE, columns=paths):
                source = batch.column(parent) if parent else None
                yield [
                    batch.column(name) if source is None else pc.struct_field(source, name)
                    for name in names
                ]


# -- rows that a replay has landed and not taken out of the failed table ------------------------------------


def _note_leaving(
    entry: TableEntry, good: Table, failed: Table, books: Books, counted: Counted
) -> None:
    for flow_id in _flows(entry, counted):
        batches = books.begun(flow_id)
        keys = _landed_by(good, flow_id, batches) if batches else set()
        if keys:
            below = counted.marks[flow_id, entry.dataset_id].offsets
            books.of(flow_id).leaving += _rows_of(failed, flow_id, keys, below)


def _landed_by(table: Table, flow_id: str, batches: Collection[str]) -> set[Key]:
    """The keys of the flow's rows that came with some batches, which are few: a page of a replay each."""
    found: set[Key] = set()
    files = {file.file_path for file in _holding(table, batches)}
    for columns in _columns(table, ("flowId", BATCH, *KEY), failed=False, files=files):
        if not isinstance(columns, int):
            rows = zip(*(column.to_pylist() for column in columns), strict=True)
            found.update(
                tuple(key) for flow, batch, *key in rows if flow == flow_id and batch in batches
            )
    return found


def _holding(table: Table, batches: Collection[str]) -> Iterator[Any]:
    """The files that may hold rows of the batches, by the bounds that manifests give."""
    id = table.schema().find_field("_acp_system_metadata.acp_sourceBatchId").field_id
    for file in live_files(table):
        low, high = ((bounds or {}).get(id) for bounds in (file.lower_bounds, file.upper_bounds))
        if low is None or high is None or any(Wanted(b).fits(low, high) for b in batches):
            yield file


def _rows_of(table: Table, flow_id: str, keys: Collection[Key], below: Mapping[str, int]) -> int:
    """How many failed rows have one of the keys."""
    count = 0
    for columns in _columns(table, ("flowId", *KEY), failed=True):
        if not isinstance(columns, int):
            for flow, *key in zip(*(column.to_pylist() for column in columns), strict=True):
                settled = key[1] < below.get(key[0], 0)
                count += flow == flow_id and settled and tuple(key) in keys
    return count
