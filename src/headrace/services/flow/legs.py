"""Source connections and target connections: the two ends of a dataflow."""

from typing import Any

from headrace.http.contract import Answer, Call
from headrace.services.flow import specs, wire
from headrace.services.flow.connections import spec_fixed, spec_of
from headrace.services.flow.entities import (
    Entities,
    audited,
    check,
    described,
    draft,
    scope_of,
    settled,
    text,
)
from headrace.services.flow.faults import connector, invalid
from headrace.store.documents import Document, Scope, Store

FORMATS = ("delimited", "json", "parquet", "tabular", "parquet_xdm")
_PATCHABLE = frozenset({"name", "description", "params", "data"})


class Legs:
    """Source connections or target connections."""

    def __init__(self, store: Store, kind: str) -> None:
        self.entities = Entities(store, kind)
        self._bases = Entities(store, "connections")
        self._source = kind == "sourceConnections"

    def create(self, call: Call) -> Answer:
        body, is_draft = call.object(), draft(call)
        out: dict[str, Any] = {"name": text(body, "name"), "state": "enabled"}
        out["state"] = "draft" if is_draft else "enabled"
        spec = spec_of(body)
        keep = ("description", "data", "params")
        out |= {key: body[key] for key in keep if body.get(key) is not None}
        out["connectionSpec"] = {"id": spec["id"], "version": "1.0"}
        base = body.get("baseConnectionId") or body.get("connectionId")
        if body.get("connectionId") not in (None, base):
            raise invalid(1100, "connectionId and baseConnectionId differ; send one.")
        self._check(out, spec, 1100)
        if base:
            out["baseConnectionId"] = self._base(scope_of(call.who), str(base), spec, is_draft)
        elif self._source and spec["authSpec"]:
            raise connector(1304, "baseConnectionId is required.")
        return wire.written(self.entities.create(call.who, out), 201)

    def item(self, document: Document) -> dict[str, Any]:
        """As answered; what is inherited of the base connection follows from its id and their common spec."""
        out = audited(document)
        base = out.get("baseConnectionId")
        if base:
            reference = {"id": base, "connectionSpec": out["connectionSpec"]}
            out["inheritedAttributes"] = {"baseConnection": reference}
        return out

    def patch(self, call: Call) -> Answer:
        """Dataflows keep what they took of it until they are changed themselves."""
        with self.entities.store.transaction():
            document = self.entities.get(scope_of(call.who), call.params["id"])
            self.entities.guard(call, document, required=True)
            settled(document, 1420)
            body, _ = self.entities.patched(call, document, _PATCHABLE, spec_fixed)
            text(body, "name", 1455)
            self._check(body, specs.BY_ID[body["connectionSpec"]["id"]], 1455)
            return wire.written(self.entities.save(call.who, document, body))

    def publish(self, call: Call) -> Answer:
        def ready(document: Document) -> None:
            base = document.body.get("baseConnectionId")
            if base:
                self._usable(self._bases.get(scope_of(call.who), base))

        return wire.written(self.entities.publish(call, ready))

    def _check(self, body: dict[str, Any], spec: dict[str, Any], number: int) -> None:
        described(body, number)
        data, params = body.get("data", {}), body.get("params", {})
        if not isinstance(data, dict) or not isinstance(params, dict):
            raise invalid(number, "data and params must be objects.")
        if data.get("format", FORMATS[0]) not in FORMATS:
            raise connector(1327, f"data.format must be one of: {', '.join(FORMATS)}.")
        if self._source and "sourceSpec" in spec:
            check(spec["sourceSpec"]["spec"], params, "params", number)
        dataset = params.get("dataSetId")
        lake = not self._source and spec["id"] == specs.DATA_LAKE
        if lake and not (isinstance(dataset, str) and dataset):
            raise connector(1325, "params.dataSetId is required.")

    def _base(self, scope: Scope, id: str, spec: dict[str, Any], is_draft: bool) -> str:
        if self._source and not spec["authSpec"]:
            raise connector(1332, f"{spec['name']} must not have a baseConnectionId.")
        found = self._bases.get(scope, id)
        if found.body["connectionSpec"]["id"] != spec["id"]:
            raise invalid(1100, "connectionSpec.id differs from the base connection's.")
        if not is_draft:
            self._usable(found)
        return id

    @staticmethod
    def _usable(base: Document) -> None:
        if base.body["state"] == "draft":
            raise invalid(1444, f"The base connection {base.id} is a draft; publish it first.")
