"""Compaction: many small data files of a table become one, row for row.

The new file is written a row group at a time, with the table's field ids and only the columns that its inputs
have, while others commit. Then one `replace` snapshot takes the inputs out and puts it in, built on the table as it
is by then; when another writer is faster it is built again, and dropped when one of the inputs is gone.
Files are as a committer writes them, rows in the order of their source; inputs follow one another by flow and
first offset, and each row group is sorted, so a partition's rows stay in the order of their offsets.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    ValidationException,
)
from pyiceberg.io.pyarrow import (
    _to_requested_schema,
    pyarrow_to_schema,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, FileFormat
from pyiceberg.schema import Schema, index_by_id, prune_columns
from pyiceberg.table import Table
from sqlalchemy.exc import SQLAlchemyError

from headrace.disk import local_path, sync_directory
from headrace.errors import Terminal
from headrace.lake.files import DurableStream
from headrace.lake.replace import live_files, replace
from headrace.lake.write import described
from headrace.testing.crashpoints import reach

MIB = 1024 * 1024
METADATA = "_acp_system_metadata"
ORDER = ("flowId", "sourcePartition", "sourceOffset")
BATCH_ROWS = 4096
BATCHES_A_STEP = 16
TRIES = 10
FIRST_TIER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """`small`: bytes below which a file is merged. At least `least` and at most `most_files` files of one tier,
    together at most `most_bytes`. A step reads up to `step_rows` rows or `step_bytes` of Arrow data."""

    small: int = 32 * MIB
    least: int = 8
    most_files: int = 128
    most_bytes: int = 256 * MIB
    step_rows: int = 64 * 1024
    step_bytes: int = 32 * MIB


class Progress(Enum):
    RUNNING = "running"
    LANDED = "landed"
    DROPPED = "dropped"


def pick(files: Iterable[DataFile], limits: Limits) -> list[DataFile]:
    """Files to merge next, of one tier; none when no tier is full.

    Tiers are sizes a factor of `least` apart: a row is rewritten once a tier, not whenever a file is added.
    """
    tiers: defaultdict[int, list[DataFile]] = defaultdict(list)
    for file in files:
        if file.file_format == FileFormat.PARQUET and file.file_size_in_bytes < limits.small:
            tiers[_tier(file.file_size_in_bytes, limits.least)].append(file)
    group = max(tiers.values(), key=len, default=[])
    if len(group) < limits.least:
        return []
    picked, total = list[DataFile](), 0
    for file in group[: limits.most_files]:
        total += file.file_size_in_bytes
        if total > limits.most_bytes and len(picked) >= limits.least:
            break
        picked.append(file)
    return picked


def arrange(files: Sequence[DataFile], limits: Limits) -> list[DataFile]:
    """The files in the order of their source; those of one flow alone if they are enough. Reads their footers."""
    flows: defaultdict[str, list[tuple[str, int, str]]] = defaultdict(list)
    by_path = {file.file_path: file for file in files}
    for path in by_path:
        flow, *place = _begin(path)
        flows[flow].append((*place, path))  # type: ignore[arg-type]
    largest = max(flows, key=lambda flow: len(flows[flow]))
    chosen = [largest] if len(flows[largest]) >= limits.least else sorted(flows)
    return [by_path[path] for flow in chosen for _, _, path in sorted(flows[flow])]


def _begin(location: str) -> tuple[str, str, int]:
    """The lowest flow, partition and offset of a file, by its footer."""
    metadata = pq.read_metadata(local_path(location))
    columns = {metadata.schema.column(n).path: n for n in range(metadata.num_columns)}
    found = list[Any]()
    for name, missing in zip(ORDER, ("", "", -1), strict=True):
        column = columns.get(f"{METADATA}.{name}", columns.get(name))
        groups = range(metadata.num_row_groups if column is not None else 0)
        statistics = [metadata.row_group(n).column(column).statistics for n in groups]
        found.append(min((s.min for s in statistics if s and s.has_min_max), default=missing))
    return found[0], found[1], found[2]


def _tier(size: int, factor: int) -> int:
    tier, edge = 0, FIRST_TIER
    while size >= edge:
        tier, edge = tier + 1, edge * factor
    return tier


class Compaction:
    """Merges files of a table that was loaded a moment ago. Call `advance` until it is no longer RUNNING."""

    def __init__(self, table: Table, inputs: Sequence[DataFile], limits: Limits) -> None:
        self._known: dict[bytes, Schema] = {}
        self._schema = self._columns(table.schema(), inputs)
        self._table = table
        self._inputs = inputs
        self._limits = limits
        self._location = f"{table.location()}/data/{uuid.uuid4()}.parquet"
        self._spec = table.metadata.default_spec_id
        self._tries = 0
        self._unknown = False
        self._file: DataFile | None = None
        self._rows = self._groups()

    def advance(self, load: Callable[[], Table]) -> Progress:
        """Read some files, write a row group, or try once to commit. `load` gives the table as it is now.

        After an error (OSError, ArrowException, Terminal when rows would be lost) call `drop`.
        """
        if self._file is None:
            if next(self._rows, None) is not None:
                return Progress.RUNNING
            reach("compaction-after-data-file")
            self._file = self._describe()
            self._table = None  # type: ignore[assignment]  # it is of another time by now
            return Progress.RUNNING
        return self._commit(load, self._file)

    def drop(self) -> None:
        """Give up. The file is removed if no commit has named it; otherwise that is left to orphan removal."""
        self._rows.close()
        path = local_path(self._location)
        if self._tries == 0 and path.exists():
            path.unlink()
            sync_directory(path.parent)

    def _columns(self, schema: Schema, inputs: Sequence[DataFile]) -> Schema:
        """The table's schema with only the columns that at least one of the files has."""
        for input in inputs:
            self._schema_of(pq.read_schema(local_path(input.file_path)))
        ids = set[int]()
        for known in self._known.values():
            # what is selected are leaves: what holds them comes with them
            ids.update(id for id, f in index_by_id(known).items() if f.field_type.is_primitive)
        return prune_columns(schema, ids, select_full_types=False)

    def _schema_of(self, schema: pa.Schema) -> Schema:
        """A file's schema; files that are alike share one, which takes long to make when it is wide."""
        text = schema.remove_metadata().serialize().to_pybytes()
        if text not in self._known:
            self._known[text] = pyarrow_to_schema(schema)
        return self._known[text]

    def _groups(self) -> Generator[int, None, None]:
        target = schema_to_pyarrow(self._schema, include_field_ids=True)
        stream = DurableStream(local_path(self._location), overwrite=False)
        with (
            stream,
            pq.ParquetWriter(
                pa.PythonFile(stream, "w"), target, compression="zstd", store_schema=False,
                write_page_checksum=True,
            ) as writer,
        ):  # fmt: skip
            waiting, rows, size = list[pa.RecordBatch](), 0, 0
            for number, batch in enumerate(self._batches(target), 1):
                waiting.append(batch)
                rows, size = rows + batch.num_rows, size + batch.nbytes
                if rows >= self._limits.step_rows or size >= self._limits.step_bytes:
                    writer.write_table(_sorted(pa.Table.from_batches(waiting)))
                    reach("compaction-after-row-group")
                    yield rows
                    waiting, rows, size = [], 0, 0
                elif number % BATCHES_A_STEP == 0:
                    yield 0
            if waiting:
                writer.write_table(_sorted(pa.Table.from_batches(waiting)))

    def _batches(self, target: pa.Schema) -> Iterator[pa.RecordBatch]:
        for input in self._inputs:
            # a damaged page must not go on as a sound one in the merged file
            path = local_path(input.file_path)
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                have = self._schema_of(file.schema_arrow)
                for batch in file.iter_batches(BATCH_ROWS):
                    wanted = _to_requested_schema(self._schema, have, batch, False)
                    yield pa.RecordBatch.from_arrays(
                        [wanted.column(f.name).cast(f.type) for f in target], schema=target
                    )

    def _describe(self) -> DataFile:
        metadata = pq.read_metadata(local_path(self._location))
        expected = sum(file.record_count for file in self._inputs)
        if metadata.num_rows != expected:
            raise Terminal(f"compaction of {expected} rows gave {metadata.num_rows}")
        return described(self._table, self._location, metadata, self._spec)

    def _commit(self, load: Callable[[], Table], file: DataFile) -> Progress:
        table = load()
        if self._unknown and any(f.file_path == file.file_path for f in live_files(table)):
            return Progress.LANDED
        fits = mergeable(table) and table.metadata.default_spec_id == self._spec
        if not fits or self._tries >= TRIES or not local_path(self._location).exists():
            return Progress.DROPPED
        self._tries += 1
        try:
            replace(table, {input.file_path for input in self._inputs}, [file])
        except ValidationException:
            return Progress.DROPPED
        except CommitFailedException:
            return Progress.RUNNING
        except (CommitStateUnknownException, SQLAlchemyError, TimeoutError):
            self._unknown = True
            return Progress.RUNNING
        return Progress.LANDED


def mergeable(table: Table) -> bool:
    """Whether files may be merged as they are: they belong to no partitions and rows have no lineage to keep."""
    return table.format_version == 2 and table.spec().is_unpartitioned() and len(table.specs()) == 1


def _sorted(rows: pa.Table) -> pa.Table:
    """Rows by flow, partition and offset where the table says where they come from."""
    parent = rows[METADATA] if METADATA in rows.column_names else None
    if parent is not None:
        chunks = parent.combine_chunks()
        names = {f.name for f in parent.type}
        columns = {n: chunks.field(n) for n in ORDER if n in names}
    else:
        columns = {n: rows[n] for n in ORDER if n in rows.column_names}
    if len(columns) < len(ORDER):
        return rows
    keys = pa.table({**columns, "row": pa.array(range(rows.num_rows), pa.int64())})
    order = keys.sort_by([(name, "ascending") for name in keys.column_names])["row"]
    return rows if order.equals(keys["row"]) else rows.take(order)
