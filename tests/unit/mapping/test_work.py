"""Expressions that would go through more than a machine can in a moment fail, in both back ends alike."""

import time

import pytest

from headrace.mapping.errors import TransformError
from headrace.mapping.limits import MAX_ITEMS, MAX_TEXT
from tests.unit.mapping.back_ends import evaluated, generated

MANY = f"split(rpad('', {2 * MAX_ITEMS - 1}, 'a,'), ',')"
LONG = f"rpad('', {MAX_TEXT}, 'a')"
MOMENT = 20.0
"""Seconds: far more than any of these takes, far less than they would take without a limit."""


def doubled(start: str, body: str) -> str:
    """Arrays of which each has the one before twice: small in memory, without end when it is gone through."""
    text = f"[{start}]"
    for _ in range(45):
        text = f"transformArray({text}, x -> {body})"
    return text


SHARED = doubled("1", "[x, x]")
HOLLOW = doubled("[]", "[x, x]")
EXPRESSIONS = {
    "the text of shared parts": f"concat({SHARED})",
    "the hash of shared parts": f"md5({SHARED})",
    "joined shared parts": f"join(',', {SHARED})",
    "the sum of shared parts and a text": f"{SHARED} + 'a'",
    "equal shared parts": f"{SHARED} == {SHARED}",
    "shared parts flattened": f"flattenArray({SHARED})",
    "empty shared parts flattened": f"array_to_string(',', {HOLLOW})",
    "shared parts as a key of a map": f"transformArray([{SHARED}], x -> {{x: 1}})",
    "a long text hashed again and again": f"transformArray({MANY}, x -> sha512({LONG}))",
    "a long text searched": f"transformArray([{LONG}], s -> transformArray({MANY}, x -> s.contains('b')))",
    "a long text compared": f"transformArray([{LONG}], s -> transformArray({MANY}, x -> s == s + ''))",
    "a long array ordered": f"filterArray([{MANY}], s -> filterArray(s, x -> max(s) == 'b'))",
    "a great pattern again and again": f"transformArray({MANY}, x -> matches_regex(rpad('', 900, 'a'), '(a?){{1000}}'))",
    "a great pattern on a long text": f"matches_regex({LONG}, '(a?){{1000}}')",
    "a long text cut at a great pattern": f"explode({LONG}, 'a{{1000}}')",
    "every character of a long text": f"explode({LONG}, '')",
}


@pytest.mark.parametrize("back_end", [evaluated, generated])
@pytest.mark.parametrize("text", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_work_without_end_fails_in_a_moment(text, back_end) -> None:
    begin = time.monotonic()
    with pytest.raises(TransformError):
        back_end(text, {})
    assert time.monotonic() - begin < MOMENT


@pytest.mark.parametrize("back_end", [evaluated, generated])
def test_lambdas_over_many_elements_have_their_value(back_end) -> None:
    record = {"xs": [{"k": f"key {n}", "text": "lorem ipsum " * 20} for n in range(5_000)]}
    found = back_end(
        "filterArray(xs, x -> matches_regex(x.text, '(.*)ipsum ') && x.k =$ '7')", record
    )
    assert len(found) == 500
    found = back_end("transformArray(xs, x -> concat(upper(x.k), ' ', size_of(x.text)))", record)
    assert found[7] == "KEY 7 240"


@pytest.mark.parametrize("back_end", [evaluated, generated])
def test_the_limit_counts_each_expression_for_itself(back_end) -> None:
    half = f"transformArray([{MANY}], s -> transformArray(s, x -> concat(x, x)))"
    assert len(back_end(f"join_arrays({half}, {half})", {})) == 2
