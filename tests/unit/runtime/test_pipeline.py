"""The pipeline: one bad record never affects its neighbours, and both ways of running a mapping agree."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.log.frames import DELIMITED, LINES, MESSAGES, SINGLE, Frame, Meta
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.batch import Batch
from headrace.runtime.pipeline import Pipeline
from headrace.xdm.fields import Field

STRING = Field("string")
TREE = Field(
    "object",
    required=("_id",),
    properties={
        "_id": STRING,
        "at": Field("date-time"),
        "day": Field("date"),
        "n": Field("int", minimum=0),
        "long": Field("long"),
        "amount": Field("number"),
        "flag": Field("boolean"),
        "tier": Field("string", enum=("gold", "silver")),
        "code": Field("string", pattern="^[A-Z]{3}$"),
        "person": Field("object", required=("last",), properties={"first": STRING, "last": STRING}),
        "tags": Field("array", items=STRING),
        "items": Field(
            "array", items=Field("object", properties={"sku": STRING, "qty": Field("int")})
        ),
        "identityMap": Field(
            "map",
            values=Field(
                "array",
                items=Field("object", properties={"id": STRING, "primary": Field("boolean")}),
            ),
        ),
    },
)
RULES = (
    Rule("ATTRIBUTE", "id", "_id"),
    Rule("ATTRIBUTE", "ts", "at"),
    Rule("ATTRIBUTE", "d", "day"),
    Rule("ATTRIBUTE", "n", "n"),
    Rule("ATTRIBUTE", "a.big", "long"),
    Rule("EXPRESSION", "a.x * 2 + n", "amount"),
    Rule("EXPRESSION", "iif(a.x > 1, true, false)", "flag"),
    Rule("ATTRIBUTE", "tier", "tier"),
    Rule("EXPRESSION", "upper(code)", "code"),
    Rule("ATTRIBUTE", "p.first", "person.first"),
    Rule("EXPRESSION", "concat(p.last, '-', id)", "person.last"),
    Rule("ATTRIBUTE", "tags", "tags"),
    Rule("ATTRIBUTE", "list[1].sku", "items[0].sku"),
    Rule("EXPRESSION", "size_of(tags)", "items[0].qty"),
    Rule("ATTRIBUTE", "id", "identityMap.Email[0].id"),
    Rule("STATIC", "true", "identityMap.Email[0].primary"),
)


def pipeline(rules: tuple[Rule, ...] | None = RULES) -> Pipeline:
    return Pipeline(
        FlowRevision("flow", 1, "org", "prod", "set", "schema", "1.0", TREE.to_json(), rules)
    )


def frame(records: list[Any], layout: int = MESSAGES, envelope: bool = False) -> Frame:
    texts = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    body = {
        MESSAGES: b'{"messages":[' + b",".join(texts) + b"]}",
        LINES: b"\n".join(texts),
        SINGLE: texts[0] if texts else b"",
        DELIMITED: b"\n".join(texts),
    }[layout]
    count = len(texts) - (layout == DELIMITED)
    return Frame(100, count, 1_700_000_000_000, Meta(layout, "flow", 1, 0, "r", envelope), body)


def ran(pipe: Pipeline, given: Frame) -> Batch:
    batch = pipe.batch(given.meta.envelope)
    batch.add(given)
    return batch


def rows(batch: Batch) -> list[dict[str, Any]]:
    table = batch.good("b")
    if table is None:
        return []
    return [_compact(row) for row in table.drop(["_acp_system_metadata"]).to_pylist()]


def _compact(value: Any) -> Any:
    """Without nulls: absent and null are one to a reader."""
    if isinstance(value, dict):
        found = {k: _compact(v) for k, v in value.items()}
        return {k: v for k, v in found.items() if v is not None} or None
    if isinstance(value, list):
        return [_compact(v) for v in value]
    return value


GOOD = {"id": "a", "n": 1, "a": {"x": 2.5, "big": 2**60}, "p": {"last": "L"}}


@pytest.mark.parametrize(
    ("bad", "code", "path"),
    [
        ({"n": 1}, "DCVS-1106-400", "_id"),
        ({"id": "b", "n": -1}, "DCVS-1113-400", "n"),
        ({"id": "b", "tier": "lead"}, "DCVS-1111-400", "tier"),
        ({"id": "b", "code": "abcd"}, "DCVS-1112-400", "code"),
        ([1, 2], "INGEST-1401-400", ""),
        (b"17", "INGEST-1401-400", ""),
    ],
)
def test_a_bad_record_fails_with_its_reason_and_its_neighbours_land(
    bad: Any, code: str, path: str
) -> None:
    batch = ran(pipeline(), frame([GOOD, bad, {**GOOD, "id": "c"}]))
    assert [row["_id"] for row in rows(batch)] == ["a", "c"]
    assert batch.offsets == [100, 102]
    assert batch.receipts == ["r-0", "r-2"]
    (failure,) = batch.failures
    assert (failure.code, failure.path, failure.offset, failure.receipt) == (code, path, 101, "r-1")
    assert failure.original == (bad if isinstance(bad, bytes) else json.dumps(bad).encode())


def test_a_value_that_is_copied_to_several_fields_counts_each_time_in_what_a_batch_holds() -> None:
    records = frame([{"id": "x" * 1000, "n": 5}] * 100)
    held = {
        count: ran(
            pipeline(tuple(Rule("ATTRIBUTE", "id", d) for d in ("_id", "person.last", "person.first")[:count])),
            records,
        ).held
        for count in (1, 2, 3)
    }  # fmt: skip
    assert held[1] == records.size
    assert 190_000 < held[2] < 220_000
    assert 290_000 < held[3] < 320_000


@pytest.mark.parametrize("place", [0, 1, 7, 49, 50, 93, 98, 99])
def test_bytes_of_a_failed_record_are_its_own_wherever_it_stands_in_its_request(place: int) -> None:
    records: list[Any] = [{**GOOD, "id": str(n), "not mapped": n} for n in range(100)]
    records[place] = {"id": str(place), "n": -1, "not mapped": "é"}
    (failure,) = ran(pipeline(), frame(records)).failures
    assert failure.original == json.dumps(records[place]).encode()


@pytest.mark.parametrize("other", [{"id": "x", "n": -1}, {"id": "x", "a": 5}, {"id": "x"}])
@pytest.mark.parametrize("place", [3, 36])
def test_bytes_of_a_failed_record_are_not_taken_from_another_array_of_its_request(
    place: int, other: dict[str, Any]
) -> None:
    records: list[Any] = [{**GOOD, "id": str(n)} for n in range(40)]
    records[place] = {"id": str(place), "n": -1}
    given = frame(records)
    others = b",".join([json.dumps(other).encode()] * 150)
    body = given.body[:-1] + b',"others":[' + others + b"]}"
    (failure,) = ran(pipeline(), replace(given, body=body)).failures
    assert failure.original == json.dumps(records[place]).encode()


@pytest.mark.parametrize(
    "poison",
    [
        b'{"id":"p","a":' + b'{"x":' * 5000 + b"1" + b"}" * 5000 + b"}",
        b'{"id":"p","n":1e400}',
        b'{"id":"p","n":NaN}',
        b'{"id":"p","q":"\\ud800"}',
        b"{",
    ],
)
def test_poison_in_a_line_never_stops_its_neighbours(poison: bytes) -> None:
    batch = ran(pipeline(), frame([GOOD, poison, {**GOOD, "id": "c"}], LINES))
    assert {"a", "c"} <= {row["_id"] for row in rows(batch)}
    assert len(batch.offsets) + len(batch.failures) == 3


def test_a_rule_that_cannot_be_computed_nulls_its_field_and_warns() -> None:
    batch = ran(pipeline(), frame([{**GOOD, "n": "none", "ts": "yesterday"}]))
    (row,) = rows(batch)
    assert "n" not in row
    assert "at" not in row
    assert {where for where, _ in batch.warnings} >= {"n", "at"}


def test_integers_beyond_two_to_the_fifty_three_are_exact() -> None:
    (row,) = rows(ran(pipeline(), frame([{**GOOD, "a": {"x": 1, "big": 2**53 + 1}}])))
    assert row["long"] == 2**53 + 1


def test_a_blank_cell_of_delimited_text_is_null() -> None:
    batch = ran(pipeline(), frame([b"id,n,tier", b'"a,1",,gold', b"b,2,"], DELIMITED))
    assert [(r["_id"], r.get("n"), r.get("tier")) for r in rows(batch)] == [
        ("a,1", None, "gold"),
        ("b", 2, None),
    ]


def test_an_enveloped_raw_record_is_its_body() -> None:
    batch = ran(pipeline(), frame([{"header": {"flowId": "f"}, "body": GOOD}]))
    assert rows(batch)[0]["_id"] == "a"


def test_xdm_records_are_checked_strictly() -> None:
    messages = [
        {"header": {}, "body": {"xdmEntity": {"_id": "a", "at": "2024-01-01T00:00:00Z", "n": 3}}},
        {"header": {}, "body": {"xdmEntity": {"_id": "b", "n": "3"}}},
        {"header": {}, "body": {"xdmEntity": {"_id": "c", "other": 1}}},
        {"header": {}, "body": {"xdmEntity": {"_id": "d", "person": {"first": "x"}}}},
    ]
    batch = ran(pipeline(None), frame(messages, envelope=True))
    assert [row["_id"] for row in rows(batch)] == ["a"]
    assert [(f.code, f.path) for f in batch.failures] == [
        ("DCVS-1104-400", "n"),
        ("DCVS-1115-400", "other"),
        ("DCVS-1106-400", "person.last"),
    ]


def test_a_key_of_the_root_stands_in_for_a_path_only_where_the_path_is_missing() -> None:
    records = [
        {"id": "null", "p": {"first": None, "last": "L"}, "p.first": "flat"},
        {"id": "missing", "p": {"last": "L"}, "p.first": "flat"},
        {"id": "no parent", "p.first": "flat"},
    ]
    found = rows(ran(pipeline(), frame(records)))
    assert [row["person"].get("first") for row in found] == [None, "flat", "flat"]


def test_replaying_a_frame_gives_the_same_rows() -> None:
    rules = (
        Rule("EXPRESSION", "uuid()", "_id"),
        Rule("EXPRESSION", "now()", "at"),
    )
    given = frame([{}, {}])
    first, second = rows(ran(pipeline(rules), given)), rows(ran(pipeline(rules), given))
    assert first == second
    assert first[0]["_id"] != first[1]["_id"]


def test_no_text_of_a_user_is_part_of_the_generated_source() -> None:
    marker = "XyZzYmarker"
    rules = (
        Rule("ATTRIBUTE", f"{marker}.a", "_id"),
        Rule("EXPRESSION", f"concat('{marker}', ${{{marker} b}})", "person.first"),
        Rule("STATIC", marker, "person.last"),
        Rule("ATTRIBUTE", marker, f"identityMap.{marker}[0].id"),
    )
    pipe = pipeline(rules)
    assert pipe.generated is not None
    assert marker not in pipe.generated.source


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**66), st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(max_size=4), st.sampled_from(["gold", "abc", "12", "2024-02-30", "2024-01-31", "x"]),
    st.sampled_from(["2024-01-31T10:00:00.123Z", "2024-13-31T10:00:00.123Z", "2024-01-31T10:00:00Z"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abx"), inner, max_size=2)
    ),
    max_leaves=4,
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text("ab", min_size=1, max_size=3) | VALUES,
        "ts": VALUES,
        "d": VALUES,
        "n": st.integers(0, 5) | VALUES,
        "a": st.fixed_dictionaries({}, optional={"x": VALUES, "big": VALUES}) | VALUES,
        "tier": VALUES,
        "code": VALUES,
        "p": st.fixed_dictionaries({}, optional={"first": VALUES, "last": VALUES}) | VALUES,
        "tags": st.lists(VALUES, max_size=3) | VALUES,
        "list": st.lists(st.fixed_dictionaries({}, optional={"sku": VALUES}), max_size=3) | VALUES,
        "header": VALUES,
        "p.first": VALUES,
    },
)


@cache
def both() -> tuple[Pipeline, Pipeline]:
    """One that runs generated code and a plain one; made once, as a worker does for all batches of a flow."""
    fast, plain = pipeline(), pipeline()
    assert fast.generated is not None
    plain.generated = None
    return fast, plain


@settings(max_examples=400, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=4), st.sampled_from([MESSAGES, LINES]))
def test_generated_code_and_the_plain_evaluator_agree(records: list[Any], layout: int) -> None:
    fast, plain = both()
    given_frame = frame(records, layout)
    one, two = ran(fast, given_frame), ran(plain, given_frame)
    assert rows(one) == rows(two)
    assert (one.offsets, one.receipts) == (two.offsets, two.receipts)
    assert [
        (f.offset, f.code, f.original) for f in sorted(one.failures, key=lambda f: f.offset)
    ] == [(f.offset, f.code, f.original) for f in two.failures]
    assert _by_destination(one) == _by_destination(two)


def _by_destination(batch: Batch) -> dict[str, int]:
    found: dict[str, int] = {}
    for (where, _), count in batch.warnings.items():
        root = where.split("[")[0]
        found[root] = found.get(root, 0) + count
    return found
