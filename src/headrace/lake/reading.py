"""Looking into landed tables: rows as JSON, and which fields hold data at all."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.table import Table

from headrace.disk import local_path
from headrace.lake.json_values import scalar

ROWS_AT_ONCE = 2_000


def preview(table: Table, limit: int) -> list[dict[str, Any]]:
    """The first rows of a table as JSON values; nulls are left out."""
    return json_rows(table.scan(limit=limit).to_arrow())


def json_rows(rows: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as JSON values: times as ISO text in UTC, maps as objects, bytes as text or else base64."""
    maps = {field.name: field.type for field in rows.schema}
    return [
        {name: _json(value, maps[name]) for name, value in row.items() if value is not None}
        for row in rows.to_pylist()
    ]


def file_rows(location: str) -> Iterator[list[dict[str, Any]]]:
    """The rows of one data file, a bounded number at a time."""
    with pq.ParquetFile(local_path(location)) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            yield json_rows(batch)


def observed(table: Table) -> set[tuple[str, ...]]:
    """Paths of columns that hold at least one value, by the statistics of the table's data files.

    Array elements have the step `element`, map values the step `value`, as in the table's schema.
    """
    filled: set[int] = set()
    for task in table.scan().plan_files():
        nulls = task.file.null_value_counts or {}
        for id, count in (task.file.value_counts or {}).items():
            if count > nulls.get(id, 0):
                filled.add(id)
    schema = table.schema()
    found: set[tuple[str, ...]] = set()
    for id in filled:
        name = schema.find_column_name(id)
        if name is not None:
            found.add(tuple(name.split(".")))
    return found


def _json(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_struct(kind):
        pairs = ((field.name, field.type) for field in kind)
        return {n: _json(value[n], t) for n, t in pairs if value.get(n) is not None}
    if pa.types.is_map(kind):
        return {str(key): _json(item, kind.item_type) for key, item in value}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_json(item, kind.value_type) for item in value]
    return scalar(value)
