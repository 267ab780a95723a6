"""Dataflows: checks at creation, revisions, states."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from headrace.errors import ApiError, Terminal
from headrace.http.contract import Answer, Call
from headrace.http.patch import Operation
from headrace.model.flow import FlowRevision, Rule
from headrace.model.ids import uuid_text
from headrace.runtime.opening import source_of
from headrace.runtime.stops import Stops
from headrace.services.flow import flow_specs, specs, wire
from headrace.services.flow.actions import operation
from headrace.services.flow.entities import (
    Entities,
    audited,
    described,
    draft,
    scope_of,
    settled,
    stamped,
    text,
)
from headrace.services.flow.faults import connector, invalid
from headrace.sources.connectors import connector as connector_of
from headrace.sources.connectors import known
from headrace.sources.contract import Settings
from headrace.store.documents import Document, Scope, Store
from headrace.store.revisions import Revisions
from headrace.xdm.fields import Field

logger = logging.getLogger("headrace")


class MappingSet(Protocol):
    """What a dataflow needs of a mapping set."""

    @property
    def version(self) -> int: ...
    @property
    def rules(self) -> tuple[Rule, ...]: ...
    @property
    def allow_null_values(self) -> bool: ...
    @property
    def schema_id(self) -> str: ...


Datasets = Callable[[Scope, str], dict[str, Any] | None]
SchemaTree = Callable[[Scope, str], tuple[str, str, Field]]
Mappings = Callable[[Scope, str, int | None], MappingSet | None]
SettingsOf = Callable[[Scope, str, Mapping[str, Any]], Settings]
_ACTIONS = {"publish": ("draft", "enabled"), "enable": ("disabled", "enabled")}
_ACTIONS |= {"disable": ("enabled", "disabled")}
_PATCHABLE = frozenset(
    {"name", "description", "transformations", "scheduleParams", "labels", "policy", "options"}
)


class Flows:
    """Dataflows of the store; every change of what decides a record's fate is a new revision."""

    def __init__(
        self, store: Store, revisions: Revisions, datasets: Datasets, schema_tree: SchemaTree,
        mapping_set: Mappings, on_change: Callable[[], None], settings: SettingsOf,
    ) -> None:  # fmt: skip
        self.entities = Entities(store, "flows")
        self._store, self._revisions = store, revisions
        self._datasets, self._schema_tree, self._mapping_set = datasets, schema_tree, mapping_set
        self._on_change, self._settings = on_change, settings
        self._stops = Stops(store)

    def create(self, call: Call) -> Answer:
        body, is_draft, scope = call.object(), draft(call), scope_of(call.who)
        if "state" in body:
            raise invalid(1410, "state cannot be set when a flow is created.")
        reference = body.get("flowSpec")
        spec_id = reference.get("id") if isinstance(reference, dict) else None
        if not isinstance(spec_id, str) or spec_id not in flow_specs.BY_ID:
            raise invalid(1413, f"flowSpec.id '{spec_id}' is not known.")
        keep = _PATCHABLE & body.keys()
        out: dict[str, Any] = {name: body[name] for name in keep if body[name] is not None}
        out["flowSpec"] = {"id": spec_id, "version": "1.0"}
        for name in ("sourceConnectionIds", "targetConnectionIds"):
            given = body.get(name)
            ids = [given] if isinstance(given, str) else given
            if not isinstance(ids, list) or len(ids) != 1:
                raise connector(1321, f"{name} must have exactly one id.")
            if not isinstance(ids[0], str) or not ids[0]:
                raise connector(1338, f"{name} must not hold an empty id.")
            out[name] = ids
        id = uuid_text()
        out = {"name": id, **out}
        _well_formed(out, 1100)
        out |= {"state": "draft" if is_draft else "enabled", "revision": 0}
        with self._store.transaction():
            self._inherit(scope, out, spec_id, is_draft)
            made = self.entities.create(call.who, operated(out, "create"), id)
            if not is_draft:
                made = self._revise(call, id)
                self._check_alone(scope, id)
        self._on_change()
        return wire.written(made, 201)

    def item(self, document: Document) -> dict[str, Any]:
        return {**audited(document), "runs": f"/runs?property=flowId=={document.id}"}

    def patch(self, call: Call) -> Answer:
        with self._store.transaction():
            document = self.entities.get(scope_of(call.who), call.params["id"])
            self.entities.guard(call, document, required=True)
            settled(document, 1420)
            body, operations = self.entities.patched(call, document, _PATCHABLE)
            _well_formed(body, 1455)
            body = operated(body, "update", operations)
            made = self.entities.save(call.who, document, body)
            touched = any(step.steps[0] == "transformations" for step in operations)
            if touched and body["state"] != "draft":
                made = self._revise(call, document.id)
        self._on_change()
        return wire.written(made)

    def act(self, call: Call) -> Answer:
        with self._store.transaction():
            document = self.entities.get(scope_of(call.who), call.params["id"])
            op = operation(call, _ACTIONS)
            before, after = _ACTIONS[op]
            self.entities.guard(call, document, required=False)
            settled(document, 1421)
            state = document.body["state"]
            if state != before:
                raise invalid(1422, f"{op} is not possible in state {state}.")
            body = operated({**document.body, "state": after}, op)
            made = self.entities.save(call.who, document, body)
            if op == "publish":
                self._inherit(scope_of(call.who), made, made["flowSpec"]["id"], False)
                made = self._revise(call, document.id)
            if after == "enabled":
                self._check_alone(scope_of(call.who), document.id)
        self._on_change()
        return wire.written(made)

    def _check_alone(self, scope: Scope, id: str) -> None:
        """A consumer group or a subscription serves one enabled flow, in whatever sandbox."""
        body = self.entities.get(scope, id).body
        source = source_of(body)
        if not known(source):
            return
        mine = self._shared(scope, body)
        if mine is None:
            return
        for where, other in self._store.everywhere("flows"):
            same = other.id != id and source_of(other.body) == source
            if (
                same
                and other.body.get("state") == "enabled"
                and self._shared(where, other.body) == mine
            ):
                flow = f"The flow {other.id}" if where == scope else "A flow of another sandbox"
                raise connector(1000, f"{flow} reads {mine} already.")

    def _shared(self, scope: Scope, body: Mapping[str, Any]) -> str | None:
        """What of its source a flow cannot share with another."""
        latest = self._revisions.latest(body["id"])
        if latest is None:
            return None
        try:
            settings = self._settings(
                scope, body["baseConnectionId"], latest.source_params["params"]
            )
            return connector_of(latest.source).exclusive(settings)
        except Terminal as error:
            raise connector(1000, str(error)) from None

    def delete(self, call: Call) -> Answer:
        with self._store.transaction():
            document = self.entities.get(scope_of(call.who), call.params["id"])
            self.entities.guard(call, document, required=False)
            settled(document, 1458)
            self._store.delete(scope_of(call.who), "flows", document.id)
            self._stops.forget(document.id)
        self._on_change()
        return Answer(204)

    def refresh_connection(self, call: Call, connection_id: str) -> None:
        """A new revision for every published flow whose base connection changed what its messages are."""
        for document in self._store.list(scope_of(call.who), "flows"):
            body = document.body
            if body.get("baseConnectionId") == connection_id and body["state"] != "draft":
                self._revise(call, document.id)

    def refresh_schema(self, scope: Scope, schema_id: str) -> None:
        """A new revision for every published flow that lands in the schema."""
        for id in [document.id for document in self._store.list(scope, "flows")]:
            with self._store.transaction():  # others change flows meanwhile
                document, latest = self._store.get(scope, "flows", id), self._revisions.latest(id)
                if document is None or latest is None or latest.schema_id != schema_id:
                    continue
                body = {**document.body, "revision": latest.revision + 1}
                try:
                    revision = self._plan(scope, body)
                except ApiError as error:
                    # what it lands in is gone: the others must not wait for it
                    logger.warning("flow %s keeps its revision: %s", id, error.detail)
                    continue
                self._revisions.add(revision)
                self._store.replace(scope, "flows", id, stamped(body))
        self._on_change()

    def _inherit(self, scope: Scope, out: dict[str, Any], spec_id: str, is_draft: bool) -> None:
        source = Entities(self._store, "sourceConnections").get(
            scope, out["sourceConnectionIds"][0]
        )
        target = Entities(self._store, "targetConnections").get(
            scope, out["targetConnectionIds"][0]
        )
        spec, kind = flow_specs.BY_ID[spec_id], source.body["connectionSpec"]["id"]
        if not is_draft and "draft" in (source.body["state"], target.body["state"]):
            raise invalid(1444, "A source or target connection is a draft; publish it first.")
        if kind not in spec["sourceConnectionSpecIds"]:
            raise invalid(1100, f"The flow spec does not take sources of spec {kind}.")
        if target.body["connectionSpec"]["id"] not in spec["targetConnectionSpecIds"]:
            raise connector(1307, "The target connection's spec is not the data lake.")
        if kind != specs.HTTP and not known(kind):
            raise connector(1305, "This connector type is not available in this version.")
        base = source.body["baseConnectionId"]
        out["baseConnectionId"] = base
        reference = source.body["connectionSpec"]
        target_reference = {"id": target.id, "connectionSpec": target.body["connectionSpec"]}
        out["inheritedAttributes"] = {
            "properties": {"isSourceFlow": True},
            "sourceConnections": [
                {
                    "id": source.id,
                    "connectionSpec": reference,
                    "baseConnection": {"id": base, "connectionSpec": reference},
                }
            ],
            "targetConnections": [target_reference],
        }

    def _revise(self, call: Call, id: str) -> dict[str, Any]:
        scope = scope_of(call.who)
        document = self.entities.get(scope, id)
        body = {**document.body, "revision": document.body["revision"] + 1}
        self._revisions.add(self._plan(scope, body))
        return self.entities.save(call.who, document, body)

    def _plan(self, scope: Scope, body: dict[str, Any]) -> FlowRevision:
        targets = Entities(self._store, "targetConnections")
        dataset_id = targets.get(scope, body["targetConnectionIds"][0]).body["params"]["dataSetId"]
        dataset = self._datasets(scope, dataset_id)
        if dataset is None:
            raise connector(1325, f"There is no data set '{dataset_id}'.")
        schema_id, version, tree = self._schema_tree(scope, dataset["schemaRef"]["id"])
        mapping_id, mapping = self._mapping(scope, body)
        if mapping is not None and mapping.schema_id:
            try:
                other = self._schema_tree(scope, mapping.schema_id)[0]
            except ApiError:
                other = mapping.schema_id
            if other != schema_id:
                raise invalid(1425, f"The mapping is for {other}, the data set for {schema_id}.")
        base = Entities(self._store, "connections").get(scope, body["baseConnectionId"]).body
        source = Entities(self._store, "sourceConnections").get(
            scope, body["sourceConnectionIds"][0]
        )
        return FlowRevision(
            flow_id=body["id"], revision=body["revision"], org_id=scope.org, sandbox=scope.sandbox,
            dataset_id=dataset_id, schema_id=schema_id, schema_version=version,
            schema=tree.to_json(), rules=mapping.rules if mapping else None,
            mapping_id=mapping_id, mapping_version=mapping.version if mapping else None,
            allow_null_values=mapping.allow_null_values if mapping else False,
            **_read_from(body, source.body, base),
        )  # fmt: skip

    def _mapping(self, scope: Scope, body: dict[str, Any]) -> tuple[str | None, MappingSet | None]:
        given = body.get("transformations") or []
        required = body["flowSpec"]["id"] == flow_specs.WITH_TRANSFORMATION
        if not given and not required:
            return None, None
        first = given[0] if isinstance(given, list) and given else None
        params = first.get("params") if isinstance(first, dict) else None
        id = params.get("mappingId") if isinstance(params, dict) else None
        if not isinstance(first, dict) or first.get("name") != "Mapping" or not isinstance(id, str):
            raise invalid(1419, "transformations needs one Mapping with params.mappingId.")
        assert isinstance(params, dict)
        version = params.get("mappingVersion")
        if version is not None and not str(version).isdecimal():
            raise invalid(1412, f"mappingVersion '{version}' is not a number.")
        if self._mapping_set(scope, id, None) is None:
            raise invalid(1419, f"There is no mapping set '{id}'.")
        found = self._mapping_set(scope, id, None if version is None else int(version))
        if found is None:
            raise invalid(1412, f"Mapping set '{id}' has no version {version}.")
        return id, found


def _read_from(
    body: Mapping[str, Any], source: Mapping[str, Any], base: Mapping[str, Any]
) -> dict[str, Any]:
    """What a flow revision says of where its records come from."""
    kind = source["connectionSpec"]["id"]
    if kind == specs.HTTP:
        return {"payload": base["auth"]["params"]["dataType"]}
    params = source.get("params") or {}
    return {
        "source": kind,
        "payload": params.get("dataType") or "raw",
        "format": "delimited"
        if (source.get("data") or {}).get("format") == "delimited"
        else "json",
        "source_params": {
            "connectionId": body["baseConnectionId"],
            "params": params,
            "reset": params.get("reset") or "earliest",
        },
    }


def operated(
    body: dict[str, Any], name: str, operations: Sequence[Operation] = ()
) -> dict[str, Any]:
    """The body with what was done to it last."""
    now = int(time.time() * 1000)
    steps = [
        {"op": step.op, "path": step.path} | ({"value": step.value} if step.has_value else {})
        for step in operations
    ]
    last = {
        "started": now,
        "updated": now,
        "percentCompleted": 100.0,
        "status": {"value": "completed", "errors": []},
        "ops": steps,
        "operation": name,
    }
    return {**body, "lastOperation": last}


def _well_formed(body: dict[str, Any], number: int) -> None:
    """Types of what a caller may set."""
    text(body, "name", number)
    described(body, number)
    for name, kind, word in (
        ("transformations", list, "an array"), ("labels", list, "an array"), ("policy", dict, "an object"),
        ("options", dict, "an object"), ("scheduleParams", dict, "an object"),
    ):  # fmt: skip
        if not isinstance(body.get(name, kind()), kind):
            raise invalid(number, f"{name} must be {word}.")
    if not all(isinstance(label, str) for label in body.get("labels", ())):
        raise invalid(number, "labels must be texts.")
    if body.get("policy", {}).get("fields") == []:
        raise invalid(1431, "policy.fields must not be empty.")
