"""The usage summary of a sandbox."""

import time
from collections.abc import Sequence
from typing import Any

from headrace.http.contract import Caller
from headrace.services.registry.service import STORED, RegistryService
from headrace.store.documents import Document, Scope

NEWEST = 10


def stats(registry: RegistryService, who: Caller) -> dict[str, Any]:
    """`GET /stats`."""
    scope = Scope(who.org_id, who.sandbox)
    documents = {kind: registry.store.list(scope, kind) for kind in STORED}
    everything = [document for found in documents.values() for document in found]
    schemas = {item["$id"]: item for item in registry.whole_listing(who, "schemas")}
    usage: dict[str, list[dict[str, Any]]] = {}
    for document in documents["schemas"]:
        item: dict[str, Any] = {
            k: document.body[k] for k in ("$id", "title", "description") if k in document.body
        }
        usage.setdefault(schemas[document.id]["meta:class"], []).append(item)

    def newest(moment: str, order: Sequence[Document]) -> list[dict[str, Any]]:
        return [_brief(registry, scope, document, moment, schemas) for document in order[:NEWEST]]

    return {
        "imsOrg": who.org_id,
        "tenantId": who.tenant_id,
        "counts": {kind: len(found) for kind, found in documents.items()}
        | {"unions": len(registry.unions(who))},
        "recentlyCreatedResources": newest("created", sorted(everything, key=lambda d: -d.created)),
        "recentlyUpdatedResources": newest("updated", sorted(everything, key=lambda d: -d.updated)),
        "classUsage": usage,
    }


def _brief(
    registry: RegistryService,
    scope: Scope,
    document: Document,
    moment: str,
    schemas: dict[str, Any],
) -> dict[str, Any]:
    names = ("title", "description", "meta:resourceType")
    out = {key: document.body[key] for key in names if key in document.body}
    when = time.gmtime(getattr(document, moment) / 1000)
    out[f"meta:{moment}"] = time.strftime("%a %b %d %Y %H:%M:%S GMT+0000 (UTC)", when)
    out |= {"version": f"1.{document.version}", "$id": document.id}
    if document.id in schemas:
        class_id = schemas[document.id]["meta:class"]
        title = (registry.lookup(scope)(class_id) or {}).get("title")
        out |= {"meta:class": class_id, "meta:classTitle": title}
    return out
