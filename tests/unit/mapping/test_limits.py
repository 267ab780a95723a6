"""Hostile expressions are refused when they are read, or fail once what they build passes a limit."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.log.frames import SINGLE, Frame, Meta
from headrace.mapping.apply import compile_rules
from headrace.mapping.errors import MappingInvalid, MappingSyntaxError, TransformError
from headrace.mapping.evaluate import evaluate
from headrace.mapping.functions import Context
from headrace.mapping.limits import MAX_BITS, MAX_DEPTH, MAX_EXPRESSION, MAX_ITEMS, MAX_TEXT
from headrace.mapping.parser import parse
from headrace.mapping.paths import MAX_SLOT
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.pipeline import Pipeline
from headrace.xdm.fields import Field

NOW = datetime(2024, 2, 29, 12, tzinfo=UTC)
MANY = f"split(rpad('', {2 * MAX_ITEMS - 1}, 'a,'), ',')"
"""An array of the greatest length."""
LONG = f"rpad('', {MAX_TEXT}, 'a')"
"""A text of the greatest length."""


def value_of(text: str, record: Any = None) -> Any:
    return evaluate(parse(text), Context(record or {}, lambda: NOW, lambda: "id"))


def repeated(start: str, body: str, times: int) -> str:
    """`body` applied to the only element of an array, to its result and so on."""
    text = f"[{start}]"
    for _ in range(times):
        text = f"transformArray({text}, x -> {body})"
    return text


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "a" + ")" * 10_000,
        "(" * 2_000 + "a" + ")" * 2_000,
        "[" * 2_000 + "]" * 2_000,
        "{1:" * 1_000 + "1" + "}" * 1_000,
        "a" + "[0]" * 1_300,
        "a" + ".a" * 2_000,
        "a" + ".length()" * 450,
        "upper(" * 600 + "a" + ")" * 600,
        "a" + " ?? a" * 800,
        "a" + "+a" * 2_000,
        "!" * 4_000 + "a",
        "transformArray(a, x -> " * 170 + "x" + ")" * 170,
        "a" * 5_000,
        "'" + "a" * 5_000 + "'",
        "a || " * 1_000 + "a",
        "9" * 1_201,
        "9" * 400 + "f",
    ],
    ids=lambda text: f"{text[:24]} of {len(text)}",
)
def test_a_text_beyond_a_limit_is_refused(text: str) -> None:
    with pytest.raises(MappingSyntaxError):
        parse(text)
    with pytest.raises(MappingInvalid):
        compile_rules([Rule("EXPRESSION", text, "s")], Field("object", {"s": Field("string")}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(" * (MAX_DEPTH - 1) + "7" + ")" * (MAX_DEPTH - 1), 7),
        ("a||" * 1_300 + "true", True),
        ("[" + "1," * 2_000 + "1]", [1] * 2_001),
        ("concat(" + "'é'," * 1_000 + "'')", "é" * 1_000),
        ("'" + "a" * (MAX_EXPRESSION - 2) + "'", "a" * (MAX_EXPRESSION - 2)),
        ("max(" + "1," * 2_000 + "2)", 2),
        ("9" * 1_200 + " % 10", 9),
        (f"size_of({LONG})", MAX_TEXT),
        (f"size_of({MANY})", MAX_ITEMS),
        (f"size_of(filterArray({MANY}, x -> x == 'a'))", MAX_ITEMS),
    ],
    ids=lambda value: str(value)[:16],
)
def test_a_text_within_the_limits_has_its_value(text: str, expected: Any) -> None:
    assert value_of(text) == expected


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (f"{LONG} + '!'", "(a+)+$"),
        (f"rpad('', {MAX_TEXT - 1}, 'a') + '!'", "(a+)+$"),
        (f"rpad('', {MAX_TEXT - 1}, 'a') + '!'", "(a|a)*"),
        (f"rpad('', {MAX_TEXT - 1}, 'a') + '!'", "(.*)(.*)(.*)(.*)x"),
        (f"rpad('', {MAX_TEXT - 1}, 'a') + '!'", "((a*)*)*"),
        ("'a'", "((a{1000}){1000}){1000}"),
        ("'a'", "(a?){5000}"),
        ("'a'", "(" * 1_500 + "a" + ")" * 1_500),
        ("'aa'", "(a)\\\\1"),
        ("'a'", "(?=a)a"),
        ("'a'", "a*+"),
    ],
)
def test_a_regular_expression_that_explodes_finds_nothing_or_is_refused(
    text: str, pattern: str
) -> None:
    expression = f"matches_regex({text}, '{pattern}')"
    try:
        assert value_of(expression) is False
    except TransformError as error:
        assert any(  # noqa: PT017
            words in str(error) for words in ("egular expression", f"{MAX_TEXT} are allowed")
        )


BOMBS = [
    repeated("'ab'", "concat(x, x)", 30),
    repeated("'ab'", "x + x", 30),
    repeated("'ab'", "join(x, x, x)", 30),
    repeated("'ab'", "replacestr(x, 'a', x)", 30),
    repeated("'ab'", "x.replace('a', x)", 30),
    repeated("'ab'", "array_to_string(x, [x, x])", 30),
    f"get_url_encoded(rpad('', {MAX_TEXT}, '%'))",
    f"replacestr({LONG}, 'a', 'aa')",
    f"{LONG} + 'a'",
    f"concat({LONG}, {LONG})",
    f"join({LONG}, 1, 2)",
    f"lpad('a', {MAX_TEXT + 1}, 'b')",
    "lpad('a', 10000000000000000000000, 'b')",
    f"array_to_string({LONG}, [1, 2])",
    f"upper(rpad('', {MAX_TEXT}, 'ß'))",
    f"concat(to_array(true, {LONG}, {LONG}))",
    f"explode({LONG}, '')",
    f"split({LONG}, 'a').size() + split(rpad('', {MAX_TEXT}, 'b,'), ',').size()",
    f"add_to_array({MANY}, 1, 2)",
    f"join_arrays({MANY}, ['a'])",
    repeated("[1]", "join_arrays(x, x)", 30),
    f"flattenArray([{MANY}, 1, 2])",
    f"transformArray([{MANY}], m -> filterArray(m, x -> filterArray(m, y -> true)))",
    f"transformArray([{MANY}], m -> transformArray(m, x -> transformArray(m, y -> 1)))",
    repeated("10", "x * x", 50),
    repeated("10", "x * x * x * x * x", 20),
    repeated("10", "-(x * x)", 20),
    f"{'9' * 1_200} * {'9' * 1_200}",
    "'1e9999' * 2",
    "to_decimal('1e9999')",
    "to_decimal('1e308') * to_decimal('1e308')",
    "to_decimal(" + "9" * 1_200 + ")",
    "to_bigint('" + "9" * 1_201 + "')",
    "to_integer(2147483648)",
    "9223372036854775808 | 1",
    "dformat(999999999999999999999, 'yyyy')",
    "make_date_time(99999999999999999999, 1, 1, 0, 0, 0, 0, 'UTC')",
    "format(now(), '" + "y" * 200 + "')",
    "json_to_object('" + "[" * 3_000 + "')",
    f"json_to_object(rpad('', {MAX_TEXT}, '['))",
    f"matches_regex('a', rpad('', {MAX_TEXT}, 'a'))",
]  # fmt: skip


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: f"{text[:40]} of {len(text)}")
def test_an_expression_that_builds_beyond_a_limit_fails(text: str) -> None:
    tree = parse(text)
    with pytest.raises(TransformError) as error:
        evaluate(tree, Context({}, lambda: NOW, lambda: "id"))
    assert len(str(error.value)) < 500


def leaves(value: Any, known: dict[int, int] | None = None) -> int:
    """Characters and elements of a value when it is written out; shared parts count each time."""
    known = {} if known is None else known
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, list | dict):
        return 1
    if id(value) not in known:
        children = value if isinstance(value, list) else value.values()
        known[id(value)] = 1 + sum(leaves(child, known) for child in children)
    return known[id(value)]


@pytest.mark.parametrize(
    "text",
    [
        repeated("1", "[x, x]", 50),
        repeated("1", "to_array(true, x, x)", 50),
        repeated("1", "{'a': x, 'b': x}", 50),
        repeated("1", "to_object('a', x, 'b', x)", 50),
        repeated(LONG, "[x, x]", 20),
        f"transformArray(explode('{',' * 63}', ','), x -> {LONG})",
    ],
    ids=["arrays", "to_array", "maps", "to_object", "one long text", "many long texts"],
)
def test_a_value_stays_within_what_a_row_can_hold(text: str) -> None:
    """Arrays in arrays and long texts in arrays count in all, not each for itself."""
    try:
        size = leaves(value_of(text))
    except TransformError:
        return
    assert size <= 16 * MAX_TEXT


@pytest.mark.parametrize(
    "text",
    [
        f"rpad('', {MAX_TEXT}, 'ﬃ').toUpperCase()",
        f"lower(rpad('', {MAX_TEXT}, 'İ'))",
        f"rpad('', {MAX_TEXT}, 'İ').toLowerCase()",
    ],
    ids=["toUpperCase", "lower", "toLowerCase"],
)
def test_a_change_of_case_stays_within_the_length_of_texts(text: str) -> None:
    try:
        size = len(value_of(text))
    except TransformError:
        return
    assert size <= MAX_TEXT


def test_integers_up_to_the_limit_are_exact() -> None:
    text = repeated("3", "x * x", 11)
    assert value_of(text) == [3 ** (2**11)]
    assert (3 ** (2**11)).bit_length() <= MAX_BITS


NESTINGS: list[tuple[str, Callable[[str], str]]] = [
    ("conditional", lambda inner: f"({inner} ? 1 : 2)"),
    ("first operand", lambda inner: f"({inner} ?? b)"),
    ("true operand", lambda inner: f"({inner} ?: b)"),
    ("conjunction", lambda inner: f"({inner} && b)"),
    ("sum", lambda inner: f"({inner} + b)"),
    ("key", lambda inner: f"{{{inner}: 1}}"),
    ("value", lambda inner: f"{{'k': {inner}}}"),
    ("array", lambda inner: f"[{inner}]"),
    ("member", lambda inner: f"[1][{inner}]"),
    ("call", lambda inner: f"coalesce({inner})"),
    ("method", lambda inner: f"({inner}).trim()"),
    ("sign", lambda inner: f"!{inner}"),
    ("lambda", lambda inner: f"transformArray([a], x -> {inner})"),
    ("choice", lambda inner: f"iif({inner}, a, b)"),
]


@pytest.mark.parametrize("nested", [n for _, n in NESTINGS], ids=[name for name, _ in NESTINGS])
def test_the_deepest_expression_that_is_accepted_also_runs_as_generated_code(
    nested: Callable[[str], str],
) -> None:
    text = "a"
    while _parses(nested(text)):
        text = nested(text)
    assert text != "a"
    assert not _parses(nested(text))
    tree = Field("object", properties={"s": Field("string")}).to_json()
    rules = (Rule("EXPRESSION", text, "s"),)
    found = []
    for plain in (False, True):
        pipeline = Pipeline(FlowRevision("f", 1, "o", "p", "d", "s", "1", tree, rules))
        assert pipeline.generated is not None
        if plain:
            pipeline.generated = None
        batch = pipeline.batch(envelope=False)
        batch.add(Frame(0, 1, 0, Meta(SINGLE, "f", 1, 0, "r"), b'{"a": 1, "b": 2}'))
        table = batch.good("b")
        assert table is not None
        row = table.to_pylist()[0].get("s")
        found.append((row, batch.warnings))
    assert found[0] == found[1]


def _parses(text: str) -> bool:
    try:
        parse(text)
    except MappingSyntaxError:
        return False
    return True


def test_array_slots_of_destinations_end_at_their_limit() -> None:
    tree = Field("object", properties={"a": Field("array", items=Field("int"))})
    with pytest.raises(MappingInvalid):
        compile_rules([Rule("ATTRIBUTE", "n", f"a[{MAX_SLOT + 1}]")], tree)
    rules = (Rule("ATTRIBUTE", "n", f"a[{MAX_SLOT}]"),)
    pipeline = Pipeline(FlowRevision("f", 1, "o", "p", "d", "s", "1", tree.to_json(), rules))
    batch = pipeline.batch(envelope=False)
    batch.add(Frame(0, 1, 0, Meta(SINGLE, "f", 1, 0, "r"), b'{"n": 5}'))
    table = batch.good("b")
    assert table is not None
    assert table.to_pylist()[0]["a"] == [None] * MAX_SLOT + [5]
