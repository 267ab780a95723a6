"""Compatibility names: how a resource of the XDM model, written with prefixed names, reads in the platform.

`xdm:firstName` becomes `firstName`, `@id` becomes `_id`, `repo:createDate` becomes `_repo.createDate` and
`https://ns.adobe.com/experience/analytics` becomes `_experience.analytics`. Each converted node keeps its original
name in `meta:xdmField`; objects that exist only to hold a prefix say so with `meta:xedConverted`.
"""

from collections.abc import Mapping
from typing import Any

from headrace.xdm.fields import INTEGER_BOUNDS

Node = Mapping[str, Any]

_HOST = "https://ns.adobe.com/"
_CHILDREN = ("items", "additionalProperties")
_TEXTS = frozenset({"meta:titleId", "meta:descriptionId", "meta:license"})
"""Keys of the model's own tooling, of no use to a reader of the schema."""


def steps_of(name: str, within: str = "") -> tuple[str, ...]:
    """The path that a prefixed name stands for, below a node whose own prefixed name is `within`."""
    if name.startswith(("http://", "https://")):
        if within and name.startswith(f"{within}/"):
            return tuple(filter(None, name[len(within) + 1 :].split("/")))
        place = name.removeprefix(_HOST).removeprefix("xdm/").split("://")[-1]
        first, *rest = [step for step in place.split("/") if step]
        return (f"_{first}", *rest)
    if name.startswith("@"):
        return (f"_{name[1:]}",)
    prefix, colon, local = name.partition(":")
    if not colon or prefix == "xdm":
        return (local or name,)
    return (f"_{prefix}", local)


def converted(node: Node, within: str = "") -> dict[str, Any]:
    """A schema node, and everything below it, under compatibility names."""
    out = {key: value for key, value in node.items() if key not in _TEXTS}
    if isinstance(node.get("const"), str):
        out |= {"type": "string", "enum": [out.pop("const")]}
    if node.get("type") == "integer" and "meta:xdmType" not in node:
        out |= _integer_kind(node.get("minimum"), node.get("maximum"))
    if isinstance(node.get("$ref"), str):
        out["$ref"] = _reference(node["$ref"])
    if isinstance(node.get("definitions"), Mapping):
        out["definitions"] = {
            name: converted(child, within) if isinstance(child, Mapping) else child
            for name, child in node["definitions"].items()
        }
    for key in _CHILDREN:
        if isinstance(node.get(key), Mapping):
            out[key] = converted(node[key], within)
    if isinstance(node.get("allOf"), list):
        out["allOf"] = [
            converted(entry, within) if isinstance(entry, Mapping) else entry
            for entry in node["allOf"]
        ]
    required = [name for name in node.get("required", ()) if isinstance(name, str)]
    out.pop("required", None)
    if isinstance(node.get("properties"), Mapping):
        out["properties"] = _properties(node["properties"], required, within)
    plain = [path[0] for name in required if len(path := steps_of(name, within)) == 1]
    if plain:
        out["required"] = plain
    return out


def _properties(properties: Node, required: list[str], within: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, child in properties.items():
        if not isinstance(child, Mapping):
            continue
        holder, path = found, steps_of(name, within)
        for step in path[:-1]:
            inner = holder.setdefault(step, {"type": "object", "meta:xedConverted": True})
            last, holder = inner, inner.setdefault("properties", {})
        if len(path) > 1 and name in required:
            last.setdefault("required", []).append(path[-1])
        below = name if name.startswith("http") else within
        node = converted(child, below) | {"meta:xdmField": name}
        have = holder.get(path[-1])
        if have is not None:  # the holder of a prefix and a field of that name are one object
            node = {
                **have,
                **node,
                "properties": {**have.get("properties", {}), **node.get("properties", {})},
            }
        holder[path[-1]] = node
    return found


def _integer_kind(low: Any, high: Any) -> dict[str, str]:
    """Standard fields with both bounds are as wide as the bounds need."""
    if isinstance(low, int) and isinstance(high, int):
        for kind in ("byte", "short"):
            least, most = INTEGER_BOUNDS[kind]
            if least <= low and high <= most + 1:
                return {"meta:xdmType": kind}
    return {}


def _reference(reference: str) -> str:
    """A reference whose fragment walks through properties, under their compatibility names."""
    id, hash, place = reference.partition("#")
    if "/properties/" not in place:
        return reference
    steps = place.split("/")
    for at in range(1, len(steps)):
        if steps[at - 1] == "properties":
            name = steps[at].replace("~1", "/").replace("~0", "~")
            steps[at] = "/properties/".join(steps_of(name))
    return f"{id}{hash}{'/'.join(steps)}"


def alternative_id(id: str) -> str:
    """`meta:altId`: the id without scheme and home host, dotted."""
    return "_" + id.removeprefix(_HOST).split("://")[-1].rstrip("/").replace("/", ".")
