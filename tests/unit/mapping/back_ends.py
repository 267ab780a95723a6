"""The two back ends of the mapping language behind one call each, with results in JSON form.

The plain evaluator is called as it is; generated code runs inside a pipeline, as it does for a dataflow. Both see
the clock at `CLOCK`.
"""

import json
from datetime import UTC, date, datetime
from typing import Any

from headrace.log.frames import MESSAGES, Frame, Meta
from headrace.mapping.apply import apply, compile_rules
from headrace.mapping.errors import TransformError
from headrace.mapping.evaluate import evaluate
from headrace.mapping.functions import Context
from headrace.mapping.parser import parse
from headrace.mapping.values import epoch_milliseconds, iso_text
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.batch import Batch
from headrace.runtime.pipeline import Pipeline
from headrace.xdm.fields import Field

CLOCK = datetime(2021, 10, 26, 10, 10, 24, tzinfo=UTC)
ANY = Field("object", properties={"out": Field("map", values=Field("object"))})
"""A target that takes values of every type, inside two maps."""
PLAIN = {"the mapping reads the whole record", "nulls are written on purpose"}
"""Why an expression may run without generated code: `contains_key`, `nullify`."""


def context(record: Any) -> Context:
    return Context(record, lambda: CLOCK, lambda: "7c0267d2-bb74-4e1a-9275-3bf4fccda5f4")


def in_json(value: Any) -> Any:
    """A value of the language as JSON has it."""
    if isinstance(value, datetime):
        return iso_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: in_json(child) for key, child in value.items()}
    return [in_json(child) for child in value] if isinstance(value, list) else value


def evaluated(expression: str, record: Any) -> Any:
    """The value by the plain evaluator."""
    return in_json(evaluate(parse(expression), context(record)))


def generated(expression: str, record: Any) -> Any:
    """The value by a pipeline, with generated code but for the reasons in `PLAIN`."""
    text = f"{{'a': {{'b': {expression}}}}}"
    pipeline, batch = run([Rule("EXPRESSION", text, "out")], ANY, record)
    for _, message in batch.warnings:
        raise TransformError(message)
    assert not batch.failures, batch.failures[0].message
    if pipeline.generated is None:
        assert pipeline.plain_because in PLAIN
        return in_json(batch.rows[0]["out"]["a"]["b"])
    return in_json(batch.values[0][0]["a"]["b"])


def mapped(
    rules: list[Rule], target: Field, record: Any, allow_null_values: bool = False
) -> tuple[Any, list[str]]:
    """The XDM object and the destinations of failed rules by the plain evaluator."""
    mapping = compile_rules(rules, target, allow_null_values=allow_null_values)
    row, warnings = apply(mapping, record, context(record))
    return in_json(row), [warning.destination for warning in warnings]


def run(
    rules: list[Rule], target: Field, record: Any, allow_null_values: bool = False
) -> tuple[Pipeline, Batch]:
    """A pipeline of the rules, and its batch after one record."""
    revision = FlowRevision(
        "flow", 1, "org", "prod", "set", "s", "1.0", target.to_json(), tuple(rules),
        allow_null_values=allow_null_values,
    )  # fmt: skip
    pipeline = Pipeline(revision)
    batch = pipeline.batch(envelope=False)
    body = b'{"messages":[' + json.dumps(record).encode() + b"]}"
    batch.add(Frame(100, 1, epoch_milliseconds(CLOCK), Meta(MESSAGES, "flow", 1, 0, "r"), body))
    return pipeline, batch


def same(left: Any, right: Any) -> bool:
    """Equality of JSON values in which 1, 1.0 and true are three things and objects have no order."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
