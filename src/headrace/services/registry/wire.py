"""Registry documents as the API shows them: computed keys, views, lists."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from headrace.http.contract import Caller
from headrace.services.registry.accept import View
from headrace.services.registry.lists import Page
from headrace.store.documents import Document
from headrace.xdm.annotate import annotated
from headrace.xdm.library import VERSION
from headrace.xdm.resolve import (
    Lookup,
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


def standard(resource: Mapping[str, Any], lookup: Lookup) -> dict[str, Any]:
    """A standard resource with its computed keys."""
    try:
        extends = ancestors(resource, lookup)
    except Unresolvable:  # an import may lack what is referred to
        extends = external_references(resource)
    tag = hashlib.sha256(json.dumps(resource, sort_keys=True).encode()).hexdigest()
    return {
        **resource,
        "$schema": "http://json-schema.org/draft-06/schema#",
        "meta:extends": extends,
        "meta:registryMetadata": {"eTag": tag, "meta:globalLibVersion": VERSION},
    }


def viewed(
    resource: Mapping[str, Any], view: View, descriptors: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The last touches of a view: descriptors, deprecation marks, the flat form, no texts."""
    out = dict(resource)
    if view.deprecations:
        for descriptor in descriptors:
            if descriptor["@type"] == "xdm:descriptorDeprecated":
                _mark_deprecated(out, descriptor.get("xdm:sourceProperty"))
    if view.descriptors:
        out["meta:descriptors"] = list(descriptors)
    if "flat" in view.suffixes:
        out["properties"] = _flat(out.get("properties", {}))
    return _without_text(out) if "notext" in view.suffixes else out


def _mark_deprecated(resource: dict[str, Any], properties: Any) -> None:
    """Put `meta:status` on fields; nodes on the way are copied, since the resource may be shared."""
    for path in properties if isinstance(properties, list) else [properties]:
        node = resource
        for step in str(path).strip("/").split("/"):
            if "items" in node:
                node["items"] = node = dict(node["items"])
            children = node.get("properties", {})
            if step not in children:
                break
            node["properties"] = {**children, step: dict(children[step])}
            node = node["properties"][step]
        else:
            node["meta:status"] = "deprecated"


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
    items: Sequence[Mapping[str, Any]], path: str, page: Page, following: Any
) -> dict[str, Any]:
    """The list envelope; `path` is that of the list below the registry, container included."""
    word = path.partition("/")[2]
    query = [("orderby", page.orderby), ("start", following)]
    query += [] if page.limit is None else [("limit", page.limit)]
    query += [("property", text) for text in page.filters]
    return {
        "results": list(items),
        "_page": {"orderby": page.orderby, "next": following, "count": len(items)},
        "_links": {
            "next": None if following is None else {"href": f"{BASE}/{path}?{urlencode(query)}"},
            f"global_{word}": {"href": f"{BASE}/global/{word}"},
        },
    }


def update(who: Caller, id: str, moment: int, entry: Mapping[str, Any]) -> dict[str, Any]:
    """One item of an audit log."""
    return {
        "id": entry["resource"],
        "auditTrails": [
            {
                "id": f"{id}-{n}",
                "xdmType": entry["xdmType"],
                "action": action,
                "path": path,
                "value": value,
            }
            for n, (action, path, value) in enumerate(entry["trails"])
        ],
        "updatedUser": entry["updatedUser"],
        "imsOrg": who.org_id,
        "updated": moment,
        "clientId": entry["clientId"],
        "sandBoxId": entry["sandBoxId"],
    }


def identification(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The reduced item of `-id` views."""
    return {
        key: resource[key] for key in ("$id", "meta:altId", "version", "title") if key in resource
    }


def uses(resource: Mapping[str, Any], id: str) -> bool:
    """Whether a resource refers to another."""
    return id in external_references(resource) or id in every_reference(resource)
