"""The tables of docs/mapping-language.md are what the code does."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.mapping.coerce import coerce
from headrace.mapping.errors import CoercionError
from headrace.mapping.java_dates import AUTOMATIC
from headrace.mapping.lexer import RESERVED
from headrace.mapping.methods import METHODS
from headrace.mapping.operators import OPERATORS, UNARY
from headrace.xdm.fields import Field

PAGE = (Path(__file__).parents[3] / "docs" / "mapping-language.md").read_text()
SECTION = PAGE.split("## Coercion")[1].split("##")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SECTION.splitlines()
    if line.startswith("|") and not line.startswith("|---")
]
TARGETS = {"integer": Field("int"), "object": Field("object"), "map": Field("map", values=Field("int"))}  # fmt: skip
OF_TYPE = {
    "string": ["", "x", "yes", "12", "2024-01-31"],
    "integer": [3, 2**31],
    "double": [2.0, 2.5],
    "boolean": [True, False],
    "date": [datetime(2024, 1, 31, tzinfo=UTC)],
    "array": [[1], []],
    "object": [{"a": 1}, {}],
}
ITEMS = {"integer": "long", "double": "number", "date": "date-time", "array": "long"}
CELLS = [
    pytest.param(source, target, cell, id=f"{source} to {target}")
    for source, *cells in ROWS[1:]
    for target, cell in zip(ROWS[0][1:], cells, strict=True)
]


@pytest.mark.parametrize(("source", "target", "cell"), CELLS)
def test_a_cell_of_the_coercion_matrix_holds(source, target, cell):
    field = TARGETS.get(target) or Field(target)
    if target == "array":
        field = Field("array", items=Field(ITEMS.get(source, source)))
    outcomes = set()
    for value in OF_TYPE[source]:
        try:
            coerce(value, field)
            outcomes.add(True)
        except CoercionError:
            outcomes.add(False)
    assert outcomes == {"✓": {True}, "(✓)": {True, False}, "–": {False}}[cell]


def test_the_matrix_has_every_type_on_both_sides():
    assert ROWS[0][1:] == ["string", "boolean", "integer", "number", "date", "date-time", "array", "object", "map"]  # fmt: skip
    assert [row[0] for row in ROWS[1:]] == list(OF_TYPE)


def test_every_operator_word_and_format_is_on_the_page():
    words = set(PAGE.replace("`", " ").replace('"', " ").split())
    assert words >= RESERVED
    assert words >= set(METHODS)
    assert {symbol for symbol in (*OPERATORS, *UNARY) if symbol not in PAGE.replace("\\|", "|")} == set()  # fmt: skip
    assert [f for f in AUTOMATIC[:18] if f"`{f}`" not in PAGE] == []
