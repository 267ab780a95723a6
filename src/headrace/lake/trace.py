"""From a receipt to the rows that carry it.

A table is searched newest file first. Statistics decide which files and row groups are opened: those of manifests
before a file is, those of its footer before a row group is. Of what is opened one column is read, the others only
where it has a hit.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntry
from pyiceberg.table import Table

from headrace.disk import local_path
from headrace.errors import Transient
from headrace.lake.watermark import Watermark, key

SYSTEM = "_acp_system_metadata"
RECEIPT, OFFSET, RECEIVED = "receiptId", "sourceOffset", "ingestTime"
PLACE = ("flowId", "sourcePartition", OFFSET, RECEIPT, RECEIVED, "acp_sourceBatchId")
REASON = ("flowRevision", "stage", "code", "path", "message")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for. `whole`: rows whose receipt is this one and a number too, as the records of one request
    have them. `received` (milliseconds since the epoch) and `offsets` (first, last) only spare work."""

    receipt: str
    whole: bool = False
    received: int | None = None
    offsets: tuple[int, int] | None = None

    def fits(self, low: bytes, high: bytes) -> bool:
        """Whether receipts between two bounds, cut short or not, may be it."""
        text = self.receipt.encode()
        return text[: len(low)] >= low[: len(text)] and text[: len(high)] <= high[: len(text)]


@dataclass(frozen=True, slots=True)
class Row:
    """A row's place and, in a table of failed records, its reason. `snapshot` brought the file that has it now."""

    values: dict[str, Any]
    failed: bool
    snapshot: int | None


class Unfinished(Transient):
    """The time was over before every file had been looked at."""


def watermark_of(table: Table, flow_id: str) -> Watermark | None:
    """A flow's watermark by the table's property, None when it never landed there."""
    text = table.metadata.properties.get(key(flow_id))
    return Watermark.from_text(text) if text else None


def rows_of(
    table: Table, wanted: Wanted, *, failed: bool, until: float, most: int = 10_000
) -> list[Row]:
    """The rows of a receipt, at most `most`; ends at the first hit unless it may have more.

    `until`: reading of the monotonic clock at which Unfinished is raised. Transient when a file has just been
    replaced by another.
    """
    found: list[Row] = []
    for entry in _entries(table):
        if time.monotonic() > until:
            raise Unfinished("the search took too long")
        if not _may_hold(table, entry.data_file, wanted, failed=failed):
            continue
        try:
            rows = _hits(entry, wanted, failed=failed)
        except FileNotFoundError:
            raise Transient("a file of the table is gone: it was replaced or lost") from None
        found += rows
        if len(found) >= most or (found and not wanted.whole):
            break
        if rows and wanted.received is None:
            # the records of a request arrived in one moment: that rules out nearly all other files
            wanted = replace(wanted, received=rows[0].values[RECEIVED])
    return found[:most]


def _entries(table: Table) -> Iterator[ManifestEntry]:
    """Data files of the current snapshot, the newest first as far as manifests tell."""
    snapshot = table.current_snapshot()
    manifests = snapshot.manifests(table.io) if snapshot else []
    for manifest in sorted(manifests, key=lambda m: m.sequence_number or 0, reverse=True):
        if manifest.content == ManifestContent.DATA:
            entries = manifest.fetch_manifest_entry(table.io)
            yield from sorted(entries, key=lambda e: e.sequence_number or 0, reverse=True)


def _may_hold(table: Table, file: DataFile, wanted: Wanted, *, failed: bool) -> bool:
    prefix = "" if failed else f"{SYSTEM}."
    lower, upper = file.lower_bounds or {}, file.upper_bounds or {}

    def bounds(name: str) -> tuple[bytes, bytes] | None:
        id = table.schema().find_field(prefix + name).field_id
        return (lower[id], upper[id]) if id in lower and id in upper else None

    def between(name: str, low: int, high: int) -> bool:
        known = bounds(name)
        if known is None:
            return True
        first, last = (int.from_bytes(b, "little", signed=True) for b in known)
        return first <= high and low <= last

    known = bounds(RECEIPT)
    if known is not None and not wanted.fits(*known):
        return False
    if wanted.received is not None and not between(RECEIVED, wanted.received, wanted.received):
        return False
    return wanted.offsets is None or between(OFFSET, *wanted.offsets)


def _hits(entry: ManifestEntry, wanted: Wanted, *, failed: bool) -> list[Row]:
    prefix = "" if failed else f"{SYSTEM}."
    found: list[Row] = []
    with pq.ParquetFile(local_path(entry.data_file.file_path)) as file:
        leaves = {file.metadata.schema.column(n).path: n for n in range(file.metadata.num_columns)}
        if prefix + RECEIPT not in leaves:
            return []  # appended by somebody else
        names = [n for n in (*PLACE, *(REASON if failed else ())) if prefix + n in leaves]
        for group in range(file.num_row_groups):
            column = file.metadata.row_group(group).column(leaves[prefix + RECEIPT])
            known = column.statistics
            if known is not None and known.has_min_max:
                low, high = (
                    b if isinstance(b, bytes) else b.encode() for b in (known.min, known.max)
                )
                if not wanted.fits(low, high):
                    continue
            mask = _matches(
                _column(file.read_row_group(group, [prefix + RECEIPT]), RECEIPT, failed), wanted
            )
            if not pc.any(mask).as_py():
                continue
            read = file.read_row_group(group, [prefix + n for n in names]).filter(mask)
            columns = {n: _column(read, n, failed).to_pylist() for n in names}
            found += [
                Row(dict(zip(columns, values, strict=True)), failed, entry.snapshot_id)
                for values in zip(*columns.values(), strict=True)
            ]
    return found


def _column(read: pa.Table, name: str, failed: bool) -> pa.ChunkedArray:
    return read[name] if failed else pc.struct_field(read[SYSTEM], name)


def _matches(receipts: pa.ChunkedArray, wanted: Wanted) -> pa.ChunkedArray:
    same = pc.equal(receipts, wanted.receipt)
    if wanted.whole:
        numbered = pc.starts_with(receipts, pattern=f"{wanted.receipt}-")
        rest = pc.utf8_slice_codeunits(receipts, len(wanted.receipt) + 1)
        same = pc.or_(same, pc.and_(numbered, pc.ascii_is_decimal(rest)))
    return pc.fill_null(same, False)
