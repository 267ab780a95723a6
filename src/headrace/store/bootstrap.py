"""The first start of a data directory: an organisation, its production sandbox, one client, its credentials."""

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import ConfigurationError
from headrace.model.ids import hex_id, uuid_text
from headrace.security.keys import write_private
from headrace.store.documents import Scope, Store

SCOPES = "openid,AdobeID,read_organizations,additional_info.projectedProductContext,session"
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


def secret_digest(secret: str, salt: str) -> str:
    """The stored form of a client's secret. Secrets are random, so one keyed hash is enough."""
    return hmac.new(bytes.fromhex(salt), secret.encode(), hashlib.sha256).hexdigest()


def bootstrap(store: Store, data_dir: Path, base_url: str) -> Installation:
    """Set up what is missing; the same answer on every later start.

    `credentials.json` is rewritten when `base_url` changed. When it was lost or does not fit the stored client
    (a crash between the two writes), the client gets a new secret.
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
            secret = f"p8e-{secrets.token_urlsafe(32)}"
            salt = secrets.token_hex(16)
            client_id = client[0].id if client else secrets.token_hex(16)
            body = {
                "clientId": client_id,
                "salt": salt,
                "secret": secret_digest(secret, salt),
                "scopes": SCOPES,
                "userId": f"{client_id[:24].upper()}@techacct.adobe.com",
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


def _fits(credentials: dict[str, str], client: dict[str, str]) -> bool:
    digest = secret_digest(credentials["client_secret"], client["salt"])
    return credentials["client_id"] == client["clientId"] and hmac.compare_digest(
        digest, client["secret"]
    )


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
