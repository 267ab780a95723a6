"""Export and import: a resource and all of the tenant's resources that it needs, movable between tenants."""

import json
from collections.abc import Mapping
from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Caller
from headrace.services.registry import wire
from headrace.services.registry.authoring import Authoring
from headrace.services.registry.faults import invalid
from headrace.services.registry.service import STORED, RegistryService
from headrace.store.documents import Document, Scope
from headrace.xdm.resolve import every_reference

PLACEHOLDER = "<XDM_TENANTID_PLACEHOLDER>"
MOST_RESOURCES = 1000
_LEFT_OUT = ("imsOrg", "meta:registryMetadata", "meta:tenantNamespace", "refs")


def export(registry: RegistryService, who: Caller, id: str) -> list[dict[str, Any]]:
    """What the resource needs, then the resource itself; ApiError XDM-1012-404."""
    scope = Scope(who.org_id, who.sandbox)
    wanted = registry.document(scope, id)
    if wanted is None:
        text = f"Requested resource {id} with version 1 is not found"
        raise ApiError(404, "XDM-1012-404", "Resource Not Found", text)
    found: dict[str, Document] = {}

    def collect(document: Document) -> None:
        for reference in every_reference(document.body):
            needed = registry.document(scope, reference)
            if needed is not None and needed.id not in found and needed.id != document.id:
                collect(needed)
        found.setdefault(document.id, document)

    collect(wanted)
    lookup = registry.lookup(scope)
    return [
        _neutral(wire.document(document, who, lookup, write=False), who.tenant_id)
        for document in found.values()
    ]


def _neutral(resource: Mapping[str, Any], tenant: str) -> dict[str, Any]:
    text = json.dumps({key: value for key, value in resource.items() if key not in _LEFT_OUT})
    for form in ("https://ns.adobe.com/{}/", '"_{}.', '"_{}"', "/_{}/"):
        text = text.replace(form.format(tenant), form.format(PLACEHOLDER))
    neutral: dict[str, Any] = json.loads(text)
    return neutral


def take_in(
    registry: RegistryService, authoring: Authoring, who: Caller, body: Any
) -> list[dict[str, Any]]:
    """Store an export, all of it or nothing; ApiError XDM-3005-400 for ids and titles that are taken."""
    if not isinstance(body, list) or not body or not all(isinstance(r, dict) for r in body):
        raise invalid("The body must be an array of exported resources.")
    if len(body) > MOST_RESOURCES:
        raise invalid(f"An import may have at most {MOST_RESOURCES} resources.")
    scope = Scope(who.org_id, who.sandbox)
    stored = []
    with registry.store.transaction():
        for neutral in body:
            resource = json.loads(json.dumps(neutral).replace(PLACEHOLDER, who.tenant_id))
            id, kind = resource.get("$id"), resource.get("meta:resourceType")
            if kind not in STORED or not _ours(id, who.tenant_id, kind):
                raise _refused(f"{id} is no resource of the tenant with a known meta:resourceType.")
            if registry.document(scope, id) is not None:
                raise _refused(f"The resource {id} exists already.")
            try:
                stored.append(authoring.add(who, kind, id, resource))
            except ApiError as error:
                raise _refused(f"{id}: {error.detail}") from None
    return stored


def _ours(id: Any, tenant: str, kind: str) -> bool:
    head = f"https://ns.adobe.com/{tenant}/{kind}/"
    return isinstance(id, str) and id.startswith(head) and id[len(head) :].isalnum()


def _refused(detail: str) -> ApiError:
    return ApiError(400, "XDM-3005-400", "Import Resource Failed", detail)
