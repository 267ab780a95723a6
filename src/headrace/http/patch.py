"""JSON Patch: all operations or none, within limits."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException, resolve_pointer

from headrace.errors import HeadraceError
from headrace.http.nesting import MOST_LEVELS, too_deep

RFC_OPERATIONS = frozenset({"add", "remove", "replace", "move", "copy", "test"})
MOST_OPERATIONS = 500
MOST_COPIED = 1_000_000
"""Characters and values that the copies of one patch may add: each copy can double what the next one copies."""


class PatchRefused(HeadraceError):
    """A patch that cannot be applied. `reason` is `empty`, `form`, `operation` or `path`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Operation:
    """One step; `value` is meaningful when `has_value`."""

    op: str
    path: str
    value: Any = None
    has_value: bool = False
    source: str | None = None

    @property
    def steps(self) -> list[str]:
        """The path's unescaped steps."""
        parts = self.path.split("/")[1:]
        return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def parse(body: Any, operations: frozenset[str] = RFC_OPERATIONS) -> list[Operation]:
    """The steps of a patch in array form (a single object counts as one); operation names in any letter case."""
    entries = [body] if isinstance(body, dict) else body
    if not entries:
        raise PatchRefused("empty", "The patch has no operations.")
    if not isinstance(entries, list):
        raise PatchRefused("form", "A patch is an array of objects with op, path and value.")
    if len(entries) > MOST_OPERATIONS:
        raise PatchRefused("form", f"A patch has at most {MOST_OPERATIONS} operations.")
    return [_operation(number, entry, operations) for number, entry in enumerate(entries)]


def _operation(number: int, entry: Any, operations: frozenset[str]) -> Operation:
    where = f"Operation {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("op"), str):
        raise PatchRefused("form", f"{where} is not an object with op, path and value.")
    op, path, source = entry["op"].lower(), entry.get("path"), entry.get("from")
    if op not in operations:
        known = ", ".join(sorted(operations))
        raise PatchRefused("operation", f"{where}: '{entry['op']}' is not one of {known}.")
    if not isinstance(path, str) or (path and not path.startswith("/")):
        raise PatchRefused("path", f"{where}: the path must be a JSON pointer such as /name.")
    if op in ("move", "copy") and not isinstance(source, str):
        raise PatchRefused("form", f"{where}: '{op}' needs from.")
    if op in ("add", "replace", "test") and "value" not in entry:
        raise PatchRefused("form", f"{where}: '{op}' needs a value.")
    return Operation(op, path, entry.get("value"), "value" in entry, source)


def apply(document: dict[str, Any], operations: Sequence[Operation]) -> dict[str, Any]:
    """A patched copy; PatchRefused `path` names what is missing, and the document stays as it was.

    `remove` with an object as value removes only the keys it lists, which is how clients of Flow Service use it.
    """
    steps: list[dict[str, Any]] = []
    for step in operations:
        if step.op == "remove" and isinstance(step.value, dict) and step.value:
            names = (name.replace("~", "~0").replace("/", "~1") for name in step.value)
            steps += [{"op": "remove", "path": f"{step.path}/{name}"} for name in names]
            continue
        entry: dict[str, Any] = {"op": step.op, "path": step.path}
        if step.has_value:
            entry["value"] = step.value
        if step.source is not None:
            entry["from"] = step.source
        steps.append(entry)
    result = applied(document, steps)
    if not isinstance(result, dict):
        raise PatchRefused("path", "A patch may not replace the whole resource by something else.")
    return result


def applied(document: Any, steps: Sequence[dict[str, Any]]) -> Any:
    """What steps as RFC 6902 has them make of a copy of the document; PatchRefused when one cannot be applied."""
    result, left = copy.deepcopy(document), MOST_COPIED
    try:
        for step in steps:
            if step.get("op") == "copy":
                left = _less(left, resolve_pointer(result, step["from"]))
                if left < 0:
                    raise PatchRefused("form", "The patch copies too much.")
            result = jsonpatch.JsonPatch([step]).apply(result, in_place=True)
    except (jsonpatch.JsonPatchException, JsonPointerException) as error:
        raise PatchRefused("path", f"The patch cannot be applied: {error}") from None
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):
        raise PatchRefused(
            "path", "The patch cannot be applied: a path leads into a value."
        ) from None
    if too_deep(result):
        raise PatchRefused("form", f"The patch makes more than {MOST_LEVELS} levels.")
    return result


def _less(left: int, value: Any) -> int:
    """What is left of a number after the size of a value; negative as soon as nothing is."""
    waiting = [value]
    while waiting and left >= 0:
        node = waiting.pop()
        left -= 1
        if isinstance(node, str):
            left -= len(node)
        elif isinstance(node, dict):
            left -= sum(map(len, node))
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return left
