"""Schemas grow while tables hold rows: every row stays readable, old rows have nulls where fields were added."""

import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.lake.catalog import Lake
from headrace.lake.commit import CommitBatch, Committer
from headrace.lake.query import load_extensions
from headrace.lake.reading import json_rows
from headrace.runtime.columns import table as build
from headrace.xdm.arrow import SYSTEM_METADATA
from headrace.xdm.check import Violation, conform
from headrace.xdm.evolve import breaking_changes
from headrace.xdm.fields import Field
from tests.unit.xdm import trees

PART = "inlet-0"


def land(lake: Lake, tree: Field, records: list[dict[str, Any]], start: int) -> None:
    lake.ensure("prod", "set", tree)
    rows = []
    for record in records:
        violations: list[Violation] = []
        rows.append(conform(record, tree, "", violations))
        assert not violations
    count = len(rows)
    values = {
        "flowId": ["f"] * count, "sourcePartition": [PART] * count, "receiptId": ["r"] * count,
        "sourceOffset": list(range(start, start + count)), "ingestTime": [0] * count, "acp_sourceBatchId": ["b"] * count,
    }  # fmt: skip
    arrays = build(tree, rows)
    children = [pa.array(values[f.name], f.type) for f in SYSTEM_METADATA]
    arrays["_acp_system_metadata"] = pa.StructArray.from_arrays(
        children, fields=list(SYSTEM_METADATA)
    )
    Committer(lake, "prod", "set", "f").commit(
        CommitBatch(
            good=pa.table(arrays), failed=None, start={PART: start}, next={PART: start + count}, sequence=start + count,
            landed=count, failed_count=0, warnings=0, batch_id="b",
        )
    )  # fmt: skip


def plain(value: Any) -> Any:
    """Without nulls and empty objects, which tables do not tell apart, and with times as instants in UTC."""
    if isinstance(value, dict):
        found = {k: plain(v) for k, v in value.items()}
        return {k: v for k, v in found.items() if v not in (None, {})} or None
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def without_empty(value: Any) -> Any:
    """With nothing in the place of empty arrays, and of what they leave empty."""
    if isinstance(value, dict):
        found = {k: without_empty(v) for k, v in value.items()}
        return {k: v for k, v in found.items() if v is not None} or None
    if isinstance(value, list):
        return [without_empty(v) for v in value] or None
    return value


def expected(record: dict[str, Any], tree: Field) -> Any:
    return plain(conform(record, tree, "", []))


def from_json(value: Any, field: Field) -> Any:
    """What `json_rows` gives, as `expected` has it."""
    if value is None:
        return None
    if field.kind == "object":
        return {k: from_json(v, field.properties[k]) for k, v in value.items()}
    if field.kind == "array" and field.items:
        return [from_json(v, field.items) for v in value]
    if field.kind == "map" and field.values:
        return {k: from_json(v, field.values) for k, v in value.items()}
    return datetime.fromisoformat(value) if field.kind == "date-time" else value


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_rows_of_every_version_read_back_through_duckdb_and_pyiceberg(data: st.DataObject) -> None:
    tree = data.draw(trees.objects())
    with tempfile.TemporaryDirectory() as directory:
        lake, written = Lake(Path(directory)), list[Any]()
        for _ in range(3):
            records = data.draw(st.lists(trees.records(tree), min_size=1, max_size=3))
            land(lake, tree, records, len(written))
            written += [expected(record, tree) for record in records]
            grown = data.draw(trees.grown(tree))
            assert breaking_changes(tree, grown) == []
            tree = grown
        table = lake.table("prod", "set")
        order = "_acp_system_metadata"

        def rows(found: pa.Table) -> list[Any]:
            items = sorted(json_rows(found), key=lambda row: row[order]["sourceOffset"])
            return [
                plain(from_json({k: v for k, v in i.items() if k != order}, tree)) for i in items
            ]

        # pyiceberg reads a null array as an empty one where its elements have grown a field; the files are right
        assert without_empty(rows(table.scan().to_arrow())) == without_empty(written)
        session = load_extensions()
        result = session.execute(f"SELECT * FROM iceberg_scan('{table.metadata_location}')")
        assert rows(result.to_arrow_table()) == written
