"""The observable schema of a data set: the part of its schema whose fields hold data. Pure."""

from collections.abc import Mapping, Set
from typing import Any

Path = tuple[str, ...]


def observable_schema(schema: Mapping[str, Any], filled: Set[Path]) -> dict[str, Any]:
    """A resolved schema reduced to the columns in `filled` (array elements: `element`, map values: `value`)."""
    within = {path[:length] for path in filled for length in range(1, len(path) + 1)}
    return {
        "type": "object",
        "meta:xdmType": "object",
        "properties": _reduced(schema.get("properties", {}), (), within),
    }


def _reduced(properties: Mapping[str, Any], at: Path, within: Set[Path]) -> dict[str, Any]:
    return {
        name: _node(node, (*at, name), within)
        for name, node in properties.items()
        if (*at, name) in within
    }


def _node(node: Mapping[str, Any], at: Path, within: Set[Path]) -> dict[str, Any]:
    out = {key: value for key, value in node.items() if key != "required"}
    if "properties" in node:
        out["properties"] = _reduced(node["properties"], at, within)
    for key, step in (("items", "element"), ("additionalProperties", "value")):
        if isinstance(node.get(key), Mapping):
            out[key] = _node(node[key], (*at, step), within)
    return out
