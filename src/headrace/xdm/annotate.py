"""Annotation: what the platform adds to every node of an authored definition."""

from collections.abc import Mapping
from typing import Any

from headrace.xdm.fields import typed, xdm_kind


def annotated(node: Any) -> Any:
    """A node with `meta:xdmType` on every field, and `type` on every composition entry."""
    if not isinstance(node, Mapping):
        return node
    out = dict(node)
    for key in ("properties", "definitions"):
        if isinstance(out.get(key), Mapping):
            out[key] = {name: annotated(child) for name, child in out[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), Mapping):
            out[key] = annotated(out[key])
    if isinstance(out.get("allOf"), list):
        out["allOf"] = [
            {"type": "object", "meta:xdmType": "object", **entry}
            if isinstance(entry, Mapping)
            else entry
            for entry in out["allOf"]
        ]
        out["allOf"] = [
            {"$ref": e["$ref"], **e} if isinstance(e, Mapping) and "$ref" in e else e
            for e in out["allOf"]
        ]
    if "$ref" in out:
        out.setdefault("type", "object")
    if typed(out):
        out.setdefault("meta:xdmType", xdm_kind(out))
    return out
