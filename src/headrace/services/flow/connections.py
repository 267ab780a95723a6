"""Base connections, and the source and target connections built on them."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from headrace.http.contract import Answer, Call
from headrace.model.ids import hex_id, uuid_text
from headrace.security.egress import Egress, EgressRefused
from headrace.security.vault import Vault
from headrace.services.flow import specs, wire
from headrace.services.flow.entities import Entities, audited, check, draft, scope_of, text
from headrace.services.flow.faults import connector, invalid
from headrace.store.documents import Document, Scope, Store

SEALED = "$sealed"
MASK = "******"


def spec_of(body: dict[str, Any]) -> dict[str, Any]:
    """The specification a body names; 1413 when unknown."""
    reference = body.get("connectionSpec")
    id = reference.get("id") if isinstance(reference, dict) else None
    found = specs.BY_ID.get(id) if isinstance(id, str) else None
    if found is None:
        raise invalid(1413, f"connectionSpec.id '{id}' is not known.")
    return found


class Connections:
    """Base connections. Secrets are sealed in the store and masked in answers."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        egress: Egress,
        public_url: str,
        on_change: Callable[[], None],
    ) -> None:
        self._on_change = on_change
        self.entities = Entities(store, "connections")
        self._vault, self._egress, self._url = vault, egress, public_url.rstrip("/")

    def create(self, call: Call) -> Answer:
        body, is_draft, id = call.object(), draft(call), uuid_text()
        name, spec = text(body, "name"), spec_of(body)
        out: dict[str, Any] = {"name": name, "state": "draft" if is_draft else "enabled"}
        out["connectionSpec"] = {"id": spec["id"], "version": "1.0"}
        if isinstance(body.get("description"), str):
            out["description"] = body["description"]
        if spec["authSpec"]:
            auth = body.get("auth") if isinstance(body.get("auth"), dict) else {}
            assert isinstance(auth, dict)
            form = specs.auth_spec(spec, auth.get("specName"))
            if form is None:
                names = ", ".join(entry["name"] for entry in spec["authSpec"])
                raise invalid(1415, f"auth.specName must be one of: {names}.")
            params = auth.get("params")
            check(form["spec"], params, "auth.params")
            assert isinstance(params, dict)
            if not is_draft:
                self._reachable(params)
            if spec["id"] == specs.HTTP:
                inlet = hex_id(64)
                params = {"sourceId": name, "name": name, "authenticationRequired": False, **params}
                params["inletId"] = inlet
            secret = specs.secret_names(form)
            sealed = {
                key: {SEALED: self._vault.seal(value, id)} if key in secret else value
                for key, value in params.items()
            }
            out["auth"] = {"specName": form["name"], "params": sealed}
        created = self.entities.create(call.who, out, id)
        self._on_change()
        return wire.written(created, 201)

    def publish(self, call: Call) -> Answer:
        made = self.entities.publish(call, self._publishable)
        self._on_change()
        return wire.written(made)

    def _publishable(self, document: Document) -> None:
        """A draft names hosts unchecked; they are checked before it can be used."""
        self._reachable(document.body.get("auth", {}).get("params", {}))

    def item(self, document: Document) -> dict[str, Any]:
        """The connection as answered, secrets masked."""
        out = audited(document)
        if "auth" in out:
            params = {
                key: MASK if isinstance(value, dict) and SEALED in value else value
                for key, value in out["auth"]["params"].items()
            }
            if "inletId" in params:  # computed anew: the server may have moved since
                params["inletUrl"] = f"{self._url}/collection/{params['inletId']}"
            out["auth"] = {**out["auth"], "params": params}
        return out

    def secrets(self, scope: Scope, id: str) -> dict[str, Any]:
        """The parameters in the clear, for a reader of the source."""
        params = self.entities.get(scope, id).body.get("auth", {}).get("params", {})
        return {
            key: self._vault.open(value[SEALED], id)
            if isinstance(value, dict) and SEALED in value
            else value
            for key, value in params.items()
        }

    def test(self, call: Call) -> Answer:
        document = self.entities.get(scope_of(call.who), call.params["id"])
        if document.body["connectionSpec"]["id"] == specs.HTTP:
            return Answer(200, {"result": True})
        raise connector(1305, "This connector is not built into this version; nothing was tested.")

    def _reachable(self, params: dict[str, Any]) -> None:
        targets: list[tuple[str, int]] = []
        try:
            if params.get("endpointUrl"):
                parts = urlsplit(params["endpointUrl"])
                targets.append((parts.hostname or "", parts.port or 443))
            for entry in filter(None, str(params.get("bootstrapServers", "")).split(",")):
                parts = urlsplit(f"//{entry.strip()}")
                targets.append((parts.hostname or "", parts.port or 9092))
            for host, port in targets:
                self._egress.check_literal(host, port)
        except (EgressRefused, ValueError) as error:
            raise invalid(1100, str(error)) from None


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
        if self._source and spec["authSpec"] and not base:
            raise connector(1304, "baseConnectionId is required.")
        if base:
            found = self._bases.get(scope_of(call.who), str(base))
            if found.body["connectionSpec"]["id"] != spec["id"]:
                raise invalid(1100, "connectionSpec.id differs from the base connection's.")
            if not is_draft:
                self._check_base(found)
            out["baseConnectionId"] = base
        if self._source and "sourceSpec" in spec:
            check(spec["sourceSpec"]["spec"], body.get("params") or {}, "params")
        elif not self._source and spec["id"] == specs.DATA_LAKE:
            params = body.get("params")
            if not (isinstance(params, dict) and isinstance(params.get("dataSetId"), str)):
                raise connector(1325, "params.dataSetId is required.")
        return wire.written(self.entities.create(call.who, out), 201)

    def publish(self, call: Call) -> Answer:
        def ready(document: Document) -> None:
            base = document.body.get("baseConnectionId")
            if base:
                self._check_base(self._bases.get(scope_of(call.who), base))

        return wire.written(self.entities.publish(call, ready))

    @staticmethod
    def _check_base(base: Document) -> None:
        if base.body["state"] == "draft":
            raise invalid(1444, f"The base connection {base.id} is a draft; publish it first.")
