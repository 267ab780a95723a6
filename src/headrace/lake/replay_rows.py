"""The failed rows of a flow that a replay is about: which they are, read a page at a time in the order of their source,
and which of them have landed already.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table import Table

from headrace.disk import local_path
from headrace.lake.replace import manifests

Key = tuple[str, int, str]
"""What tells a record of a flow from all others: partition of the source, offset there, receipt (the records of one
message share an offset)."""

Row = tuple[str, int, str, str]
"""A row of the failed table: the record's key and the row's batch. A record has several when its flow was rewound."""

KEY = ("sourcePartition", "sourceOffset", "receiptId")
BATCH = "acp_sourceBatchId"
HEADER = "header"
"""A column that older files lack: there nothing is known of it."""
SYSTEM = "_acp_system_metadata"
_CHOSEN_BY = ("flowId", BATCH, "code", "path", "ingestTime")
_BATCH_ROWS = 2_000
_OFFSET_COLUMNS = {False: f"{SYSTEM}.sourceOffset", True: "sourceOffset"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Failed rows of a flow: all, or those that fit everything that is given. `receipts`: these, and those of the
    requests that these name; `since` and `until`: when a record was received, in milliseconds since the epoch,
    `until` excluded. Rows at or above `below` (partition → offset) are not meant, nor those of other partitions: their
    batch has not landed as a whole."""

    flow_id: str
    below: Mapping[str, int]
    batch: str | None = None
    code: str | None = None
    path: str | None = None
    receipts: Collection[str] = field(default_factory=frozenset)
    since: int | None = None
    until: int | None = None

    def rows(self, rows: pa.Table) -> pa.Table:
        """Those of the rows that are meant."""
        mask = pc.equal(rows["flowId"], self.flow_id)
        for name, value in (
            (BATCH, self.batch), ("code", self.code), ("path", self.path),
        ):  # fmt: skip
            if value is not None:
                mask = pc.and_(mask, pc.equal(rows[name], value))
        if self.since is not None:
            mask = pc.and_(mask, pc.greater_equal(rows["ingestTime"], self.since))
        if self.until is not None:
            mask = pc.and_(mask, pc.less(rows["ingestTime"], self.until))
        if self.receipts:
            wanted = pa.array(sorted(self.receipts), pa.string())
            request = pc.replace_substring_regex(rows["receiptId"], r"-\d+$", "")
            named = pc.or_(
                pc.is_in(rows["receiptId"], value_set=wanted), pc.is_in(request, value_set=wanted)
            )
            mask = pc.and_(mask, named)
        settled: Any = pa.array([False] * rows.num_rows)
        for partition, offset in self.below.items():
            here = pc.and_(
                pc.equal(rows["sourcePartition"], partition), pc.less(rows["sourceOffset"], offset)
            )
            settled = pc.or_(settled, pc.fill_null(here, False))
        return rows.filter(pc.fill_null(pc.and_(mask, settled), False))


def count(table: Table, selection: Selection) -> int:
    """How many failed rows are meant."""
    return sum(rows.num_rows for rows in _chosen(table, selection))


def page(
    table: Table, selection: Selection, after: Key | None, most_rows: int, most_bytes: int
) -> pa.Table | None:
    """The next failed rows by key, with all their columns; None when there are none. At least one row, however
    large; beyond that at most `most_bytes` of originals and headers. Keeps no more in memory than twice that."""
    keys = _next_keys(table, selection, after, most_rows)
    while keys.num_rows:
        rows = _whole(table, selection, keys, most_bytes if keys.num_rows > 1 else None)
        if rows is not None:
            return rows
        keys = keys.slice(0, keys.num_rows // 2)
    return None


def newest_rows(
    table: Table, selection: Selection, most_rows: int, most_bytes: int
) -> pa.Table | None:
    """The rows that were received last, by key; fewer when their originals are large. None when there are none."""
    order = [("ingestTime", "descending"), *((name, "descending") for name in KEY)]
    keys: pa.Table | None = None
    for rows in _chosen(table, selection):
        here = rows.select((*KEY, "ingestTime"))
        keys = here if keys is None else pa.concat_tables([keys, here])
        keys = keys.sort_by(order).slice(0, most_rows).combine_chunks()
    while keys is not None and keys.num_rows:
        found = _whole(table, selection, keys, most_bytes)
        if found is not None:
            return found
        keys = keys.slice(0, keys.num_rows // 2)
    return None


def keys_of(rows: pa.Table) -> list[Key]:
    """The keys of rows, in their order."""
    return list(zip(*(rows[name].to_pylist() for name in KEY), strict=True))


def rows_of(rows: pa.Table) -> list[Row]:
    """The identities of rows of the failed table, in their order."""
    return list(zip(*(rows[name].to_pylist() for name in (*KEY, BATCH)), strict=True))


def data_files(table: Table) -> Iterator[DataFile]:
    """The data files of the current snapshot."""
    for manifest in manifests(table.current_snapshot(), table):
        if manifest.content == ManifestContent.DATA:
            for entry in manifest.fetch_manifest_entry(table.io):
                yield entry.data_file


def may_hold(table: Table, file: DataFile, low: int, high: int, *, failed: bool) -> bool:
    """Whether a file can hold a source offset of the range, by its statistics."""
    id = table.schema().find_field(_OFFSET_COLUMNS[failed]).field_id
    first, last = (bounds.get(id) for bounds in (file.lower_bounds or {}, file.upper_bounds or {}))
    if first is None or last is None:
        return True
    return (
        int.from_bytes(first, "little", signed=True) <= high
        and int.from_bytes(last, "little", signed=True) >= low
    )


def landed(table: Table, flow_id: str, keys: Collection[Key]) -> dict[Key, str]:
    """Those of the flow's keys that have a row in the good table, with its batch."""
    found: dict[Key, str] = {}
    if not keys:
        return found
    wanted = set(keys)
    low, high = min(key[1] for key in wanted), max(key[1] for key in wanted)
    names = [f"{SYSTEM}.{name}" for name in ("flowId", *KEY, BATCH)]
    for described in data_files(table):
        if not may_hold(table, described, low, high, failed=False):
            continue
        with pq.ParquetFile(local_path(described.file_path)) as file:
            leaves = {file.schema.column(n).path: n for n in range(file.metadata.num_columns)}
            if not leaves.keys() >= set(names):
                continue  # another writer's rows come from no source
            for group in range(file.num_row_groups):
                known = file.metadata.row_group(group).column(leaves[names[2]]).statistics
                bounded = known is not None and known.has_min_max
                if bounded and (known.min > high or known.max < low):
                    continue
                rows = file.read_row_group(group, names)[SYSTEM].combine_chunks()
                offsets = pc.struct_field(rows, "sourceOffset")
                mask = pc.and_(
                    pc.equal(pc.struct_field(rows, "flowId"), flow_id),
                    pc.and_(pc.greater_equal(offsets, low), pc.less_equal(offsets, high)),
                )
                rows = rows.filter(pc.fill_null(mask, False))
                columns = [pc.struct_field(rows, name).to_pylist() for name in (*KEY, BATCH)]
                for *place, batch in zip(*columns, strict=True):
                    if (key := tuple(place)) in wanted:
                        found[key] = batch
    return found


def _chosen(table: Table, selection: Selection) -> Iterator[pa.Table]:
    """Keys, and what they were chosen by, of the rows that are meant."""
    names = list(dict.fromkeys((*KEY, *_CHOSEN_BY)))
    for described in data_files(table):
        with pq.ParquetFile(local_path(described.file_path)) as file:
            if set(names) <= set(file.schema_arrow.names):
                for batch in file.iter_batches(32 * _BATCH_ROWS, columns=names):
                    yield selection.rows(pa.Table.from_batches([batch]))


def _next_keys(table: Table, selection: Selection, after: Key | None, most: int) -> pa.Table:
    order = [(name, "ascending") for name in KEY]
    best: pa.Table | None = None
    for rows in _chosen(table, selection):
        rows = rows.select(KEY)
        if after is not None:
            rows = rows.filter(_behind(rows, after))
        best = rows if best is None else pa.concat_tables([best, rows])
        if best.num_rows > 4 * most:
            best = best.sort_by(order).slice(0, most).combine_chunks()
    if best is None:
        return pa.table({name: [] for name in KEY})
    return best.sort_by(order).slice(0, most)


def _behind(rows: pa.Table, after: Key) -> Any:
    partition, offset, receipt = (rows[name] for name in KEY)
    deeper = pc.or_(
        pc.greater(offset, after[1]),
        pc.and_(pc.equal(offset, after[1]), pc.greater(receipt, after[2])),
    )
    same = pc.and_(pc.equal(partition, after[0]), deeper)
    return pc.fill_null(pc.or_(pc.greater(partition, after[0]), same), False)


def _whole(
    table: Table, selection: Selection, keys: pa.Table, most_bytes: int | None
) -> pa.Table | None:
    """All columns of the rows with these keys; None when their originals are too large together."""
    wanted, offsets = set(keys_of(keys)), keys["sourceOffset"]
    low, high = pc.min(offsets).as_py(), pc.max(offsets).as_py()
    found, size = list[pa.Table](), 0
    for described in data_files(table):
        if not may_hold(table, described, low, high, failed=True):
            continue
        with pq.ParquetFile(local_path(described.file_path)) as file:
            if "original" not in file.schema_arrow.names:
                continue
            for batch in file.iter_batches(_BATCH_ROWS):
                rows = selection.rows(pa.Table.from_batches([batch]))
                mask = [key in wanted for key in keys_of(rows)]
                rows = _with_header(rows.filter(pa.array(mask, pa.bool_())))
                for name in ("original", HEADER):
                    size += pc.sum(pc.binary_length(rows[name])).as_py() or 0
                if most_bytes is not None and size > most_bytes:
                    return None
                found.append(rows.combine_chunks())
    whole = pa.concat_tables(found, promote_options="default")
    return whole.sort_by([(name, "ascending") for name in KEY])


def _with_header(rows: pa.Table) -> pa.Table:
    if HEADER in rows.column_names:
        return rows
    return rows.append_column(HEADER, pa.nulls(rows.num_rows, pa.string()))
