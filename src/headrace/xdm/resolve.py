"""Composition: class, field groups and data types become one view.

All functions are pure; `lookup(id)` gives a resource by `$id` or None. Work is bounded: resolution stops with
`Unresolvable` at cycles, at depth 64 and at 200,000 nodes, so no schema can blow up.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from headrace.xdm.fields import typed, xdm_kind

Resource = Mapping[str, Any]
Lookup = Callable[[str], Resource | None]

MOST_DEPTH = 64
MOST_NODES = 200_000
_SKIPPED = frozenset({"https://ns.adobe.com/xdm/common/extensible"})
_INHERITED = (
    "title", "description", "type", "meta:xdmType", "format", "enum", "meta:enum", "pattern", "minimum",
    "maximum", "minLength", "maxLength", "default",
)  # fmt: skip
"""Keys that a node takes over from the target of its reference."""


class Unresolvable(Exception):
    """A reference that does not resolve, or a composition that is too deep, too large or endless."""


def external_references(resource: Resource) -> list[str]:
    """`$ref`s of `allOf` that lead to other resources, in order."""
    return [
        entry["$ref"]
        for entry in resource.get("allOf", ())
        if isinstance(entry, Mapping)
        and isinstance(entry.get("$ref"), str)
        and "#" not in entry["$ref"]
    ]


def every_reference(node: Any) -> Iterator[str]:
    """Every `$ref` to another resource anywhere below a node, in document order."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str) and "#" not in value:
                yield value
            else:
                yield from every_reference(value)
    elif isinstance(node, list):
        for value in node:
            yield from every_reference(value)


def ancestors(resource: Resource, lookup: Lookup) -> list[str]:
    """Ids that a resource builds on through `allOf`, deepest first, each once."""
    found: dict[str, None] = {}

    def visit(current: Resource, trail: tuple[str, ...]) -> None:
        for id in external_references(current):
            if id in _SKIPPED or id in found:
                continue
            if id in trail or len(trail) > MOST_DEPTH:
                raise Unresolvable(f"{id} refers to itself")
            target = lookup(id)
            if target is None:
                raise Unresolvable(f"the reference {id} does not exist")
            visit(target, (*trail, id))
            found[id] = None

    visit(resource, (str(resource.get("$id", "")),))
    return list(found)


def class_of(resource: Resource, lookup: Lookup) -> str | None:
    """The one class that a schema refers to; Unresolvable when there are several."""
    classes = [
        id
        for id in external_references(resource)
        if (lookup(id) or {}).get("meta:resourceType") in ("classes", "behaviors", "unions")
    ]
    if len(classes) > 1:
        raise Unresolvable(f"a schema has one class, this one refers to {', '.join(classes)}")
    return classes[0] if classes else None


def ordered_parts(resource: Resource, lookup: Lookup) -> tuple[list[str], list[str]]:
    """(`refs`, `meta:extends`) of a schema: field groups in order, then the class."""
    chosen = class_of(resource, lookup)
    groups = [id for id in external_references(resource) if id != chosen]
    extends: dict[str, None] = {}
    for id in (*groups, *([chosen] if chosen else [])):
        target = lookup(id)
        if target is None:
            raise Unresolvable(f"the reference {id} does not exist")
        for ancestor in ancestors(target, lookup):
            extends.setdefault(ancestor)
        extends.setdefault(id)
    return [*groups, *([chosen] if chosen else [])], list(extends)


class Resolver:
    """Resolves one document; keeps count of its work."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._nodes = 0

    def full(self, resource: Resource) -> dict[str, Any]:
        """The resource with `allOf` flattened and every `$ref` inlined (`xed-full`)."""
        merged = self._composed(resource, resource, (str(resource.get("$id", "")),))
        head = {
            key: value
            for key, value in resource.items()
            if key not in ("allOf", "definitions", "properties", "required", "$ref")
        }
        return head | {key: merged[key] for key in ("properties", "required") if merged.get(key)}

    def _composed(
        self, node: Resource, document: Resource, trail: tuple[str, ...]
    ) -> dict[str, Any]:
        """An object node with everything it is composed of."""
        out: dict[str, Any] = {}
        for entry in node.get("allOf", ()):
            _merge(out, self._referenced(entry, document, trail))
        own = {
            name: self._node(child, document, trail)
            for name, child in node.get("properties", {}).items()
        }
        _merge(out, {"properties": own, "required": list(node.get("required", ()))})
        return out

    def _referenced(
        self, entry: Resource, document: Resource, trail: tuple[str, ...]
    ) -> dict[str, Any]:
        reference = entry.get("$ref")
        if reference is None:
            return self._composed(entry, document, trail)
        id, _, place = reference.partition("#")
        if id in _SKIPPED:
            return {}
        if not id:
            return self._part(document, reference, trail)
        return self._part(self._found(id), reference, trail) if place else self._resource(id, trail)

    def _found(self, id: str) -> Resource:
        target = self._lookup(id)
        if target is None:
            raise Unresolvable(f"the reference {id} does not exist")
        return target

    def _part(self, document: Resource, reference: str, trail: tuple[str, ...]) -> dict[str, Any]:
        """A definition inside a document, by a reference with a fragment."""
        full = f"{document.get('$id', '')}#{reference.partition('#')[2]}"
        self._enter(full, trail)
        return self._target(_pointer(document, reference), document, (*trail, full))

    def _enter(self, id: str, trail: tuple[str, ...]) -> None:
        if id in trail:
            way = " → ".join((*trail[trail.index(id) :], id))
            raise Unresolvable(f"{id} refers to itself ({way})")
        if len(trail) > MOST_DEPTH:
            raise Unresolvable(f"references are nested deeper than {MOST_DEPTH}")

    def _resource(self, id: str, trail: tuple[str, ...]) -> dict[str, Any]:
        self._enter(id, trail)
        target = self._found(id)
        return self._target(target, target, (*trail, str(target.get("$id", id))))

    def _target(
        self, target: Resource, document: Resource, trail: tuple[str, ...]
    ) -> dict[str, Any]:
        """What a reference brings: the composition of its target, and what the target says of itself."""
        merged = self._composed(target, document, trail)
        for key, value in self._facts(target, document, trail).items():
            merged.setdefault(key, value)
        return merged

    def _facts(
        self, target: Resource, document: Resource, trail: tuple[str, ...]
    ) -> dict[str, Any]:
        out = {key: target[key] for key in _INHERITED if key in target}
        for key in ("items", "additionalProperties"):
            if isinstance(target.get(key), Mapping):
                out[key] = self._node(target[key], document, trail)
        return out

    def _node(self, node: Resource, document: Resource, trail: tuple[str, ...]) -> dict[str, Any]:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise Unresolvable(f"the schema resolves to more than {MOST_NODES} fields")
        out = {
            key: value
            for key, value in node.items()
            if key
            not in ("$ref", "allOf", "properties", "required", "items", "additionalProperties")
        }
        if "$ref" in node or "allOf" in node or "properties" in node:
            merged: dict[str, Any] = {}
            if "$ref" in node:
                _merge(merged, self._referenced({"$ref": node["$ref"]}, document, trail))
                if not node["$ref"].startswith("#"):
                    out["meta:referencedFrom"] = node["$ref"]
                if typed(merged):  # the target's kind holds, whatever the node says for short
                    out = {k: v for k, v in out.items() if k not in ("type", "meta:xdmType")}
            _merge(merged, self._composed(node, document, trail))
            out = {k: v for k, v in merged.items() if k not in ("properties", "required")} | out
            out |= {key: merged[key] for key in ("properties", "required") if merged.get(key)}
        if isinstance(node.get("items"), Mapping):
            out["items"] = self._node(node["items"], document, trail)
        extra = node.get("additionalProperties")
        if isinstance(extra, Mapping):
            out["additionalProperties"] = self._node(extra, document, trail)
        if typed(out):
            out.setdefault("meta:xdmType", xdm_kind(out))
        return out


def _pointer(document: Resource, reference: str) -> Resource:
    node: Any = document
    for step in reference.partition("#")[2].strip("/").split("/"):
        step = step.replace("~1", "/").replace("~0", "~")
        node = node.get(step) if isinstance(node, Mapping) else None
        if node is None:
            raise Unresolvable(f"the reference {reference} does not exist")
    if not isinstance(node, Mapping):
        raise Unresolvable(f"the reference {reference} is no schema")
    return node


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Deep merge of object nodes: the first definition of a leaf stays, objects are united."""
    for key, value in other.items():
        if key == "properties":
            properties = into.setdefault("properties", {})
            for name, child in value.items():
                if name not in properties:
                    properties[name] = child
                    continue
                have = properties[name]
                if typed(have) and typed(child) and xdm_kind(have) != xdm_kind(child):
                    raise Unresolvable(
                        f"the field {name} is defined as {xdm_kind(have)} and as {xdm_kind(child)}"
                    )
                merged = dict(have)
                _merge(merged, child)
                properties[name] = merged
        elif key == "required":
            have = into.setdefault("required", [])
            have += [name for name in value if name not in have]
        else:
            into.setdefault(key, value)
