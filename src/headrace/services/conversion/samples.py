"""Sample data: its records, the schema that they suggest, and the fields of a schema as source paths. Pure."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from headrace.services.conversion.wire import refuse

TYPES = {"JSON": "JSON", "APPLICATION/JSON": "JSON", "CSV": "CSV", "TEXT/CSV": "CSV"}
MAX_DEPTH = 32
"""Levels of nesting of a sample."""


def type_of(given: Any) -> str:
    """JSON or CSV; ApiError 400 for any other sample type."""
    word = TYPES.get(str(given or "JSON").partition(";")[0].strip().upper())
    if word is None:
        raise refuse(f"The sampleType {given!r} is neither JSON nor CSV.")
    return word


def records_of(data: str, sample_type: str) -> list[dict[str, Any]]:
    """The records of a sample, at least one: a JSON object or an array of them, or CSV with a header. ApiError 400."""
    if sample_type == "CSV":
        return _csv(data)
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise refuse(f"The sample is not valid JSON: {error}") from None
    records = value if isinstance(value, list) else [value]
    if not records or not all(isinstance(record, dict) for record in records):
        raise refuse("A JSON sample must be an object or an array of objects.")
    return records


def _csv(data: str) -> list[dict[str, Any]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(data.lstrip("\ufeff")), strict=True) if row]
    except csv.Error as error:
        raise refuse(f"The sample is not valid CSV: {error}") from None
    if not rows or not all(name.strip() for name in rows[0]):
        raise refuse("A CSV sample needs a first line with the name of every column.")
    header = [name.strip() for name in rows[0]]
    found = [
        {name: value or None for name, value in zip(header, row, strict=False)} for row in rows[1:]
    ]
    return found or [dict.fromkeys(header)]


def schema_of(records: Sequence[Mapping[str, Any]], title: str) -> dict[str, Any]:
    """A JSON Schema that names every field of the records; a field's type is that of its first value."""
    return {"title": title, **_described(list(records), 0)}


def _described(values: Sequence[Any], depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise refuse(f"A sample may be nested {MAX_DEPTH} levels deep.")
    known = [value for value in values if value is not None]
    first = known[0] if known else ""
    if isinstance(first, dict):
        fields: dict[str, list[Any]] = {}
        for value in known:
            for name, child in value.items() if isinstance(value, dict) else ():
                fields.setdefault(name, []).append(child)
        described = {
            name: {"title": name, **_described(children, depth + 1)}
            for name, children in fields.items()
        }
        return {"type": "object", "properties": described}
    if isinstance(first, list):
        elements = [element for value in known if isinstance(value, list) for element in value]
        return {"type": "array", "items": _described(elements, depth + 1)}
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number")):
        if isinstance(first, kind):
            return {"type": name}
    return {"type": "string"}


def source_paths(schema: Mapping[str, Any]) -> list[str]:
    """The leaves of an input schema as sources of mappings; `[*]` stands for the elements of an array of objects.

    A schema without `properties` is read as an object of names and types, as the published samples write it.
    """
    properties = schema.get("properties")
    return list(_leaves(properties if isinstance(properties, Mapping) else schema, "", 0))


def _leaves(properties: Mapping[str, Any], prefix: str, depth: int) -> Iterator[str]:
    for name, node in properties.items():
        path, marks = prefix + escaped(name), 0
        while isinstance(node, Mapping) and isinstance(node.get("items"), Mapping):
            node, marks = node["items"], marks + 1
        children = node.get("properties") if isinstance(node, Mapping) else None
        if isinstance(children, Mapping) and children and depth < MAX_DEPTH:
            yield from _leaves(children, f"{path}{'[*]' * marks}.", depth + 1)
        elif name:
            yield path


def escaped(name: str) -> str:
    """A field's name as one step of a source path."""
    out = "".join(f"\\{c}" if c in "\\.[]" else c for c in name)
    return f"\\{out}" if out.startswith("${") else out
