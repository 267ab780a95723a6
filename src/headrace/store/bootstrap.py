"""The first start of a data directory: an organisation, its production sandbox, one client, its credentials."""

import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import ConfigurationError
from headrace.model.ids import hex_id, uuid_text
from headrace.security.clients import SCOPES, new_secret, technical_account
from headrace.security.digests import digest, fits
from headrace.security.keys import write_private
from headrace.store.documents import Scope, Store

_NOWHERE = ""  # organisations and clients belong to no sandbox


@dataclass(frozen=True, slots=True)
class Installation:
    """What a data directory was set up with. The client's secret is not kept here."""

    org_id: str
    tenant_id: str
    client_id: str
    base_url: str
    sandbox: str
    sandbox_id: str


def bootstrap(store: Store, data_dir: Path, base_url: str) -> Installation:
    """Set up what is missing; the same answer on every later start.

    `credentials.json` is rewritten when `base_url` changed. When it was lost or does not fit the stored client
    (a crash between the two writes), the client gets a new secret and its older tokens end. Clients that were
    added later, and the client's revocation, stay as they are.
    """
    path = data_dir / "credentials.json"
    with store.transaction():
        organisations = store.everywhere("organisations")
        if organisations:
            organisation = organisations[0][1].body
        else:
            organisation = {
                "orgId": f"{secrets.token_hex(12).upper()}@AdobeOrg",
                "tenantId": f"headrace{hex_id(6)}",
            }
            store.create(
                Scope(organisation["orgId"], _NOWHERE),
                "organisations",
                organisation["orgId"],
                organisation,
            )
        scope = Scope(organisation["orgId"], _NOWHERE)
        if store.get(scope, "sandboxes", "prod") is None:
            store.create(
                scope,
                "sandboxes",
                "prod",
                {
                    "id": uuid_text(),
                    "name": "prod",
                    "title": "Prod",
                    "state": "active",
                    "type": "production",
                    "region": "VA7",
                    "isDefault": True,
                    "createdBy": "system",
                    "lastModifiedBy": "system",
                },
            )
        sandbox = store.get(scope, "sandboxes", "prod")
        assert sandbox is not None
        credentials = _read(path)
        client = store.list(scope, "clients")
        if not client or credentials is None or not _fits(credentials, client[0].body):
            secret = new_secret()
            client_id = client[0].id if client else secrets.token_hex(16)
            body = {
                **(_ended(client[0].body) if client else {"name": "bootstrap"}),
                "clientId": client_id,
                "secret": digest(secret),
                "scopes": SCOPES,
                "userId": technical_account(client_id),
            }
            if client:
                store.replace(scope, "clients", client_id, body)
            else:
                store.create(scope, "clients", client_id, body)
            credentials = {
                "base_url": "",
                "org_id": organisation["orgId"],
                "tenant_id": organisation["tenantId"],
                "client_id": client_id,
                "client_secret": secret,
                "scopes": SCOPES,
                "sandbox": "prod",
            }
        elif "salt" in client[0].body:
            renewed = {
                **_without_salt(client[0].body),
                "secret": digest(credentials["client_secret"]),
            }
            store.replace(scope, "clients", client[0].id, renewed)
        if credentials["base_url"] != base_url:
            credentials["base_url"] = base_url
            write_private(path, json.dumps(credentials, indent=2).encode() + b"\n")
    return Installation(
        org_id=organisation["orgId"],
        tenant_id=organisation["tenantId"],
        client_id=credentials["client_id"],
        base_url=base_url,
        sandbox="prod",
        sandbox_id=sandbox.body["id"],
    )


def _fits(credentials: dict[str, str], client: dict[str, Any]) -> bool:
    secret = credentials["client_secret"]
    if credentials["client_id"] != client["clientId"]:
        return False
    if "salt" in client:  # as written before secrets were hashed with scrypt
        salt = bytes.fromhex(client["salt"])
        keyed = hmac.new(salt, secret.encode(), hashlib.sha256).hexdigest()
        return hmac.compare_digest(keyed, client["secret"])
    return fits(secret, client["secret"])


def _ended(body: dict[str, Any]) -> dict[str, Any]:
    """The client without what its old secret gave."""
    return {**_without_salt(body), "notBefore": int(time.time())}


def _without_salt(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "salt"}


def _read(path: Path) -> dict[str, str] | None:
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
        return {name: str(found[name]) for name in _KEYS}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} is damaged ({error}); remove it to get a new client secret."
        ) from None


_KEYS = (
    "base_url",
    "org_id",
    "tenant_id",
    "client_id",
    "client_secret",
    "scopes",
    "sandbox",
)
