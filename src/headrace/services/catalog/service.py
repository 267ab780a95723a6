"""Data sets over the document store; batches computed from commits."""

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Caller
from headrace.http.patch import PatchRefused, applied
from headrace.model.ids import hex_id
from headrace.services.catalog.batches import Batches
from headrace.services.catalog.lists import Items, refuse
from headrace.services.catalog.observable import observable_schema
from headrace.store.documents import Document, Scope, Store
from headrace.xdm.fields import Field

KIND = "dataSets"
PROTECTED = frozenset(
    {"id", "imsOrg", "sandboxId", "created", "updated", "createdClient", "createdUser", "updatedUser", "version",
     "viewId", "state", "namespace", "classification", "files"}
)  # fmt: skip
SchemaTree = Callable[[Scope, str], tuple[str, str, Field]]


def unknown(id: str) -> ApiError:
    return ApiError(404, "CAT-1404-404", "Resource not found", f"There is no data set {id}.")


class CatalogService:
    """`on_dataset(scope, id, tree)` creates the tables; `on_change` hears of every change.

    `observed(scope, id)` names the columns of a data set that hold data.
    """

    def __init__(
        self,
        store: Store,
        *,
        schema_tree: SchemaTree,
        behavior: Callable[[Scope, str], str],
        full_schema: Callable[[Scope, str], dict[str, Any]],
        observed: Callable[[Scope, str], set[tuple[str, ...]]],
        on_dataset: Callable[[Scope, str, Field], None],
        on_delete: Callable[[Scope, str], None],
        on_change: Callable[[], None],
    ) -> None:
        self._store = store
        self._bundle = threading.local()
        self.batches = Batches(store)
        self._schema_tree = schema_tree
        self._behavior = behavior
        self._full_schema = full_schema
        self._observed = observed
        self._on_dataset = on_dataset
        self._on_delete = on_delete
        self._on_change = on_change

    def together(self, scope: Scope, work: Callable[[], Any]) -> Any:
        """All that `work` does or nothing: what it created in the lake is dropped again when it fails."""
        before: set[str] = set()
        created: set[str] = set()
        dropped: set[str] = set()
        self._bundle.dropped = dropped
        try:
            with self._store.transaction():
                before = {document.id for document in self._store.list(scope, KIND)}
                try:
                    found = work()
                finally:
                    created = {document.id for document in self._store.list(scope, KIND)} - before
        except BaseException:
            dropped -= before
            dropped |= created
            raise
        finally:
            self._bundle.dropped = None
            for id in dropped:
                self._on_delete(scope, id)
            self._on_change()
        return found

    def observed(self, scope: Scope, datasets: Items) -> Items:
        """The data sets with their observable schemas."""
        return {
            id: item
            | {
                "observableSchema": observable_schema(
                    self._full_schema(scope, item["schemaRef"]["id"]), self._observed(scope, id)
                )
            }
            for id, item in datasets.items()
        }

    # -- data sets ------------------------------------------------------------------------------------------

    def dataset(self, scope: Scope, id: str) -> dict[str, Any] | None:
        found = self._store.get(scope, KIND, id)
        return self._shown(scope, found) if found else None

    def datasets(self, scope: Scope) -> Items:
        return {d.id: self._shown(scope, d) for d in self._store.list(scope, KIND)}

    def uses_schema(self, scope: Scope, schema_id: str) -> bool:
        return any(d.body["schemaRef"]["id"] == schema_id for d in self._store.list(scope, KIND))

    def create(
        self, who: Caller, body: Mapping[str, Any], *, data_source: bool, keep: bool = True
    ) -> str:
        """The new data set's id; ApiError 400. Without `keep` everything is checked and nothing stored."""
        scope = Scope(who.org_id, who.sandbox)
        name = _named(body)
        reference, tree = self._reference(scope, body.get("schemaRef"))
        id = hex_id(24)
        described = {"persisted": True, "containerFormat": "parquet", "format": "parquet"}
        stored = {k: v for k, v in body.items() if k not in PROTECTED} | {
            "schemaRef": reference,
            "fileDescription": described
            | dict(_object(body.get("fileDescription"), "fileDescription")),
            "tags": _with_system_tags(_tags(body.get("tags")), name),
            "viewId": hex_id(24),
            "imsOrg": who.org_id,
            "sandboxId": who.sandbox_id,
            "createdClient": who.client_id,
            "createdUser": who.user_id,
            "updatedUser": who.user_id,
        }
        if data_source:
            stored["dataSourceId"] = hex_id(24)
        if keep:
            with self._store.transaction():
                self._store.create(scope, KIND, id, stored)
                self._on_dataset(scope, id, tree)
            self._on_change()
        return id

    def update(
        self,
        who: Caller,
        id: str,
        change: Any,
        *,
        deep: bool,
        expected: str | None,
        keep: bool = True,
    ) -> None:
        """Merge an object, or apply a JSON Patch array."""
        scope = Scope(who.org_id, who.sandbox)
        with self._store.transaction():
            stored = self._stored(scope, id, expected)
            if isinstance(change, list):
                body = _patched(stored.body, change)
            elif isinstance(change, dict):
                allowed = {k: v for k, v in change.items() if k not in PROTECTED}
                body = _merged(stored.body, allowed, deep=deep)
            else:
                raise refuse("The body must be an object or a JSON Patch array.")
            self._write(who, scope, stored, body, keep)
        self._on_change()

    def replace(
        self,
        who: Caller,
        id: str,
        body: Mapping[str, Any],
        *,
        expected: str | None,
        keep: bool = True,
    ) -> None:
        scope = Scope(who.org_id, who.sandbox)
        with self._store.transaction():
            stored = self._stored(scope, id, expected)
            kept = {k: v for k, v in stored.body.items() if k == "dataSourceId"}
            wanted = {k: v for k, v in body.items() if k not in PROTECTED}
            wanted.setdefault("schemaRef", stored.body["schemaRef"])
            wanted.setdefault("fileDescription", stored.body["fileDescription"])
            wanted["tags"] = _with_system_tags(_tags(wanted.get("tags")), _named(wanted))
            self._write(who, scope, stored, kept | wanted, keep)
        self._on_change()

    def delete(
        self, who: Caller, id: str, *, expected: str | None = None, keep: bool = True
    ) -> bool:
        """Whether there was such a data set; ApiError 400 while it is used, 412 for another version."""
        scope = Scope(who.org_id, who.sandbox)
        with self._store.transaction():
            if self._store.get(scope, KIND, id) is None:
                return False
            self._stored(scope, id, expected)
            for flow in self._store.list(scope, "targetConnections"):
                if flow.body.get("params", {}).get("dataSetId") == id:
                    text = f"The target connection {flow.id} uses the data set: delete it first."
                    raise refuse(text)
            if keep:
                self._store.delete(scope, KIND, id)
        if keep:
            self._drop(scope, id)
            self._on_change()
        return True

    def _drop(self, scope: Scope, id: str) -> None:
        """Give up the tables of a data set; within `together` only once everything has succeeded."""
        dropped = getattr(self._bundle, "dropped", None)
        if dropped is None:
            self._on_delete(scope, id)
        else:
            dropped.add(id)

    def _write(
        self, who: Caller, scope: Scope, stored: Document, body: dict[str, Any], keep: bool
    ) -> None:
        body = {k: v for k, v in body.items() if k not in PROTECTED} | {
            k: v for k, v in stored.body.items() if k in PROTECTED
        }
        _named(body)
        _object(body.get("fileDescription"), "fileDescription")
        if body.get("schemaRef") != stored.body["schemaRef"]:
            before = stored.body["schemaRef"]["id"]
            body["schemaRef"], _ = self._reference(scope, body.get("schemaRef"))
            if body["schemaRef"]["id"] != before and self.batches.find(scope, stored.id):
                raise refuse("The schema of a data set that holds data cannot be exchanged.")
        body["tags"] = _tags(body.get("tags"))
        body["updatedUser"] = who.user_id
        if keep:
            self._store.replace(scope, KIND, stored.id, body, stored.version)

    def _stored(self, scope: Scope, id: str, expected: str | None) -> Document:
        stored = self._store.get(scope, KIND, id)
        if stored is None:
            raise unknown(id)
        if expected is not None and expected.strip('"') not in ("*", f"1.0.{stored.version}"):
            text = f"The data set is at version 1.0.{stored.version}, If-Match says {expected}."
            raise ApiError(412, "CAT-1412-412", "Precondition failed", text)
        return stored

    def _reference(self, scope: Scope, given: Any) -> tuple[dict[str, Any], Field]:
        if not isinstance(given, dict) or not isinstance(given.get("id"), str):
            raise refuse("The key 'schemaRef' is required: {id, contentType}.")
        content = given.get("contentType", "application/vnd.adobe.xed-full+json;version=1")
        version = re.search(r"version\s*=\s*\"?(\d+)", str(content))
        if version is not None and version[1] != "1":
            raise refuse(f"schemaRef.contentType is {content}: only major version 1 exists.")
        try:
            id, _, tree = self._schema_tree(scope, given["id"])
        except ApiError:
            raise refuse(f"The schema {given['id']} does not exist.") from None
        return {"id": id, "contentType": content}, tree

    def _shown(self, scope: Scope, stored: Document) -> dict[str, Any]:
        body = stored.body
        newest = self.batches.newest(stored.id)
        return {
            "name": body["name"],
            **{k: v for k, v in body.items() if k != "name"},
            "namespace": "ACP",
            "state": "ACTIVE",
            "version": f"1.0.{stored.version}",
            "created": stored.created,
            "updated": stored.updated,
            "classification": {
                "dataBehavior": self._behavior(scope, body["schemaRef"]["id"]),
                "managedBy": "CUSTOMER",
            },
            "files": f"@/dataSets/{stored.id}/views/{body['viewId']}/files",
            **newest,
        }


def last_batches(catalog: CatalogService, scope: Scope) -> Items:
    """`/lastBatches`, keyed by data set."""
    found: Items = {}
    for id, dataset in catalog.datasets(scope).items():
        if "lastBatchId" in dataset:
            found[id] = {
                "lastBatchId": dataset["lastBatchId"],
                "lastBatchStatus": dataset["lastBatchStatus"],
                "lastSuccessfulBatchId": dataset.get("lastSuccessfulBatch"),
                "lastFailedBatchId": dataset.get("lastFailedBatch"),
                "dataSetId": id,
                "imsOrg": dataset["imsOrg"],
                "sandboxId": dataset["sandboxId"],
                "created": dataset["created"],
                "updated": catalog.batches.moment(dataset["lastBatchId"]),
            }
    return found


def _named(body: Mapping[str, Any]) -> str:
    name = body.get("name")
    if not isinstance(name, str) or not name.strip():
        raise refuse("The key 'name' is required and must be a text.")
    return name


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refuse(f"The key '{name}' must be an object.")
    return value


def _tags(value: Any) -> dict[str, Any]:
    tags = dict(_object(value, "tags"))
    for name, values in tags.items():
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise refuse(f"The tag '{name}' must be an array of texts.")
    return tags


def _with_system_tags(tags: dict[str, Any], name: str) -> dict[str, Any]:
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "dataset"
    system = {
        "adobe/pqs/table": [slug],
        "adobe/siphon/table/format": ["iceberg"],
        "acp_validationContext": ["enabled"],
    }
    return tags | {key: value for key, value in system.items() if key not in tags}


def _merged(body: Mapping[str, Any], change: Mapping[str, Any], *, deep: bool) -> dict[str, Any]:
    out = dict(body)
    for key, value in change.items():
        have = out.get(key)
        if isinstance(value, dict) and isinstance(have, dict):
            out[key] = _merged(have, value, deep=True) if deep else {**have, **value}
        else:
            out[key] = value
    return out


def _patched(body: Mapping[str, Any], operations: list[Any]) -> dict[str, Any]:
    if len(operations) > 1000:
        raise refuse("A patch may have at most 1,000 operations.")
    protected = {f"/{name}" for name in PROTECTED}
    steps = []
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise refuse("Each operation of a patch needs 'op' and 'path'.")
        if "/" + operation["path"].lstrip("/").split("/")[0] in protected:
            raise refuse(f"{operation['path']} cannot be changed.")
        # clients replace tags that are not there yet
        if operation.get("op") == "replace" and operation["path"].startswith("/tags/"):
            operation = {**operation, "op": "add"}
        steps.append(operation)
    try:
        found = applied(dict(body), steps)
    except PatchRefused as error:
        raise refuse(str(error)) from None
    if not isinstance(found, dict):
        raise refuse("The patch must leave an object.")
    return found
