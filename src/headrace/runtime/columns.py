"""Arrow columns from Python values, built along the field tree and only for fields that occur.

XDM schemas have hundreds of leaves and a record fills few of them: cost follows the data, not the schema. Types
are never inferred.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from headrace.mapping.coerce import to_date_time
from headrace.runtime.shapes import Column
from headrace.xdm.arrow import arrow_type
from headrace.xdm.fields import Field

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_json_text = msgspec.json.Encoder().encode


def build(field: Field, values: Sequence[Any]) -> pa.Array:
    """One column of canonical values (None is null)."""
    if field.kind == "object":
        return _objects(field, values)
    if field.kind == "array" and field.items is not None:
        flat: list[Any] = []
        offsets = _offsets(values, flat)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), build(field.items, flat))
    if field.kind == "map" and field.values is not None:
        pairs: list[Any] = []
        offsets = _offsets([None if v is None else list(v.items()) for v in values], pairs)
        keys = pa.array([key for key, _ in pairs], pa.string())
        items = build(field.values, [item for _, item in pairs])
        return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, items)
    if field.kind == "date-time":
        return _timestamps(values)
    return pa.array(values, arrow_type(field))


def instant(value: Any) -> datetime | str:
    """A date-time on its way to a column: text in the form `2024-01-31T12:00:00.000Z` stays text, once it is
    known to be valid, for Arrow to convert by the column; CoercionError for what is no date-time."""
    if type(value) is str and len(value) == 24 and value[10] == "T" and value[19] == ".":
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return to_date_time(value)
        if value[4] == "-" and value[7] == "-" and value[23] == "Z":
            return value
    return to_date_time(value)


def _timestamps(values: Sequence[datetime | str | None]) -> pa.Array:
    kinds = set(map(type, values))
    if str in kinds:
        if kinds <= {str, NoneType}:
            try:
                return pa.array(values, pa.string()).cast(pa.timestamp("us", "UTC"))
            except pa.ArrowInvalid:
                pass  # valid for Python, not for Arrow: one by one
        values = [to_date_time(v) if isinstance(v, str) else v for v in values]
    # Arrow converts aware datetimes one attribute look-up at a time, 50 times slower than integers
    ticks = [None if v is None else _ticks(v) for v in values]  # type: ignore[arg-type]
    return pa.array(ticks, pa.int64()).cast(pa.timestamp("us", "UTC"))


def _ticks(moment: datetime) -> int:
    """Microseconds since the epoch, exact for every year."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _offsets(values: Sequence[Any], flat: list[Any]) -> list[int | None]:
    """Start of each list in `flat` (filled here) and the end of the last; None where the value is null."""
    offsets: list[int | None] = []
    for value in values:
        if value is None:
            offsets.append(None)
        else:
            offsets.append(len(flat))
            flat += value
    offsets.append(len(flat))
    return offsets


def _objects(field: Field, values: Sequence[Any]) -> pa.Array:
    if not field.properties:
        texts = [None if v is None else _json_text(v).decode() for v in values]
        return pa.array(texts, pa.string())
    present: set[str] = set()
    for value in values:
        if value:
            present |= value.keys()
    names = [name for name in field.properties if name in present]
    if not names:  # Arrow and Parquet need a child even where every object is empty
        names = [next(iter(field.properties))]
    children = [
        build(field.properties[name], [None if v is None else v.get(name) for v in values])
        for name in names
    ]
    absent = pa.array([value is None for value in values], pa.bool_())
    return pa.StructArray.from_arrays(children, names, mask=absent)


def table(tree: Field, rows: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    """Top-level columns of finished records, in the schema's order, without those that never occur."""
    present: set[str] = set()
    for row in rows:
        present |= row.keys()
    return {
        name: build(child, [row.get(name) for row in rows])
        for name, child in tree.properties.items()
        if name in present
    }


def nest(
    tree: Field, columns: Sequence[Column], values: Sequence[Sequence[Any]]
) -> dict[str, pa.Array]:
    """Top-level columns from one list of values a column: structs are built from their leaves upwards."""
    built = {
        column.path: build(column.template.field, cells)
        for column, cells in zip(columns, values, strict=True)
    }
    return {
        name: _nested(child, (name,), built)
        for name, child in tree.properties.items()
        if any(path[0] == name for path in built)
    }


def _nested(
    field: Field, path: tuple[str, ...], built: Mapping[tuple[str, ...], pa.Array]
) -> pa.Array:
    if path in built:
        return built[path]
    depth = len(path)
    names = [n for n in field.properties if any(p[: depth + 1] == (*path, n) for p in built)]
    children = [_nested(field.properties[n], (*path, n), built) for n in names]
    absent = children[0].is_null()
    for child in children[1:]:
        absent = pc.and_(absent, child.is_null())
    return pa.StructArray.from_arrays(children, names, mask=absent)
