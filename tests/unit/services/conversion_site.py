"""Conversion Service in process, with a registry to build target schemas in and a second sandbox."""

import json
from pathlib import Path
from typing import Any

import httpx

from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.security.tokens import Tokens
from headrace.services import conversion, registry
from headrace.services.conversion import ConversionService
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope, Store
from headrace.testing.calls import InProcess
from headrace.xdm.library import Library

BASE = "/data/foundation/conversion"
SETS = f"{BASE}/mappingSets"
REGISTRY = "/data/foundation/schemaregistry/tenant"
PROFILE = "https://ns.adobe.com/xdm/context/profile"
FULL = "application/vnd.adobe.xed-full+json;version=1"
NAME_RULE = {
    "sourceType": "ATTRIBUTE",
    "source": "firstName",
    "destination": "person.name.firstName",
}
PROPERTIES: dict[str, Any] = {
    "tier": {"type": "string", "title": "Loyalty tier"},
    "points": {"type": "integer"},
    "member": {"type": "boolean"},
    "since": {"type": "string", "format": "date-time"},
    "card": {"type": "object", "properties": {"number": {"type": "string"}}},
    "orders": {
        "type": "array",
        "items": {"type": "object", "properties": {"sku": {"type": "string"}, "count": {"type": "integer"}}},
    },
    "labels": {"type": "array", "items": {"type": "string"}},
}  # fmt: skip


class Site:
    def __init__(self, directory: Path) -> None:
        self.store = Store(directory / "store.db")
        installation = bootstrap(self.store, directory, "http://localhost")
        self.org = installation.org_id
        self.tenant = installation.tenant_id
        self.user = json.loads((directory / "credentials.json").read_text())["client_id"]
        self.scope, self.other = Scope(self.org, "prod"), Scope(self.org, "stage")
        self.store.create(Scope(self.org, ""), "sandboxes", "stage", {
            "id": "s", "name": "stage", "title": "s", "state": "active", "type": "development",
            "region": "VA7", "isDefault": False, "createdBy": "t", "lastModifiedBy": "t",
        })  # fmt: skip
        schemas = registry.RegistryService(self.store, Library(directory / "imported"))
        authoring = registry.Authoring(
            schemas, in_use=lambda scope, id: False, changed=lambda scope, id: None
        )
        descriptors = registry.Descriptors(schemas, namespace_known=lambda code, id: True)
        self.columns: dict[str, list[str]] = {}
        self.service = ConversionService(
            self.store, schema_tree=schemas.schema_tree, full_schema=schemas.full_schema,
            columns=lambda scope, id: self.columns.get(id, []),
        )  # fmt: skip
        gateway = Gateway(self.store, Tokens(b"k" * 32), "off", installation)
        routes = [
            *registry.routes(schemas, authoring, descriptors),
            *conversion.routes(self.service),
        ]
        headers = {"x-api-key": installation.client_id, "x-gw-ims-org-id": self.org}
        self.web = InProcess(build(routes, gateway, title="t"), headers)
        self.schema = self.new_schema("people")

    def new_schema(self, title: str, sandbox: str = "prod") -> str:
        """`$id` of a profile schema with names and PROPERTIES below the tenant's namespace."""
        headers = {"x-sandbox-name": sandbox}
        group = self.web.post(f"{REGISTRY}/fieldgroups", headers=headers, json={
            "title": f"{title} fields", "type": "object", "meta:intendedToExtend": [PROFILE],
            "definitions": {"customFields": {"type": "object", "properties": {
                f"_{self.tenant}": {"type": "object", "properties": PROPERTIES}}}},
            "allOf": [{"$ref": "#/definitions/customFields"}],
        })  # fmt: skip
        parts = [PROFILE, f"{PROFILE}-person-details", group.json()["$id"]]
        made = self.web.post(f"{REGISTRY}/schemas", headers=headers, json={
            "title": title, "type": "object", "allOf": [{"$ref": part} for part in parts],
        })  # fmt: skip
        assert made.status_code == 201, made.text
        return str(made.json()["$id"])

    def own(self, path: str) -> str:
        return f"_{self.tenant}.{path}"

    def body(self, *rules: dict[str, Any], **others: Any) -> dict[str, Any]:
        """A mapping set in the modern shape."""
        ref = {"id": self.schema, "contentType": FULL}
        return {"outputSchema": {"schemaRef": ref}, "mappings": list(rules), **others}

    def create(self, *rules: dict[str, Any], sandbox: str = "prod", **others: Any) -> str:
        """The id of a new mapping set."""
        headers = {"x-sandbox-name": sandbox}
        answer = self.web.post(SETS, json=self.body(*rules, **others), headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def put(self, path: str, body: Any) -> httpx.Response:
        return self.web.request("PUT", path, json=body)


def refused(answer: httpx.Response, status: int) -> str:
    """The text of an error, once its shape is one that clients recognise."""
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert body["status"] == status
    assert body["type"].startswith("http://ns.adobe.com/aep/errors/DPS-")
    assert body["detail"] == body["errorMessage"]
    assert body["report"]["registryRequestId"]
    return str(body["detail"])
