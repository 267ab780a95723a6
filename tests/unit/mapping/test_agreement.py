"""The plain evaluator gives mappings their meaning; the pipeline's generated code must not differ from it."""

import json
from copy import copy
from dataclasses import astuple
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from headrace.log.frames import LINES, MESSAGES, Frame, Meta
from headrace.mapping.apply import field_at
from headrace.mapping.errors import TransformError
from headrace.mapping.evaluate import evaluate
from headrace.mapping.functions import Context
from headrace.mapping.parser import parse
from headrace.mapping.paths import parse_destination
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.batch import Batch
from headrace.runtime.pipeline import Pipeline
from headrace.xdm.fields import INTEGER_BOUNDS, SCALARS, Field
from tests.unit.mapping.expressions import ATTRIBUTES, RECORDS, TEXTS, VALUES, expressions

STRING = Field("string")
ITEM = Field(
    "object",
    required=("sku",),
    properties={
        "sku": STRING,
        "qty": Field("int", minimum=0),
        "tags": Field("array", items=STRING),
    },
)
SCALAR_FIELDS = {f"of {kind}": Field(kind) for kind in sorted(SCALARS)}
TREE = Field(
    "object",
    required=("id",),
    properties={
        "id": STRING,
        **SCALAR_FIELDS,
        "tier": Field("string", enum=("a", "A b", "12")),
        "code": Field("string", pattern="^[0-9]", max_length=12),
        "score": Field("number", minimum=-1, maximum=10),
        "person": Field(
            "object",
            required=("last",),
            properties={
                "first": STRING,
                "last": STRING,
                "home": Field("object", required=("city",), properties={"city": STRING, "at": Field("date-time")}),
            },
        ),
        "tags": Field("array", items=STRING),
        "longs": Field("array", items=Field("long")),
        "grid": Field("array", items=Field("array", items=Field("int"))),
        "items": Field("array", items=ITEM),
        "texts": Field("map", values=STRING),
        "dates": Field("map", values=Field("date")),
        "identityMap": Field("map", values=Field("array", items=ITEM)),
    },
)  # fmt: skip
SCHEMA = TREE.to_json()
DESTINATIONS = [
    "id", "id", "id", *(f"${{{name}}}" for name in SCALAR_FIELDS), "tier", "code", "score",
    "person.first", "person.last", "person.home.city", "person.home.at",
    "tags", "tags[0]", "tags[1]", "longs", "longs[0]", "longs[2]", "grid", "grid[0][1]", "grid[1][0]",
    "items", "items[0].sku", "items[0].qty", "items[1].sku", "items[0].tags", "items[0].tags[1]",
    "texts", "texts.k", "texts.${a b}", "dates", "dates.k", "dates.l",
    "identityMap", "identityMap.Email[0].sku", "identityMap.Email[0].qty", "identityMap.Phone[0].sku",
]  # fmt: skip


SUITED = {
    "string": ["a", "a", "upper(a)", "b.c", "objs[0].sku", "o.x", "concat(a, '-', n)", "format(t, 'yyyy')"],
    "boolean": ["n > 3", "a == 'a'", "is_empty(list)", "'yes'"],
    "number": ["n", "n / 3", "to_decimal('2.5')", "objs[0].qty"],
    "integer": ["n", "size_of(list)", "objs[0].qty", "n * n", "date_part('yyyy', t)", "'12'"],
    "date": ["t", "date(t)", "now()", "1700000000000", "objs[1].sku"],
    "array": ["list", "objs", "[1, n, null]", "objs[0].tags", "transformArray(list, x -> size x)", "[[1, 2], [n]]"],
    "map": ["o", "objs[0]", "to_map('k', a)", "to_map('k', t, 'l', now())", "{'Email': objs}", "array_to_map(objs, 'sku')"],
}  # fmt: skip
"""Sources by the kind of field that they are likely to fit."""


def _sources(destination: str) -> st.SearchStrategy[tuple[str, str]]:
    field = field_at(TREE, parse_destination(destination))
    assert field is not None
    kind = "integer" if field.kind in INTEGER_BOUNDS else field.kind.removesuffix("-time")
    suited = st.sampled_from(SUITED[kind]).map(lambda source: ("EXPRESSION", source))
    return st.one_of(
        suited,
        suited,
        suited,
        st.sampled_from(ATTRIBUTES).map(lambda source: ("ATTRIBUTE", source)),
        expressions(2).map(lambda source: ("EXPRESSION", source)),
        expressions(1).map(lambda source: ("EXPRESSION", source)),
        TEXTS.map(lambda source: ("STATIC", source)),
    )


@st.composite
def rule_sets(draw: DrawFn) -> tuple[Rule, ...]:
    """1 to 6 rules, none of which writes inside another's destination."""
    chosen: list[str] = []
    for text in draw(st.lists(st.sampled_from(DESTINATIONS), min_size=1, max_size=6)):
        steps = parse_destination(text).steps
        others = [parse_destination(other).steps for other in chosen]
        if not any(o[: len(steps)] == steps or steps[: len(o)] == o for o in others):
            chosen.append(text)
    rules = [Rule(*draw(_sources(text)), text) for text in chosen]
    if "id" not in chosen and draw(st.integers(0, 7)):
        rules[-1] = Rule("STATIC", "1", "id")  # without it every record fails
    return tuple(rules)


@st.composite
def payloads(draw: DrawFn) -> Any:
    """A record, sometimes with the keys of an envelope around or in it, sometimes no object at all."""
    record: Any = draw(RECORDS)
    match draw(st.integers(0, 9)):
        case 0:
            return {**record, "header": draw(VALUES), "body": draw(RECORDS | VALUES)}
        case 1:
            return {"header": draw(VALUES | st.just({"flowId": "f"})), "body": record}
        case 2:
            return draw(VALUES | st.sampled_from(TWICE) | st.sampled_from(BROKEN))
    return record


TWICE = [
    b'{"a": "x", "a": "y", "o": {"x": 1}, "o": {"y": {}}}',
    b'{"header":{},"header":1,"body":{}}',
]
BROKEN = [b"{", b'{"a":NaN}', b'{"a":"\\ud800"}', b'{"a":"x"} ,', b'{"n":01}', b'"\xff"']
"""Texts with a key twice, and texts that are not JSON; the inlet takes the latter only a line each."""

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
"""How fast a busy machine draws rules and records says nothing of them."""
CASES = st.tuples(
    rule_sets(), st.lists(payloads(), min_size=1, max_size=3), st.sampled_from([MESSAGES, LINES])
)
Case = tuple[tuple[Rule, ...], list[Any], int]


def _frame(offset: int, texts: list[bytes], layout: int) -> Frame:
    body = b"\n".join(texts) if layout == LINES else b'{"messages":[' + b",".join(texts) + b"]}"
    meta = Meta(layout, "flow", 1, offset - 100, f"r{offset}")
    return Frame(offset, len(texts), 1_700_000_000_000, meta, body)


def both(case: Case) -> tuple[Batch, Batch]:
    """The batch of the generated code and the batch of the plain evaluator."""
    rules, records, layout = case
    if layout == MESSAGES:
        records = [record for record in records if record not in BROKEN]
    texts = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    cut = 1 if layout == LINES else len(texts)
    frames = [_frame(100, texts[:cut], layout), _frame(100 + cut, texts[cut:], layout)]
    revision = FlowRevision("flow", 1, "org", "prod", "set", "s", "1.0", SCHEMA, rules)
    generated = Pipeline(revision)
    assume(generated.generated is not None)
    plain = copy(generated)
    plain.generated = None
    batches = []
    for pipeline in (generated, plain):
        batch = pipeline.batch(envelope=False)
        for frame in frames:
            batch.add(frame)
        batches.append(batch)
    return batches[0], batches[1]


def rows(batch: Batch) -> list[Any]:
    table = batch.good("b")
    return [] if table is None else [_compact(row) for row in table.to_pylist()]


def _compact(value: Any) -> Any:
    """Without null fields: absent and null are one to a reader. Elements of arrays keep their places."""
    if isinstance(value, dict):
        found = {key: _compact(child) for key, child in value.items()}
        return {key: child for key, child in found.items() if child is not None} or None
    return [_compact(child) for child in value] if isinstance(value, list) else value


def failures(batch: Batch) -> list[Any]:
    return sorted((astuple(failure) for failure in batch.failures), key=lambda f: int(f[5]))


def case(record: Any, *rules: tuple[str, str, str]) -> Case:
    return (Rule("STATIC", "1", "id"), *(Rule(*rule) for rule in rules)), [record], MESSAGES


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(CASES)
@example(case({"list": ["a", "b"]}, ("ATTRIBUTE", "list[*]", "tags")))
@example(case({"a": "x"}, ("ATTRIBUTE", "a", "tags[0]"), ("ATTRIBUTE", "missing", "tags[1]")))
@example(case({"header": 1, "a": "out", "body": {"a": "in"}}, ("ATTRIBUTE", "a", "${of string}")))
@example(case({"t": "9999-12-31T23:59:59.999Z"}, ("ATTRIBUTE", "t", "${of date-time}")))
def test_generated_code_and_the_plain_evaluator_give_the_same_rows(case: Case) -> None:
    fast, plain = both(case)
    assert rows(fast) == rows(plain)
    assert (fast.offsets, fast.receipts, fast.received) == (plain.offsets, plain.receipts, plain.received)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(CASES)
@example(
    case(
        {"n": 11, "a": "x"},
        ("ATTRIBUTE", "n", "score"),
        ("ATTRIBUTE", "a", "person.first"),
    )
)
def test_generated_code_and_the_plain_evaluator_give_the_same_failures(case: Case) -> None:
    fast, plain = both(case)
    assert failures(fast) == failures(plain)


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(CASES)
@example(case({"objs": [{"sku": "a", "qty": "x"}]}, ("ATTRIBUTE", "objs", "items")))
@example(case({"objs": [{"sku": "a", "qty": "x"}, 5]}, ("ATTRIBUTE", "objs", "items")))
def test_generated_code_and_the_plain_evaluator_give_the_same_warnings(case: Case) -> None:
    fast, plain = both(case)
    assert fast.warnings == plain.warnings


def test_every_kind_of_field_is_a_destination() -> None:
    kinds = {field.kind for field in TREE.properties.values()}
    assert kinds >= {*SCALARS, *INTEGER_BOUNDS, "object", "array", "map"}


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(expressions(), RECORDS)
def test_an_expression_has_a_value_or_fails_as_a_transformation(text: str, record: Any) -> None:
    clock = datetime(2024, 2, 29, 12, tzinfo=UTC)
    before = json.dumps(record)
    try:
        evaluate(parse(text), Context(record, lambda: clock, lambda: "id"))
    except TransformError as error:
        assert str(error)  # noqa: PT017
    assert json.dumps(record) == before
