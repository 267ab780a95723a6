"""Mapping without a server: the same rows whatever form the files have, in bounded memory, with honest counts."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from headrace.errors import ConfigurationError
from headrace.mapping.functions import FUNCTIONS
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime import offline
from headrace.runtime.documents import PLACEHOLDER, revision_of
from headrace.runtime.export import date_time_text
from headrace.xdm.library import Library
from headrace.xdm.resolve import Resolver

XDM = "https://ns.adobe.com/xdm/context/"
GROUP = "https://ns.adobe.com/acme/mixins/1"
SCHEMA = "https://ns.adobe.com/acme/schemas/2"
FIELDS = {
    "score": {"type": "integer"},
    "day": {"type": "string", "format": "date"},
    "note": {"type": "string"},
    "open": {"type": "object"},
    "times": {"type": "array", "items": {"type": "string", "format": "date-time"}},
}
GROUP_BODY = {
    "$id": GROUP,
    "meta:altId": "_acme.mixins.1",
    "meta:resourceType": "mixins",
    "title": "Loyalty",
    "meta:intendedToExtend": [f"{XDM}experienceevent"],
    "properties": {"_acme": {"type": "object", "properties": FIELDS}},
}
REFERENCES = [f"{XDM}experienceevent", f"{XDM}identitymap", GROUP]
SCHEMA_BODY = {
    "$id": SCHEMA,
    "meta:resourceType": "schemas",
    "title": "Visits",
    "type": "object",
    "allOf": [{"$ref": reference} for reference in REFERENCES],
}
RULES = [
    ("ATTRIBUTE", "id", "_id"),
    ("ATTRIBUTE", "at", "timestamp"),
    ("EXPRESSION", "to_integer(score) + 1", "_acme.score"),
    ("ATTRIBUTE", "day", "_acme.day"),
    ("STATIC", "web", "_acme.note"),
    ("ATTRIBUTE", "mail", "identityMap.Email[0].id"),
]
MAPPING: dict[str, Any] = {
    "outputSchema": {"schemaRef": {"id": SCHEMA, "contentType": "1.0"}},
    "mappings": [{"sourceType": t, "source": s, "destination": d} for t, s, d in RULES],
}
MEDIA = {"ATTRIBUTE": "text/x.schema-path", "EXPRESSION": "text/x.aep-xl", "STATIC": "text/plain"}
ANSWERED = {
    "xdmVersion": "1.0",
    "xdmSchema": SCHEMA,
    "mappings": [
        {"sourceType": MEDIA[t], "sourceAttribute": s, "destinationXdmPath": d} for t, s, d in RULES
    ],
}
RECORD = {"id": "a", "at": "2024-01-31T12:00:00.000Z", "score": "4", "day": "20240131", "mail": "x@y.z"}  # fmt: skip
ROW = {
    "_id": "a",
    "timestamp": "2024-01-31T12:00:00Z",
    "_acme": {"score": 5, "day": "2024-01-31", "note": "web"},
    "identityMap": {"Email": [{"id": "x@y.z"}]},
}


class Files:
    """Runs with files in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.report = ""

    def write(self, name: str, body: Any) -> Path:
        path = self.directory / name
        path.write_text(body if isinstance(body, str) else json.dumps(body))
        return path

    def run(self, records: list[Any], **options: Any) -> tuple[int, list[dict[str, Any]]]:
        """(exit status, rows)."""
        lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
        rows, report = io.BytesIO(), io.StringIO()
        given = io.BytesIO(b"\n".join(lines))
        status = offline.run(records=given, rows=rows, report=report, **options)
        self.report = report.getvalue()
        return status, [json.loads(line) for line in rows.getvalue().splitlines()]

    def count(self, name: str) -> int:
        """A number of the summary."""
        line = next(li for li in self.report.splitlines() if li.split()[0] == name)
        return int(line.split()[1].replace(",", ""))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def usual(files: Files) -> dict[str, Any]:
    export = [GROUP_BODY, SCHEMA_BODY]
    return {"mapping": files.write("m.json", MAPPING), "schema": files.write("s.json", export)}


def full() -> dict[str, Any]:
    library = Library()
    return Resolver(lambda id: GROUP_BODY if id == GROUP else library.get(id)).full(SCHEMA_BODY)


@pytest.mark.parametrize(
    "mapping", [MAPPING, ANSWERED, MAPPING["mappings"]], ids=["sent", "answered", "list"]
)
@pytest.mark.parametrize("schema", ["export", "full"])
def test_every_form_of_the_files_gives_the_same_row(
    files: Files, mapping: Any, schema: str
) -> None:
    body = full() if schema == "full" else [GROUP_BODY, SCHEMA_BODY]
    options = {"mapping": files.write("m.json", mapping), "schema": files.write("s.json", body)}
    assert files.run([RECORD], **options) == (0, [ROW])


def test_an_authored_schema_of_standard_parts_resolves_with_the_library(files: Files) -> None:
    parts = [{"$ref": f"{XDM}experienceevent"}, {"$ref": f"{XDM}identitymap"}]
    schema = files.write("s.json", {"title": "Events", "allOf": parts})
    row = {"_id": "1", "timestamp": "2024-01-31T12:00:00Z", "identityMap": {"Email": [{"id": "a"}]}}
    assert files.run([row], schema=schema) == (0, [row])


def test_the_mapping_chooses_its_schema_among_several(files: Files) -> None:
    other = {**SCHEMA_BODY, "$id": f"{SCHEMA}0", "allOf": [{"$ref": f"{XDM}profile"}]}
    schema = files.write("s.json", [GROUP_BODY, SCHEMA_BODY, other])
    mapping = files.write("m.json", MAPPING)
    assert files.run([RECORD], mapping=mapping, schema=schema) == (0, [ROW])
    with pytest.raises(ConfigurationError, match="no field 'timestamp'"):
        files.run([RECORD], mapping=files.write("m.json", MAPPING["mappings"]), schema=schema)


@pytest.mark.parametrize("tenant", [None, "acme", "_acme"])
def test_an_export_gets_the_tenant_of_the_option_or_of_the_mapping(
    files: Files, tenant: str | None
) -> None:
    text = json.dumps([GROUP_BODY, SCHEMA_BODY]).replace("acme", PLACEHOLDER)
    body = MAPPING if tenant is None else MAPPING["mappings"]
    options = {"mapping": files.write("m.json", body), "schema": files.write("s.json", text)}
    assert files.run([RECORD], tenant=tenant, **options) == (0, [ROW])


def test_an_export_without_a_tenant_is_refused(files: Files) -> None:
    text = json.dumps([GROUP_BODY, SCHEMA_BODY]).replace("acme", PLACEHOLDER)
    with pytest.raises(ConfigurationError, match="--tenant"):
        files.run([], schema=files.write("s.json", text))


def test_a_flow_revision_replaces_both_files(files: Files, usual: dict[str, Any]) -> None:
    revision = revision_of(usual["mapping"], usual["schema"], None, None)
    flow = files.write("flow.json", revision.to_json())
    assert files.run([RECORD], flow=flow) == (0, [ROW])
    with pytest.raises(ConfigurationError, match="replaces"):
        files.run([RECORD], flow=flow, schema=usual["schema"])


def test_what_landed_lands_again_as_xdm(files: Files, usual: dict[str, Any]) -> None:
    rich = {**ROW, "_acme": {"times": ["2024-01-31T12:00:00.123456Z"], "open": {"any": [1, None]}}}
    assert files.run([ROW, rich], schema=usual["schema"]) == (0, [ROW, rich])


def test_both_ways_of_running_a_mapping_write_the_same_rows(
    files: Files, usual: dict[str, Any]
) -> None:
    records = [
        RECORD,
        {**RECORD, "at": "2024-01-31T12:00:00.120Z", "mail": None},
        {**RECORD, "at": "2024-01-31T14:00:00+02:00", "day": None},
        {**RECORD, "at": 1706702400000, "score": None},
    ]
    generated = files.run(records, **usual)
    plain = files.write("plain.json", {**MAPPING, "allowNullValues": True})
    assert generated[1][1]["timestamp"] == "2024-01-31T12:00:00.120Z"
    assert generated[1][2]["timestamp"] == generated[1][3]["timestamp"] == "2024-01-31T12:00:00Z"
    again = files.run(records, mapping=plain, schema=usual["schema"])[1]
    again[1].pop("identityMap")  # holds an element with nothing in it there
    assert again == generated[1]


def test_failed_records_keep_their_lines_and_their_neighbours_land(
    files: Files, usual: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "CHUNK_RECORDS", 2)
    lost = files.directory / "failed.ndjson"
    records = [RECORD, b"", b"not json", {"at": 1}, {**RECORD, "id": "b"}, b"[1]", b'{"id": \xff}']
    status, rows = files.run(records, failed=lost, **usual)
    assert status == 1
    assert [row["_id"] for row in rows] == ["a", "b"]
    found = [json.loads(line) for line in lost.read_text().splitlines()]
    assert [(f["line"], f["code"], f["path"]) for f in found] == [
        (3, "INGEST-1401-400", ""),
        (4, "DCVS-1106-400", "_id"),
        (6, "INGEST-1401-400", ""),
        (7, "INGEST-1401-400", ""),
    ]
    assert [f["record"] for f in found] == ["not json", {"at": 1}, [1], '{"id": \ufffd}']
    assert {n: files.count(n) for n in ("records", "landed", "failed", "INGEST-1401-400")} == {
        "records": 6, "landed": 2, "failed": 4, "INGEST-1401-400": 3,
    }  # fmt: skip


def test_warnings_are_counted_by_destination_with_an_example(
    files: Files, usual: dict[str, Any]
) -> None:
    status, rows = files.run([{**RECORD, "score": "x"}] * 3 + [RECORD], **usual)
    assert (status, len(rows)) == (0, 4)
    assert "score" not in rows[0]["_acme"]
    assert (files.count("warnings"), files.count("_acme.score")) == (3, 3)
    assert "'x' is not" in files.report


def test_a_value_that_no_row_can_hold_fails_alone(
    files: Files, usual: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # no JSON that is accepted brings half of a character, so a defect of a function has to stand in
    function = FUNCTIONS["lower"]
    broken = replace(function, implementation=lambda text: "\ud800" if text == "half" else text)
    for module in ("headrace.mapping.evaluate", "headrace.runtime.generate"):
        monkeypatch.setattr(f"{module}.FUNCTIONS", {**FUNCTIONS, "lower": broken})
    half = {"sourceType": "EXPRESSION", "source": "lower(iif(h, 'half', 'x'))"}
    rules = [*MAPPING["mappings"], {**half, "destination": "_acme.note"}]
    del rules[4]
    mapping = files.write("half.json", {"mappings": rules})
    records = [{**RECORD, "id": str(n), "h": n in (3, 8)} for n in range(10)]
    out, lost = files.directory / "rows.parquet", files.directory / "failed.ndjson"
    options = {"mapping": mapping, "schema": usual["schema"], "parquet": out, "failed": lost}
    status, rows = files.run(records, **options)
    kept = [str(n) for n in range(10) if n not in (3, 8)]
    assert status == 1
    assert [row["_id"] for row in rows] == kept
    assert pq.read_table(out)["_id"].to_pylist() == kept
    assert [json.loads(line)["line"] for line in lost.read_text().splitlines()] == [4, 9]


def test_a_line_beyond_the_bound_fails_and_the_next_one_lands(
    files: Files, usual: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "MOST_LINE", 200)
    lost = files.directory / "failed.ndjson"
    status, rows = files.run([{"id": "x" * 1000}, RECORD], failed=lost, **usual)
    assert (status, rows) == (1, [ROW])
    found = json.loads(lost.read_text())
    assert found["line"] == 1
    assert "more than 200 bytes" in found["message"]


class Endless(io.RawIOBase):
    """Lines without an end, and how many bytes of them were asked for."""

    def __init__(self, line: bytes) -> None:
        self.line, self.given = line, 0

    def readline(self, size: int | None = -1, /) -> bytes:
        self.given += len(self.line)
        return self.line


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_chunks_of_an_endless_input_have_bounded_size(size: int) -> None:
    stream = Endless(b"x" * size + b"\n")
    found = offline.chunks(stream)  # type: ignore[arg-type]
    for number in (1, 2):
        chunk = next(found)
        assert len(chunk.records) <= offline.CHUNK_RECORDS
        assert sum(map(len, chunk.records)) <= offline.CHUNK_BYTES + size
        assert stream.given <= number * (offline.CHUNK_BYTES + 2 * size)


def test_parquet_has_one_schema_whatever_fields_a_chunk_fills(
    files: Files, usual: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "CHUNK_RECORDS", 1)
    out = files.directory / "rows.parquet"
    bare = {"_id": "b", "timestamp": "2024-01-31T12:00:00.000001Z"}
    status, rows = files.run([ROW, bare], schema=usual["schema"], parquet=out)
    assert (status, rows) == (0, [ROW, bare])
    table = pq.read_table(out)
    assert table["_id"].to_pylist() == ["a", "b"]
    assert table["timestamp"].to_pylist()[1] == datetime(2024, 1, 31, 12, 0, 0, 1, UTC)
    found = table["_acme"].to_pylist()
    assert (found[0]["score"], found[0]["day"].isoformat(), found[1]) == (5, "2024-01-31", None)
    identities = table["identityMap"].to_pylist()
    assert (identities[0][0][0], identities[0][0][1][0]["id"]) == ("Email", "x@y.z")
    assert identities[1] is None


def test_parquet_has_the_columns_that_a_mapping_fills(files: Files, usual: dict[str, Any]) -> None:
    out = files.directory / "rows.parquet"
    files.run([], parquet=out, **usual)
    table = pq.read_table(out)
    assert table.num_rows == 0
    assert sorted(table.schema.names) == ["_acme", "_id", "identityMap", "timestamp"]
    assert [f.name for f in table.schema.field("_acme").type] == ["score", "day", "note"]


def test_a_parquet_file_is_whole_or_absent(files: Files, usual: dict[str, Any]) -> None:
    class Gone(io.BytesIO):
        def write(self, data: Any, /) -> int:
            raise BrokenPipeError

    report, out = io.StringIO(), files.directory / "rows.parquet"
    given = io.BytesIO(json.dumps(RECORD).encode())
    status = offline.run(records=given, rows=Gone(), report=report, parquet=out, **usual)
    assert status == 1
    assert list(files.directory.glob("rows*")) == []


def test_a_device_is_not_replaced_by_a_parquet_file(usual: dict[str, Any], files: Files) -> None:
    with pytest.raises(ConfigurationError, match="regular file"):
        files.run([], parquet=files.directory, **usual)


def test_made_up_identifiers_differ_within_a_run_and_between_runs(
    files: Files, usual: dict[str, Any]
) -> None:
    rule = {"sourceType": "EXPRESSION", "source": "uuid()", "destination": "_id"}
    mapping = files.write("u.json", {"mappings": [rule, MAPPING["mappings"][1]]})
    runs = [files.run([RECORD] * 3, mapping=mapping, schema=usual["schema"]) for _ in range(2)]
    assert len({row["_id"] for _, rows in runs for row in rows}) == 6


@pytest.mark.parametrize(
    ("mapping", "schema", "message"),
    [
        (MAPPING, None, "--schema"),
        (MAPPING, "{", "not JSON"),
        (MAPPING, [], "array of exported"),
        (MAPPING, {"properties": []}, "XDM schema"),
        (MAPPING, {"title": "empty"}, "no fields"),
        (MAPPING, {"properties": {"a/b": {"type": "string"}}}, "flat"),
        (MAPPING, SCHEMA_BODY, "acme/mixins/1 does not exist"),
        ("[", [GROUP_BODY, SCHEMA_BODY], "not JSON"),
        ({}, [GROUP_BODY, SCHEMA_BODY], "'mappings' is missing"),
        ([], [GROUP_BODY, SCHEMA_BODY], "no mappings"),
        ([{"source": "a"}, 7], [GROUP_BODY, SCHEMA_BODY], "mapping 1: .*; mapping 2: "),
        ([{"source": "a", "destination": "nope"}], [GROUP_BODY, SCHEMA_BODY], "rule 1: .*nope"),
    ],
)
def test_files_that_cannot_work_are_named(
    files: Files, mapping: Any, schema: Any, message: str
) -> None:
    path = None if schema is None else files.write("s.json", schema)
    with pytest.raises(ConfigurationError, match=message):
        files.run([], mapping=files.write("m.json", mapping), schema=path)


@pytest.mark.parametrize("body", ["{}", "[1]", '"x"', "nothing"])
def test_a_file_that_is_no_flow_revision_is_named(files: Files, body: str) -> None:
    with pytest.raises(ConfigurationError, match="no flow revision"):
        files.run([], flow=files.write("flow.json", body))


def test_a_flow_revision_with_a_broken_rule_is_named(files: Files) -> None:
    tree = {"kind": "object", "properties": {"a": {"kind": "string"}}}
    rules = (Rule("EXPRESSION", "nope(", "a"),)
    flow = FlowRevision("f", 1, "o", "s", "d", "i", "1.0", tree, rules)
    with pytest.raises(ConfigurationError, match=r"flow\.json: rule 1"):
        files.run([], flow=files.write("flow.json", flow.to_json()))


def test_missing_files_are_named(files: Files, usual: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"nope\.json"):
        files.run([], schema=files.directory / "nope.json")
    for option in ("failed", "parquet"):
        with pytest.raises(ConfigurationError, match="nope"):
            files.run([], **{option: files.directory / "nope" / "x"}, **usual)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2024-01-31T12:00:00.000Z", "2024-01-31T12:00:00Z"),
        ("2024-01-31T12:00:00.100Z", "2024-01-31T12:00:00.100Z"),
        (datetime(2024, 1, 31, 12, tzinfo=UTC), "2024-01-31T12:00:00Z"),
        (datetime(2024, 1, 31, 12, 0, 0, 100_000, UTC), "2024-01-31T12:00:00.100Z"),
        (datetime(2024, 1, 31, 12, 0, 0, 1, UTC), "2024-01-31T12:00:00.000001Z"),
        (datetime(2024, 1, 31, 12, tzinfo=timezone(timedelta(hours=2))), "2024-01-31T10:00:00Z"),
    ],
)
def test_instants_are_written_in_utc_with_the_decimals_they_need(value: Any, text: str) -> None:
    assert date_time_text(value) == text


def test_an_interruption_keeps_what_was_counted(usual: dict[str, Any]) -> None:
    class Interrupted(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            if not line:
                raise KeyboardInterrupt
            return line

    rows, report = io.BytesIO(), io.StringIO()
    lines = json.dumps(RECORD).encode() + b"\n"
    given = Interrupted(lines * offline.CHUNK_RECORDS + lines)
    assert offline.run(records=given, rows=rows, report=report, **usual) == 130
    assert rows.getvalue().count(b"\n") == offline.CHUNK_RECORDS
    assert f"{offline.CHUNK_RECORDS:,}" in report.getvalue()
