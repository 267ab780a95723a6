"""Base connections: accounts with their credentials, sealed in the store and masked in answers."""

import copy
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from headrace.errors import Terminal, Transient
from headrace.http.contract import Answer, Call
from headrace.http.patch import Operation
from headrace.model.ids import hex_id, uuid_text
from headrace.security.egress import Egress, EgressRefused
from headrace.security.vault import Vault
from headrace.services.flow import specs, wire
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
from headrace.sources.connectors import connector as connector_of
from headrace.sources.connectors import known
from headrace.sources.contract import Settings
from headrace.store.documents import Document, Scope, Store

SEALED = "$sealed"
MASK = "******"
STATES = ("enabled", "disabled", "initializing")
_PATCHABLE = frozenset({"name", "description", "auth"})
_INLET = ("inletId", "inletUrl")
_PORTS = {"amqps": 5671, "amqp": 5672, "kafkas": 9093, "kafka": 9093, "https": 443, "http": 80}
"""Ports of addresses that name none."""


def spec_of(body: dict[str, Any]) -> dict[str, Any]:
    """The specification a body names; 1413 when unknown."""
    reference = body.get("connectionSpec")
    id = reference.get("id") if isinstance(reference, dict) else None
    found = specs.BY_ID.get(id) if isinstance(id, str) else None
    if found is None:
        raise invalid(1413, f"connectionSpec.id '{id}' is not known.")
    return found


def spec_fixed(step: Operation) -> None:
    """Refuse to change what a connection is made of."""
    if step.steps and step.steps[0] == "connectionSpec":
        raise invalid(1414, "The connectionSpec of a connection cannot be changed.")


def _fixed(step: Operation) -> None:
    spec_fixed(step)
    if step.steps[:1] == ["auth"] and step.steps[1:2] != ["params"]:
        raise invalid(1455, f"{step.path} cannot be changed; of auth only /auth/params can.")
    if step.steps[2:3] and step.steps[2] in _INLET:
        raise invalid(1455, f"{step.path} is given by the server.")


class Connections:
    """`on_payload(scope, id)` is called within the change of what an inlet's messages are."""

    def __init__(
        self, store: Store, vault: Vault, egress: Egress, public_url: str, on_change: Callable[[], None],
        on_payload: Callable[[Call, str], None],
    ) -> None:  # fmt: skip
        self.entities = Entities(store, "connections")
        self._vault, self._egress, self._url = vault, egress, public_url.rstrip("/")
        self._on_change, self._on_payload = on_change, on_payload

    def create(self, call: Call) -> Answer:
        body, is_draft, id = call.object(), draft(call), uuid_text()
        name, spec = text(body, "name"), spec_of(body)
        described(body, 1100)
        state = body.get("state") or "enabled"
        if state not in STATES:
            raise invalid(1456, f"state must be one of: {', '.join(STATES)}.")
        out: dict[str, Any] = {"name": name, "connectionSpec": {"id": spec["id"], "version": "1.0"}}
        # nothing takes time here, so what is to be initialised is enabled at once
        out["state"] = "draft" if is_draft else "enabled" if state == "initializing" else state
        if body.get("description") is not None:
            out["description"] = body["description"]
        if spec["authSpec"]:
            given = body.get("auth")
            auth: dict[str, Any] = given if isinstance(given, dict) else {}
            form = specs.auth_spec(spec, auth.get("specName"))
            if form is None:
                names = ", ".join(entry["name"] for entry in spec["authSpec"])
                raise invalid(1415, f"auth.specName must be one of: {names}.")
            params = auth.get("params")
            check(form["spec"], params, "auth.params")
            assert isinstance(params, dict)
            if not is_draft:
                self._reachable(spec, params)
            params = _completed(spec, params, name, hex_id(64))
            out["auth"] = {"specName": form["name"], "params": self._sealed(form, params, id)}
        created = self.entities.create(call.who, out, id)
        self._on_change()
        return wire.written(created, 201)

    def patch(self, call: Call) -> Answer:
        with self.entities.store.transaction():
            document = self.entities.get(scope_of(call.who), call.params["id"])
            self.entities.guard(call, document, required=True)
            settled(document, 1416)
            body = self._patched(call, document)
            made = self.entities.save(call.who, document, body)
            before, after = (
                whole.get("auth", {}).get("params", {}).get("dataType")
                for whole in (document.body, body)
            )
            if before != after:
                self._on_payload(call, document.id)
        self._on_change()
        return wire.written(made)

    def _patched(self, call: Call, document: Document) -> dict[str, Any]:
        """The body after the patch. It is applied to stand-ins: sealed values never meet what a caller wrote."""
        view = copy.deepcopy(document.body)
        params = view.get("auth", {}).get("params", {})
        kept: dict[str, dict[str, Any]] = {}
        for name, value in params.items():
            if isinstance(value, dict) and SEALED in value:
                token = secrets.token_hex(16)
                params[name], kept[token] = token, value
        body, _ = self.entities.patched(call, document, _PATCHABLE, _fixed, view)
        name = text(body, "name", 1455)
        described(body, 1455)
        if "auth" not in body:
            return body
        spec = specs.BY_ID[body["connectionSpec"]["id"]]
        form = specs.auth_spec(spec, body["auth"]["specName"])
        assert form is not None
        new = body["auth"].get("params")
        if isinstance(new, dict):
            by_name = {key: value for key, value in params.items() if _is_token(value, kept)}
            for key in specs.secret_names(form) & new.keys():
                if new[key] == MASK and key in by_name:  # sent back as it was answered
                    new[key] = by_name[key]
        check(form["spec"], new, "auth.params", 1455)
        if body["state"] != "draft":
            self._reachable(spec, new)
        old = document.body["auth"]["params"]
        new = _completed(spec, new, name, old.get("inletId"))
        opened = {key: value for key, value in new.items() if not _is_token(value, kept)}
        sealed = self._sealed(form, opened, document.id)
        same = {key: kept[value] for key, value in new.items() if key not in opened}
        return {**body, "auth": {**body["auth"], "params": {k: (sealed | same)[k] for k in new}}}

    def publish(self, call: Call) -> Answer:
        made = self.entities.publish(call, self._publishable)
        self._on_change()
        return wire.written(made)

    def _publishable(self, document: Document) -> None:
        """A draft names hosts unchecked; they are checked before it can be used."""
        spec = specs.BY_ID[document.body["connectionSpec"]["id"]]
        self._reachable(spec, document.body.get("auth", {}).get("params", {}))

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
        return self._vault.reveal(params, id)

    def test(self, call: Call) -> Answer:
        document = self.entities.get(scope_of(call.who), call.params["id"])
        if document.body["connectionSpec"]["id"] == specs.HTTP:
            return Answer(200, {"result": True})
        spec_id = document.body["connectionSpec"]["id"]
        if not known(spec_id):
            raise connector(
                1305, "This connector is not built into this version; nothing was tested."
            )
        try:
            found = connector_of(spec_id)
            found.check(self.settings(scope_of(call.who), document.id, {}))
        except (Terminal, Transient) as error:
            raise connector(1000, f"The connection does not work: {error}") from None
        return Answer(200, {"result": True})

    def settings(self, scope: Scope, id: str, params: Mapping[str, Any]) -> Settings:
        """What a connector is called with for a base connection."""
        auth = self.entities.get(scope, id).body.get("auth", {})
        secrets = self.secrets(scope, id)
        return Settings(auth.get("specName", ""), secrets, params, "", self._egress.check)

    def _sealed(self, form: dict[str, Any], params: dict[str, Any], id: str) -> dict[str, Any]:
        # what the spec does not know may be anything: better masked than shown
        secret = specs.secret_names(form) | (
            params.keys() - form["spec"].get("properties", {}).keys()
        )
        if any(isinstance(value, dict) and SEALED in value for value in params.values()):
            raise invalid(1100, f"A parameter cannot be an object with {SEALED}.")
        return {
            key: {SEALED: self._vault.seal(value, id)} if key in secret else value
            for key, value in params.items()
        }

    def _reachable(self, spec: dict[str, Any], params: dict[str, Any]) -> None:
        try:
            for host, port in _targets(spec["id"], params):
                self._egress.check_literal(host, port)
        except (EgressRefused, ValueError) as error:
            raise invalid(1100, str(error)) from None


def _targets(spec_id: str, params: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Hosts and ports that a connection makes its reader connect to; ValueError for what is no address."""
    ports = _PORTS | ({"": 8085, "http": 8085} if spec_id == specs.PUBSUB else {"": 443})
    if given := str(params.get("endpointUrl") or "").strip():
        parts = urlsplit(given if "://" in given else f"//{given}")
        default = ports.get(parts.scheme, 443)
        yield parts.hostname or "", default if parts.port is None else parts.port
    namespace = str(params.get("namespace") or "").strip().removeprefix("sb://").rstrip("/")
    if spec_id == specs.EVENT_HUBS and "." in namespace:  # a whole host name
        yield namespace, _PORTS["amqps"]
    for entry in filter(None, str(params.get("bootstrapServers", "")).split(",")):
        parts = urlsplit(f"//{entry.strip()}")
        yield parts.hostname or "", 9092 if parts.port is None else parts.port


def _is_token(value: Any, kept: dict[str, dict[str, Any]]) -> bool:
    return isinstance(value, str) and value in kept


def _completed(
    spec: dict[str, Any], params: dict[str, Any], name: str, inlet: str | None
) -> dict[str, Any]:
    """The parameters with what the server gives an HTTP API connection; its address is never taken from outside."""
    if spec["id"] != specs.HTTP:
        return params
    given = {key: value for key, value in params.items() if key not in _INLET}
    whole = {"sourceId": name, "name": name, "authenticationRequired": False, **given}
    return whole | ({"inletId": inlet} if inlet else {})
