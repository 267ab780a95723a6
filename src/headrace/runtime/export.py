"""Landed rows as files that need no lake: newline-delimited JSON and Parquet."""

import contextlib
import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.mapping.apply import CompiledMapping
from headrace.runtime.batch import Batch
from headrace.runtime.pipeline import Pipeline
from headrace.xdm.arrow import arrow_type
from headrace.xdm.fields import Field

ROW_GROUP = 100_000
"""Rows at which a row group is written."""
ROW_GROUP_BYTES = 64 * 1024 * 1024
"""Bytes in Arrow's form at which a row group is written before it has its rows."""

Render = Callable[[Any], Any]
_encode_lines = msgspec.json.Encoder().encode_lines


class JsonLines:
    """Rows as XDM JSON, one a line. A null and an absent field are one: objects are written without nulls."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._row = _rendered(pipeline.tree)
        self._columns = [
            (column.path[:-1], column.path[-1], _rendered(column.template.field))
            for column in pipeline.columns
        ]

    def encode(self, batch: Batch) -> bytes:
        """The good rows in their order; ValueError for text that has no form in UTF-8."""
        if batch.values:
            return _encode_lines(self._nested(batch))
        row = self._row
        return _encode_lines([row(r) for r in batch.rows] if row else batch.rows)

    def _nested(self, batch: Batch) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{} for _ in batch.offsets]
        for (path, name, render), cells in zip(self._columns, batch.values, strict=True):
            for row, value in zip(rows, cells, strict=True):
                if value is None:
                    continue
                for step in path:
                    row = row.setdefault(step, {})
                row[name] = value if render is None else render(value)
        return rows


def _rendered(field: Field) -> Render | None:
    """How a canonical value becomes JSON; None where it is JSON as it is."""
    if field.kind == "date-time":
        return date_time_text
    if field.kind == "array" and field.items is not None:
        return _each(_rendered(field.items))
    if field.kind == "map" and field.values is not None:
        of_value = _rendered(field.values)
        if of_value is None:
            return None
        return lambda pairs: {k: v if v is None else of_value(v) for k, v in pairs.items()}
    if field.kind != "object":
        return None
    if not field.properties:
        return _open
    children = {name: _rendered(child) for name, child in field.properties.items()}
    special = {name: render for name, render in children.items() if render is not None}

    def object_(value: dict[str, Any]) -> dict[str, Any]:
        return {k: special[k](v) if k in special else v for k, v in value.items() if v is not None}

    return object_


def _each(render: Render | None) -> Render | None:
    if render is None:
        return None
    return lambda values: [v if v is None else render(v) for v in values]


def _open(value: Any) -> Any:
    """A value without a declared structure; expressions may have put dates into it."""
    if isinstance(value, dict):
        return {key: _open(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_open(child) for child in value]
    return date_time_text(value) if isinstance(value, datetime) else value


def date_time_text(value: datetime | str) -> str:
    """`2024-01-31T12:00:00Z` in UTC, with as many of 3 or 6 decimals as the value needs."""
    if isinstance(value, str):  # the pipeline keeps the form with milliseconds as text
        return f"{value[:19]}Z" if value.endswith(".000Z") else value
    utc = value.astimezone(UTC).replace(tzinfo=None)
    if not utc.microsecond:
        return f"{utc.isoformat()}Z"
    return f"{utc.isoformat(timespec='microseconds').removesuffix('000')}Z"


class ParquetFile:
    """Rows in one Parquet file whose columns are those a mapping fills, or the whole schema without one.

    The file appears under its name when `finish` is called; `discard` leaves nothing behind. OSError when the
    file cannot be written, and for a path that is something else than a file.
    """

    def __init__(self, path: Path, pipeline: Pipeline) -> None:
        if path.exists() and not path.is_file():  # a device must not be replaced by a file
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        self._path, self._partial = path, path.with_name(f"{path.name}.partial")
        tree = written_tree(pipeline.tree, pipeline.mapping)
        self._schema = pa.schema(
            [(name, arrow_type(child)) for name, child in tree.properties.items()]
        )
        self._waiting: list[pa.Table] = []
        self._file = self._partial.open("wb")
        self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd")

    def table(self, batch: Batch) -> pa.Table:
        """The good rows under the file's schema."""
        arrays = batch.pipeline.assemble(batch)
        count = len(batch.offsets)
        columns = [
            arrays[f.name].cast(f.type) if f.name in arrays else pa.nulls(count, f.type)
            for f in self._schema
        ]
        return pa.table(columns, schema=self._schema)

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        rows = sum(part.num_rows for part in self._waiting)
        if rows >= ROW_GROUP or sum(part.nbytes for part in self._waiting) >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=ROW_GROUP)
            self._waiting.clear()

    def finish(self) -> None:
        self._flush()
        self._writer.close()
        self._file.close()
        self._partial.replace(self._path)

    def discard(self) -> None:
        self._partial.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a full disk has been complained of already
            self._writer.close()
            self._file.close()


def written_tree(tree: Field, mapping: CompiledMapping | None) -> Field:
    """The part of a schema that a mapping can fill."""
    if mapping is None:
        return tree
    return _pruned(tree, [rule.destination.steps for rule in mapping.rules])


def _pruned(field: Field, destinations: Sequence[tuple[str | int, ...]]) -> Field:
    if not all(destinations):
        return field  # one destination is the field itself, with all that is in it
    below = [steps[1:] for steps in destinations]
    if field.kind == "array" and field.items is not None:
        return replace(field, items=_pruned(field.items, below))
    if field.kind == "map" and field.values is not None:
        return replace(field, values=_pruned(field.values, below))
    kept = {
        name: _pruned(child, [steps[1:] for steps in destinations if steps[0] == name])
        for name, child in field.properties.items()
        if any(steps[0] == name for steps in destinations)
    }
    return replace(field, properties=kept)
