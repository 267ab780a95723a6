"""Expressions, coercions and rule sets with the results they must have, in both back ends.

`vectors.json` is a list of three kinds of entries: an `expression` for a `record`; a `value` for a field of a `kind`;
`rules` (type, source, destination) for a `target` and a `record`. Each has what is `expected`, or how it `fails`. In a
target a text is a scalar's kind, an array its element, an object its fields, and `*` any key of a map.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from headrace.mapping.errors import (
    CoercionError,
    MappingInvalid,
    MappingSyntaxError,
    TransformError,
)
from headrace.model.flow import Rule
from headrace.xdm.fields import Field
from tests.unit.mapping.back_ends import evaluated, generated, in_json, mapped, run, same

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
FAILURES = {
    "syntax": MappingSyntaxError,
    "transform": TransformError,
    "coercion": CoercionError,
    "invalid": MappingInvalid,
}


def vectors(key: str) -> list[Any]:
    return [pytest.param(vector, id=vector["id"]) for vector in VECTORS if key in vector]


def field_of(target: Any) -> Field:
    if isinstance(target, str):
        return Field(target)
    if isinstance(target, list):
        return Field("array", items=field_of(target[0]))
    if "*" in target:
        return Field("map", values=field_of(target["*"]))
    return Field("object", properties={name: field_of(child) for name, child in target.items()})


def without_nulls(value: Any) -> Any:
    """As columns show it: a field that is absent is null; elements of arrays keep their places."""
    if isinstance(value, dict):
        found = {key: without_nulls(child) for key, child in value.items()}
        return {key: child for key, child in found.items() if child is not None} or None
    return [without_nulls(child) for child in value] if isinstance(value, list) else value


@pytest.mark.parametrize("back_end", [evaluated, generated])
@pytest.mark.parametrize("vector", vectors("expression"))
def test_an_expression_has_its_value(vector, back_end):
    text, record = vector["expression"], vector["record"]
    if "fails" in vector:
        # a pipeline is built from rules that parse; there the error names the rule
        wanted = FAILURES[vector["fails"]]
        if back_end is generated and wanted is MappingSyntaxError:
            wanted = MappingInvalid
        with pytest.raises(wanted):
            back_end(text, record)
        return
    value = back_end(text, record)
    assert same(value, vector["expected"]), value


@pytest.mark.parametrize("vector", vectors("kind"))
def test_a_value_is_coerced_by_the_evaluator(vector):
    target = Field("object", properties={"out": Field(vector["kind"])})
    row, failed = mapped([Rule("ATTRIBUTE", "value", "out")], target, {"value": vector["value"]})
    assert failed == (["out"] if "fails" in vector else [])
    assert same(row.get("out"), vector.get("expected")), row


@pytest.mark.parametrize("vector", vectors("kind"))
def test_a_value_is_coerced_by_generated_code(vector):
    target = Field("object", properties={"out": Field(vector["kind"])})
    rules = [Rule("ATTRIBUTE", "value", "out")]
    pipeline, batch = run(rules, target, {"value": vector["value"]})
    assert pipeline.generated is not None
    assert len(batch.warnings) == ("fails" in vector)
    table = batch.good("batch")
    assert same(in_json(table["out"].to_pylist()[0]), vector.get("expected"))


@pytest.mark.parametrize("vector", vectors("rules"))
def test_rules_make_an_object_in_the_evaluator(vector):
    rules, target = [Rule(*rule) for rule in vector["rules"]], field_of(vector["target"])
    nulls = vector.get("allowNullValues", False)
    if "fails" in vector:
        with pytest.raises(FAILURES[vector["fails"]]):
            mapped(rules, target, vector["record"], nulls)
        return
    row, failed = mapped(rules, target, vector["record"], nulls)
    assert same(row, vector["expected"]), row
    assert failed == vector.get("warnings", [])


@pytest.mark.parametrize("vector", vectors("rules"))
def test_rules_make_a_row_in_a_pipeline(vector):
    rules, target = [Rule(*rule) for rule in vector["rules"]], field_of(vector["target"])
    nulls = vector.get("allowNullValues", False)
    if "fails" in vector:
        with pytest.raises(FAILURES[vector["fails"]]):
            run(rules, target, vector["record"], nulls)
        return
    _, batch = run(rules, target, vector["record"], nulls)
    assert batch.failures == []
    row = batch.good("batch").drop(["_acp_system_metadata"]).to_pylist()[0]
    row = {name: dict(v) if _is_pairs(v) else v for name, v in row.items()}
    row, expected = without_nulls(in_json(row)), without_nulls(vector["expected"])
    assert same(row, expected), row
    assert len(batch.warnings) == len(vector.get("warnings", []))


def _is_pairs(value: Any) -> bool:
    """Arrow shows a map as a list of pairs."""
    return isinstance(value, list) and bool(value) and all(isinstance(v, tuple) for v in value)


def test_every_category_has_vectors():
    counts = Counter(vector["category"] for vector in VECTORS)
    assert min(counts.values()) >= 5
    assert len({vector["id"] for vector in VECTORS}) == len(VECTORS)


def test_most_rule_sets_run_as_generated_code():
    sound = [v for v in VECTORS if "rules" in v and "fails" not in v]
    made = [
        run([Rule(*r) for r in v["rules"]], field_of(v["target"]), v["record"])[0].generated
        for v in sound
    ]
    assert sum(function is not None for function in made) > len(sound) / 2
