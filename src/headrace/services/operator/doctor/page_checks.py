"""Reading data files whole, as `headrace doctor --deep` does: every page is compared with its checksum and unpacked.

The files are read in a process of its own. A footer that is damaged in certain places makes the Parquet library end
the process that reads it; that tells of the file, and the next process goes on with the others.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.services.operator.doctor.checks import Fault
from headrace.services.operator.doctor.table_files import Named

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

AT_ONCE = 4 * 2**20
"""Bytes of values that are unpacked at a time, where a page is not larger."""
_STREAM = 256 * 1024
_MOST_ROWS = 16_384
_COMMAND = [sys.executable, "-m", "headrace.services.operator.doctor.page_checks"]


class PageReader:
    """Reads data files in a process of its own, and counts how much it read. To be closed."""

    def __init__(self) -> None:
        self.files = self.bytes = 0
        self._process: subprocess.Popen[str] | None = None

    def read(self, file: Named) -> list[Fault]:
        """What is wrong with a data file after all of it was read; nothing when it is no Parquet."""
        if not file.parquet:
            return []
        answer = self._ask(file)
        if not answer:
            self.close()
            faults = [Fault("page_damaged", f"{file.path}: its footer is damaged")]
        else:
            faults = [Fault(*each) for each in json.loads(answer)]
        if not any(fault.code == "file_missing" for fault in faults):
            self.files += 1
            self.bytes += file.size
        return faults

    def _ask(self, file: Named) -> str:
        """The process's answer, empty when it ended over the file."""
        if self._process is None:
            # what a library says when it ends the process is of no use to the operator
            self._process = subprocess.Popen(
                _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True,
            )  # fmt: skip
        put, get = self._process.stdin, self._process.stdout
        assert put is not None
        assert get is not None
        with suppress(BrokenPipeError):
            print(json.dumps([str(file.path), file.rows]), file=put, flush=True)
        return get.readline()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(BrokenPipeError):
                process.communicate()


def faults_of(path: Path, rows: int) -> Iterator[Fault]:
    """What is wrong with a data file that should have so many rows, after all of it was read.

    One column of one row group at a time, from a buffered stream: in memory are a page and a batch of its values.
    """
    import pyarrow.parquet as pq

    place = str(path)
    try:
        with pq.ParquetFile(
            path, buffer_size=_STREAM, pre_buffer=False, page_checksum_verification=True
        ) as opened:
            if opened.metadata.num_rows != rows:
                text = f"{path} has {opened.metadata.num_rows} rows, its manifest says {rows}"
                yield Fault("rows_differ", text)
            for group in range(opened.num_row_groups):
                for column in range(opened.metadata.num_columns):
                    described = opened.metadata.row_group(group).column(column)
                    place = f"{path}, row group {group}, column {described.path_in_schema}"
                    wrong = _column(opened, group, described)
                    if wrong:
                        yield Fault("page_damaged", f"{place}: {wrong}")
    except FileNotFoundError:
        yield Fault("file_missing", f"{path} is missing")
    except Exception as error:  # whatever damaged bytes make the library raise
        reason = " ".join(str(error).split())
        yield Fault("page_damaged", f"{place}: {reason}"[:400])


def _column(file: "pq.ParquetFile", group: int, described: Any) -> str | None:
    """What is wrong with a column of a row group; OSError or ArrowException when a page cannot be read."""
    rows = file.metadata.row_group(group).num_rows
    each = described.total_uncompressed_size // max(1, rows)
    batch = max(1, min(_MOST_ROWS, AT_ONCE // max(1, each)))
    known = described.statistics
    seen = nulls = 0
    repeated = False
    for read in file.iter_batches(
        batch, row_groups=[group], columns=[described.path_in_schema], use_threads=False
    ):
        seen += read.num_rows
        values, lists = _leaf(read)
        repeated |= lists
        nulls += values.null_count
        if known is not None and known.has_min_max and _outside(values, known.min, known.max):
            return "values lie outside of what its footer says"
    if seen != rows:
        return f"{seen} rows, its footer says {rows}"
    counted = known is not None and known.has_null_count and not repeated
    if counted and nulls != known.null_count:
        return f"{nulls} empty values, its footer says {known.null_count}"
    return None


def _leaf(read: "pa.RecordBatch") -> "tuple[pa.Array, bool]":
    """The values of the one column that was read, and whether they lie in lists."""
    import pyarrow as pa

    values, lists = read.column(0), False
    while True:
        kind = values.type
        if pa.types.is_struct(kind) and kind.num_fields == 1:
            (values,) = values.flatten()
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            values, lists = values.flatten(), True
        elif pa.types.is_map(kind):
            return values, True
        else:
            return values, lists


def _outside(values: "pa.Array", low: Any, high: Any) -> bool:
    """Whether a value lies outside of two bounds; values of kinds that are not ordered alike everywhere do not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    ordered = (
        pa.types.is_integer, pa.types.is_floating, pa.types.is_string, pa.types.is_boolean,
        pa.types.is_date, pa.types.is_timestamp,
    )  # fmt: skip
    if not any(fits(kind) for fits in ordered):
        return False
    try:
        first, last = pa.scalar(low, kind), pa.scalar(high, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return True
    beyond = pc.or_(pc.less(values, first), pc.greater(values, last))
    return bool(pc.any(beyond, min_count=0).as_py())


def main() -> None:
    """The process that reads: a path and its rows in a line of input, what is wrong with it in a line of output."""
    for line in sys.stdin:
        path, rows = json.loads(line)
        faults = [(each.code, each.detail) for each in faults_of(Path(path), rows)]
        print(json.dumps(faults), flush=True)


if __name__ == "__main__":
    main()
