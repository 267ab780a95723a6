"""Where custom fields may stand: everything that a tenant defines lies below its namespace."""

import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9_-]+")


def namespace_problem(resource: Mapping[str, Any], namespace: str) -> str | None:
    """Why the fields that a class or field group defines itself are not acceptable, or None."""
    for name, node in resource.get("properties", {}).items():
        if problem := _problem(name, node, namespace):
            return problem
    for definition in resource.get("definitions", {}).values():
        for name, node in definition.get("properties", {}).items():
            if problem := _problem(name, node, namespace):
                return problem
    return None


def _problem(name: str, node: Any, namespace: str) -> str | None:
    if name == namespace:
        return _names_problem(node)
    children = node.get("properties") if isinstance(node, Mapping) else None
    if children:  # a custom field may extend a standard object, below the namespace there
        for child, inner in children.items():
            if problem := _problem(child, inner, namespace):
                return problem
        return None
    return (
        f"A custom field is defined under an invalid namespace ({name}). All custom fields must be "
        f"defined under a top-level field named {namespace}."
    )


def _names_problem(node: Any) -> str | None:
    if not isinstance(node, Mapping):
        return "A field must be an object with a type."
    for name, child in node.get("properties", {}).items():
        if not _NAME.fullmatch(name) or (name.startswith("_") and name != "_id"):
            return f"The field name {name} may have letters, digits, - and _ only and not begin with _."
        if problem := _names_problem(child):
            return problem
    for part in ("items", "additionalProperties"):
        if isinstance(node.get(part), Mapping) and (problem := _names_problem(node[part])):
            return problem
    return None
