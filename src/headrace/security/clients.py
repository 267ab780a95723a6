"""The clients of an installation: who may ask for tokens, and what for.

Clients are never removed, only revoked, so that an id is never reused and old entries keep their author.
"""

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import ConfigurationError
from headrace.security.digests import digest
from headrace.security.tokens import Claims
from headrace.store.documents import Document, Scope, Store

KIND = "clients"
READ_ONLY = "read_only"
"""The scope of a token that may only read. Any client may ask for it to get a weaker token."""
SCOPES = "openid,AdobeID,read_organizations,additional_info.projectedProductContext,session"

_NOWHERE = ""  # clients belong to no sandbox
_SCOPE = re.compile(r"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,200}")
_FIRST = "bootstrap"


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client. `created` and `revoked` are milliseconds, `not_before` seconds since the epoch."""

    id: str
    org: str
    name: str
    scopes: tuple[str, ...]
    read_only: bool
    user_id: str
    created: int
    revoked: int | None
    not_before: int
    keys: tuple[dict[str, Any], ...] = field(repr=False)
    digest: str = field(repr=False)

    @property
    def effective(self) -> frozenset[str]:
        """The scopes of a token that asks for none."""
        return frozenset(self.scopes) | ({READ_ONLY} if self.read_only else set())


def new_secret() -> str:
    """256 random bits in the form of the original platform's secrets."""
    return f"p8e-{secrets.token_urlsafe(32)}"


def technical_account(client_id: str) -> str:
    """The id of the user that a client acts as."""
    return f"{client_id[:24].upper()}@techacct.adobe.com"


def add_client(
    store: Store,
    org: str,
    name: str,
    *,
    scopes: str = SCOPES,
    read_only: bool = False,
    keys: Sequence[dict[str, Any]] = (),
) -> tuple[Client, str]:
    """A new client and its secret, which is kept only as a hash: this is the one time it can be read.

    `scopes` is a list separated by commas, `keys` are public keys as `assertions.registered_key` answers them.
    ConfigurationError when the name is taken or unusable, or a scope is malformed.
    """
    name = name.strip()
    if not (0 < len(name) <= 100 and name.isprintable()):
        raise ConfigurationError("A client's name must be 1 to 100 printable characters.")
    chosen = list(dict.fromkeys(filter(None, (part.strip() for part in scopes.split(",")))))
    for scope in chosen:
        if not _SCOPE.fullmatch(scope):
            raise ConfigurationError(f"'{scope}' is not a scope.")
    read_only = read_only or READ_ONLY in chosen
    chosen = [scope for scope in chosen if scope != READ_ONLY] or SCOPES.split(",")
    secret, id = new_secret(), secrets.token_hex(16)
    body = {
        "clientId": id,
        "name": name,
        "secret": digest(secret),
        "scopes": ",".join(chosen),
        "readOnly": read_only,
        "userId": technical_account(id),
        "keys": list(keys),
    }
    with store.transaction():
        if any(c.name == name and c.revoked is None for c in list_clients(store, org)):
            raise ConfigurationError(f"There is a client named '{name}' already.")
        created = store.create(Scope(org, _NOWHERE), KIND, id, body)
    return _client(org, created), secret


def list_clients(store: Store, org: str) -> list[Client]:
    """All clients of an organisation in order of creation, revoked ones too."""
    return [_client(org, document) for document in store.list(Scope(org, _NOWHERE), KIND)]


def find_client(store: Store, id: str) -> Client | None:
    """A client that is registered and not revoked."""
    found = store.find(KIND, id) if id else None
    client = _client(found[0].org, found[1]) if found else None
    return client if client is not None and client.revoked is None else None


def revoke_client(store: Store, org: str, id: str) -> Client:
    """Ends a client and all its tokens at once; ConfigurationError when there is none. Repeating it does nothing."""
    scope = Scope(org, _NOWHERE)
    with store.transaction():
        found = store.get(scope, KIND, id)
        if found is None:
            raise ConfigurationError(f"There is no client '{id}'.")
        if found.body.get("revoked") is None:
            body = {**found.body, "revoked": int(time.time() * 1000)}
            found = store.replace(scope, KIND, id, body)
    return _client(org, found)


def client_of(store: Store, claims: Claims) -> Client | None:
    """The client that a token speaks for; None when it was revoked or got a new secret since."""
    client = find_client(store, claims.client_id)
    if client is None or client.org != claims.org_id or claims.issued < client.not_before:
        return None
    return client


def may_write(store: Store, claims: Claims) -> bool:
    """Whether the token's client is still registered and may do more than read."""
    client = client_of(store, claims)
    return client is not None and not client.read_only and READ_ONLY not in claims.scopes


def _client(org: str, document: Document) -> Client:
    body = document.body
    return Client(
        id=document.id,
        org=org,
        name=str(body.get("name", _FIRST)),
        scopes=tuple(filter(None, str(body.get("scopes", "")).split(","))),
        read_only=bool(body.get("readOnly", False)),
        user_id=str(body.get("userId", document.id)),
        created=document.created,
        revoked=body.get("revoked"),
        not_before=int(body.get("notBefore", 0)),
        keys=tuple(body.get("keys", ())),
        digest=str(body["secret"]),
    )
