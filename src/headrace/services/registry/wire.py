"""Registry documents as the API shows them: computed keys, views, lists."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Caller
from headrace.services.registry.accept import View
from headrace.store.documents import Document
from headrace.xdm.fields import xdm_kind
from headrace.xdm.library import VERSION
from headrace.xdm.resolve import (
    Lookup,
    Resolver,
    Unresolvable,
    ancestors,
    every_reference,
    external_references,
    ordered_parts,
)

BASE = "/data/foundation/schemaregistry"
COMPUTED = frozenset(
    {
        "$id", "meta:altId", "version", "imsOrg", "refs", "meta:extends", "meta:registryMetadata",
        "meta:containerId", "meta:resourceType", "meta:class", "meta:abstract", "meta:extensible",
        "meta:sandboxId", "meta:sandboxType", "meta:tenantNamespace", "meta:allFieldAccess",
        "meta:descriptorStatus", "meta:xdmType",
    }
)  # fmt: skip
"""Keys that a client may send and the registry computes itself."""

_ORDER = (
    "$id", "meta:altId", "meta:resourceType", "version", "title", "type", "description", "definitions",
    "allOf", "properties", "required", "refs", "imsOrg", "meta:extensible", "meta:abstract",
    "meta:intendedToExtend", "meta:immutableTags", "meta:extends", "meta:xdmType",
    "meta:registryMetadata", "meta:class", "meta:containerId", "meta:sandboxId", "meta:sandboxType",
    "meta:tenantNamespace",
)  # fmt: skip


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
    out.setdefault("meta:xdmType", xdm_kind(out))
    return out


def document(stored: Document, who: Caller, lookup: Lookup, *, write: bool) -> dict[str, Any]:
    """A tenant resource with its computed keys; `write` adds those of answers to writes."""
    body = stored.body
    kind = body["meta:resourceType"]
    out = annotated({key: value for key, value in body.items() if key != "registry"})
    registry = body["registry"]
    if kind == "schemas":
        refs, extends = ordered_parts(body, lookup)
        out["meta:class"] = refs[-1] if refs else None
    else:
        extends = ancestors(body, lookup)
        refs = list(dict.fromkeys(every_reference(body)))
    if write:
        out["refs"] = refs
    out |= {
        "version": f"1.{stored.version}",
        "imsOrg": who.org_id,
        "meta:extensible": kind != "schemas",
        "meta:abstract": kind != "schemas",
        "meta:extends": extends,
        "meta:containerId": "tenant",
        "meta:sandboxId": who.sandbox_id,
        "meta:sandboxType": who.sandbox_type,
        "meta:tenantNamespace": f"_{who.tenant_id}",
        "meta:registryMetadata": {
            "repo:createdDate": stored.created,
            "repo:lastModifiedDate": stored.updated,
            "xdm:createdClientId": registry["createdClient"],
            "xdm:lastModifiedClientId": registry["updatedClient"],
            "xdm:createdUserId": registry["createdUser"],
            "xdm:lastModifiedUserId": registry["updatedUser"],
            "eTag": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest(),
            "meta:globalLibVersion": VERSION,
        },
    }
    return {key: out[key] for key in (*_ORDER, *(k for k in out if k not in _ORDER)) if key in out}


def shown(resource: Mapping[str, Any], view: View, lookup: Lookup) -> dict[str, Any]:
    """A resource in the view that the Accept header asks for."""
    out = dict(resource)
    if view.full:
        try:
            out = Resolver(lookup).full(resource)
        except Unresolvable as error:
            raise ApiError(422, "XDM-1406-422", "Resolution error", str(error)) from None
    if "flat" in view.suffixes:
        out["properties"] = _flat(out.get("properties", {}))
    return _without_text(out) if "notext" in view.suffixes else out


def _flat(properties: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, node in properties.items():
        path = f"{prefix}{name}"
        found[path] = {key: value for key, value in node.items() if key != "properties"}
        found |= _flat(node.get("properties", {}), f"{path}/")
    return found


def _without_text(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_text(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    out = {}
    for key, value in node.items():
        if key in ("title", "description") and isinstance(value, str):
            continue
        if key in ("properties", "definitions") and isinstance(value, Mapping):
            out[key] = {name: _without_text(child) for name, child in value.items()}
        else:
            out[key] = _without_text(value)
    return out


def listing(
    items: Sequence[Mapping[str, Any]], kind: str, order: str, following: Any
) -> dict[str, Any]:
    """The list envelope."""
    return {
        "results": list(items),
        "_page": {"orderby": order, "next": following, "count": len(items)},
        "_links": {"next": None, f"global_{kind}": {"href": f"{BASE}/global/{kind}"}},
    }


def identification(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The reduced item of `-id` views."""
    return {
        key: resource[key] for key in ("$id", "meta:altId", "version", "title") if key in resource
    }


def uses(resource: Mapping[str, Any], id: str) -> bool:
    """Whether a resource refers to another."""
    return id in external_references(resource) or id in every_reference(resource)
