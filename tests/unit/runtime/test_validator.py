"""The compiled validator agrees with `conform`, the definition of what is valid."""

import copy
from datetime import datetime
from typing import Any, cast

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headrace.runtime.validator import validator
from headrace.xdm.check import Violation, conform, parse_date_time
from headrace.xdm.fields import Field
from tests.unit.xdm import trees


def canonical(value: Any, field: Field) -> Any:
    """Without nulls, and with date-times as such: the two forms a record may leave in are one to a column."""
    if isinstance(value, dict):
        below = field.properties if field.kind == "object" else None
        return {
            k: canonical(v, field.values or Field("string") if below is None else below.get(k, Field("string")))
            for k, v in value.items()
            if v is not None or below is None
        }  # fmt: skip
    if isinstance(value, list):
        return [canonical(v, field.items or Field("string")) for v in value]
    return parse_date_time(value) if field.kind == "date-time" and isinstance(value, str) else value


def spoil(value: Any, data: st.DataObject) -> Any:
    """The value with anything at all in one place of it."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 3)):
        name = data.draw(st.sampled_from(sorted(value)))
        return {**value, name: spoil(value[name], data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 3)):
        return [spoil(value[0], data), *value[1:]]
    return data.draw(trees.ANYTHING)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_record_gets_the_same_verdict_and_the_same_values(data: st.DataObject) -> None:
    tree = data.draw(trees.objects())
    record = data.draw(trees.records(tree))
    if data.draw(st.booleans()):
        record = spoil(record, data) or {}
    assume(isinstance(record, dict))
    expected: list[Violation] = []
    finished = conform(copy.deepcopy(record), tree, "", expected)
    row, violations = validator(tree)(copy.deepcopy(record))
    assert violations == expected
    if not expected:
        assert canonical(row, tree) == canonical(finished, tree)


FIELDS = (
    *map(Field, ("string", "boolean", "number", "byte", "short", "int", "long", "date", "date-time")),
    Field("string", enum=("gold", "silver")), Field("string", pattern="^[a-z]+$", max_length=5),
    Field("string", min_length=2), Field("string", format="email"), Field("int", minimum=3, maximum=9),
    Field("number", minimum=-1.5), Field("array", items=Field("int")), Field("map", values=Field("date")),
    Field("object", properties={"a": Field("int")}), Field("object"),
)  # fmt: skip
VALUES = (
    True, False, 0, 1, 3, 9, 10, -129, 127, 128, 32768, 2**31, -(2**63), 2**63, 0.0, 0.5, -2.0, 1e300, "", "a",
    "gold", "toolong", "A", "a@b", "2024-02-29", "2024-02-30", "20240229", "2024-W05-3", "2024-02-29T10:00:00Z",
    "2024-02-29T10:00:00.123Z", "2024-02-29T10:00:00,123Z", "2024-02-29T25:00:00Z", "2024-02-29t10:00:00z",
    "2024-02-29 10:00:00Z", "2024-02-29T10:00:00+05:30", "2024-02-29T10:00:00", "20240229T100000.000Z",
    "2024-W05-3T12:00:00Z", "2024-02-29T100000.00000Z", [], [1], [1.5], [None], ["x"], {}, {"a": 1}, {"a": "x"},
    {"a": "2024-02-29"}, {"b": 1}, {"a": None},
)  # fmt: skip


def test_every_kind_of_field_gives_the_same_verdict_on_every_kind_of_value() -> None:
    for field in FIELDS:
        tree = Field("object", properties={"f": field}, required=("f",))
        check = validator(tree)
        for value in VALUES:
            expected: list[Violation] = []
            finished = conform({"f": copy.deepcopy(value)}, tree, "", expected)
            row, violations = check({"f": copy.deepcopy(value)})
            assert violations == expected, (field, value)
            if not expected:
                assert repr(canonical(row, tree)) == repr(canonical(finished, tree)), (field, value)


def test_wide_objects_are_checked_like_narrow_ones() -> None:
    wide = Field("object", properties={f"p{n}": Field("int") for n in range(40)}, required=("p1",))
    check = validator(wide)
    assert check({"p1": 1, "p39": 2.0}) == ({"p1": 1, "p39": 2}, [])
    assert [v.keyword for v in check({"p2": "x", "p1": 1})[1]] == ["type"]
    assert [v.keyword for v in check({"other": 1, "p1": 1})[1]] == ["additionalProperties"]
    assert [v.keyword for v in check({"p2": 1})[1]] == ["required"]


@pytest.mark.parametrize("kind", ["object", "array", "map"])
def test_deeply_nested_schemas_are_checked_to_the_bottom(kind: str) -> None:
    field, good, bad = Field("int"), cast(Any, 1), cast(Any, "x")
    for _ in range(60):
        if kind == "object":
            field, good, bad = Field("object", properties={"a": field}), {"a": good}, {"a": bad}
        elif kind == "array":
            field, good, bad = Field("array", items=field), [good], [bad]
        else:
            field, good, bad = Field("map", values=field), {"k": good}, {"k": bad}
    check = validator(Field("object", properties={"f": field}))
    assert check({"f": good}) == ({"f": good}, [])
    assert [v.keyword for v in check({"f": bad})[1]] == ["type"]


def test_date_times_that_arrow_reads_stay_text_and_others_become_instants() -> None:
    tree = Field("object", properties={"at": Field("date-time")})
    assert validator(tree)({"at": "2024-02-29T10:00:00Z"})[0]["at"] == "2024-02-29T10:00:00Z"
    assert isinstance(validator(tree)({"at": "2024-02-29T10:00:00+01:00"})[0]["at"], datetime)
    assert validator(tree)({"at": "2023-02-29T10:00:00Z"})[1][0].keyword == "format"


def test_no_field_name_reaches_generated_source() -> None:
    name = '"]; raise SystemExit #\n'
    tree = Field("object", properties={name: Field("string", enum=("a",))}, required=(name,))
    assert validator(tree)({name: "a"}) == ({name: "a"}, [])
    assert validator(tree)({name: "b"})[1][0].keyword == "enum"
