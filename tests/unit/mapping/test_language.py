from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.mapping.apply import apply, compile_rules
from headrace.mapping.errors import MappingSyntaxError, TransformError
from headrace.mapping.evaluate import evaluate
from headrace.mapping.functions import Context
from headrace.mapping.parser import parse
from headrace.model.flow import Rule
from headrace.xdm.fields import Field


def value_of(text, record=None):
    clock = datetime(2024, 2, 29, 12, tzinfo=UTC)
    return evaluate(parse(text), Context(record or {}, lambda: clock, lambda: "id"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 + 3 * 4", 14),
        ("-7 / 2", -3),
        ("-7 % 3", 2),
        ("'2' + '3'", "23"),
        ("'2' + 3", 5),
        ("not a || true", True),
        ("a ?? 'x'", "x"),
        ("upper(lpad('ab', 4, 'x'))", "XXAB"),
        ("size_of(flattenArray([[1, [2]], 3]))", 3),
        ("transformArray([1, 2], x -> transformArray([10], y -> x + y))", [[11], [12]]),
        ("date_part('dy', now())", 60),
        ("format(now(), \"EEE, d MMM yyyy 'at' HH:mm\")", "Thu, 29 Feb 2024 at 12:00"),
    ],
)
def test_an_expression_has_the_value_its_operators_and_functions_define(text, expected):
    assert value_of(text) == expected


@pytest.mark.parametrize("text", ["1 / 0", "'x' * 2", "matches_regex('a', '(?=a)')"])
def test_an_expression_without_a_value_fails_as_a_transformation(text):
    with pytest.raises(TransformError):
        value_of(text)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab1.'\"${}[]()+-*/<>=!?:,\\ |&", max_size=80) | st.text(max_size=80))
def test_any_text_parses_or_is_refused_with_a_position(text):
    position = 0
    try:
        parse(text)
    except MappingSyntaxError as error:
        position = error.position
    assert 0 <= position <= len(text)


@pytest.mark.parametrize("piece", ["(", "[", "!", "a+", "a?a:", "size ", "-"])
def test_deep_nesting_is_refused_without_exhausting_the_stack(piece):
    with pytest.raises(MappingSyntaxError):
        parse(piece * (4000 // len(piece)) + "a")


def test_a_failing_rule_nulls_its_own_field_and_leaves_the_others():
    target = Field("object", {"n": Field("int"), "s": Field("string")})
    rules = [Rule("ATTRIBUTE", "n", "n"), Rule("STATIC", "x", "s")]
    context = Context({}, lambda: datetime.now(UTC), lambda: "id")
    xdm, warnings = apply(compile_rules(rules, target), {"n": "many"}, context)
    assert xdm == {"s": "x"}
    assert [w.destination for w in warnings] == ["n"]
