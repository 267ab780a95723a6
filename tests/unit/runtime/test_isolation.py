"""Values that no column can hold fail alone: their neighbours land, and the flow goes on."""

import json
from dataclasses import replace
from typing import Any

import pytest

from headrace.log.frames import MESSAGES, Frame, Meta
from headrace.mapping.functions import FUNCTIONS
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.batch import Batch
from headrace.runtime.pipeline import Pipeline
from headrace.xdm.fields import Field

TREE = Field(
    "object",
    properties={
        "a": Field("string"),
        "n": Field("number"),
        "at": Field("date-time"),
        "tags": Field("array", items=Field("string")),
    },
)


def landed(
    records: list[dict[str, Any]], rules: tuple[Rule, ...] | None, envelope: bool = False
) -> tuple[list[Any], Batch]:
    pipeline = Pipeline(FlowRevision("f", 1, "o", "prod", "d", "s", "1.0", TREE.to_json(), rules))
    batch = pipeline.batch(envelope)
    for start in range(0, len(records), 2):
        part = records[start : start + 2]
        body = b'{"messages":[' + b",".join(json.dumps(r).encode() for r in part) + b"]}"
        batch.add(Frame(start, len(part), 0, Meta(MESSAGES, "f", 1, start, "r"), body))
    table = batch.good("batch")
    return ([] if table is None else table.to_pylist()), batch


HALF = "\ud800"
"""Half of a character: no JSON that is accepted brings it, so a defect of a function has to stand in."""


@pytest.mark.parametrize("rules", [
    (Rule("EXPRESSION", "lower(text)", "a"),),
    (Rule("EXPRESSION", "lower(text)", "a"), Rule("ATTRIBUTE", "at", "at")),
    (Rule("EXPRESSION", "lower(text)", "a"), Rule("ATTRIBUTE", "tags[*]", "tags")),
])  # fmt: skip
def test_a_value_that_arrow_refuses_fails_its_record_and_no_other(
    rules: tuple[Rule, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    function = FUNCTIONS["lower"]
    broken = replace(function, implementation=lambda text: HALF if text == "t3" else text)
    for module in ("headrace.mapping.evaluate", "headrace.runtime.generate"):
        monkeypatch.setattr(f"{module}.FUNCTIONS", {**FUNCTIONS, "lower": broken})
    records = [{"text": f"t{n}", "at": "2024-01-01T00:00:00Z", "tags": ["x"]} for n in range(7)]
    rows, batch = landed(records, rules)
    assert [row["a"] for row in rows] == ["t0", "t1", "t2", "t4", "t5", "t6"]
    assert [row["_acp_system_metadata"]["sourceOffset"] for row in rows] == [0, 1, 2, 4, 5, 6]
    assert [(f.offset, f.stage, json.loads(f.original)) for f in batch.failures] == [
        (3, "write", records[3])
    ]
    assert (batch.start, batch.next, batch.records) == (0, 7, 7)


def test_numbers_and_dates_beyond_every_range_fail_alone() -> None:
    records: list[dict[str, Any]] = [
        {"a": "fine"},
        {"at": "0001-01-01T00:00:00+10:00"},
        {"n": 10**400},
        {"at": "9999-12-31T23:59:59.999Z", "n": 1},
        {"at": "9999-12-31T23:59:59.9999999Z"},
    ]
    pipeline = Pipeline(FlowRevision("f", 1, "o", "prod", "d", "s", "1.0", TREE.to_json(), None))
    batch = pipeline.batch(False)
    body = b'{"messages":[' + b",".join(json.dumps(r).encode() for r in records) + b"]}"
    batch.add(Frame(0, len(records), 0, Meta(MESSAGES, "f", 1, 0, "r"), body))
    table = batch.good("batch")
    assert table is not None
    assert [row["_acp_system_metadata"]["sourceOffset"] for row in table.to_pylist()] == [0, 3, 4]
    assert [(f.offset, f.code) for f in batch.failures] == [
        (1, "DCVS-1105-400"),
        (2, "DCVS-1113-400"),
    ]
    assert str(table["at"][1]) == "9999-12-31 23:59:59.999000+00:00"
