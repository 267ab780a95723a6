"""JSON Patch on plain documents: RFC 6902, all or nothing, and no patch that grows what it is applied to without end."""

import time
from typing import Any

import pytest

from headrace.http.nesting import MOST_LEVELS
from headrace.http.patch import MOST_COPIED, MOST_OPERATIONS, PatchRefused, applied, apply, parse


def patched(document: dict[str, Any], *operations: dict[str, Any]) -> dict[str, Any]:
    return apply(document, parse(list(operations)))


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/b", "value": 1}, {"a": {"x": [1, 2]}, "b": 1}),
        ({"op": "ADD", "path": "/a/x/-", "value": 3}, {"a": {"x": [1, 2, 3]}}),
        ({"op": "replace", "path": "/a/x/0", "value": None}, {"a": {"x": [None, 2]}}),
        ({"op": "remove", "path": "/a/x/1"}, {"a": {"x": [1]}}),
        ({"op": "move", "from": "/a/x", "path": "/x"}, {"a": {}, "x": [1, 2]}),
        ({"op": "copy", "from": "/a/x/1", "path": "/b"}, {"a": {"x": [1, 2]}, "b": 2}),
        ({"op": "test", "path": "/a/x", "value": [1, 2]}, {"a": {"x": [1, 2]}}),
        ({"op": "remove", "path": "/a", "value": {"x": 0}}, {"a": {}}),
    ],
)
def test_each_operation(operation: dict[str, Any], expected: dict[str, Any]) -> None:
    document = {"a": {"x": [1, 2]}}
    assert patched(document, operation) == expected
    assert document == {"a": {"x": [1, 2]}}


@pytest.mark.parametrize(
    ("operations", "reason"),
    [
        ([], "empty"),
        (5, "form"),
        ([5], "form"),
        ([{"op": "merge", "path": "/a"}], "operation"),
        ([{"op": "add", "path": "a", "value": 1}], "path"),
        ([{"op": "add", "path": "/a"}], "form"),
        ([{"op": "move", "path": "/a"}], "form"),
        ([{"op": "test", "path": "/a", "value": 2}], "path"),
        ([{"op": "replace", "path": "/no", "value": 2}], "path"),
        ([{"op": "remove", "path": "/a/b/c"}], "path"),
        ([{"op": "copy", "from": "/no", "path": "/b"}], "path"),
        ([{"op": "replace", "path": "", "value": 2}], "path"),
        ([{"op": "remove", "path": "/a"}] * (MOST_OPERATIONS + 1), "form"),
    ],
)
def test_what_cannot_be_applied_says_why(operations: Any, reason: str) -> None:
    with pytest.raises(PatchRefused) as refusal:
        apply({"a": 1}, parse(operations))
    assert refusal.value.reason == reason


@pytest.mark.parametrize("value", [["x"], "x" * 200, {"k" * 200: 1}])
def test_copies_of_copies_end_before_they_fill_the_memory(value: Any) -> None:
    """Each step doubles what there is: without a limit, 40 of them are a million million values."""
    copies = [{"op": "copy", "from": "/a", "path": f"/a/n{number}"} for number in range(40)]
    began = time.monotonic()
    with pytest.raises(PatchRefused, match="copies too much"):
        patched({"a": {}}, {"op": "add", "path": "/a/v", "value": value}, *copies)
    assert time.monotonic() - began < 5
    few = {"a": {"v": value}}
    assert patched(few, copies[0])["a"]["n0"] == few["a"]
    assert applied({"a": "x" * (MOST_COPIED - 1)}, [{"op": "copy", "from": "/a", "path": "/b"}])


def test_steps_together_do_not_nest_deeper_than_a_body_may() -> None:
    deep: dict[str, Any] = {}
    for _ in range(MOST_LEVELS - 20):
        deep = {"a": deep}
    one = {"op": "add", "path": "/a", "value": deep}
    assert patched({}, one)
    two = {"op": "add", "path": "/a" * 100, "value": deep}
    with pytest.raises(PatchRefused, match="levels"):
        patched({}, one, two)
