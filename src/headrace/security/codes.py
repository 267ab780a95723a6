"""Authorization codes: issued by the operator, kept only as hashes, good for few uses and a short time."""

import hashlib
import secrets
import time
from collections.abc import Callable

from headrace.errors import ConfigurationError
from headrace.security.clients import find_client
from headrace.security.tokens import SKEW_SECONDS
from headrace.store.documents import Scope, Store

KIND = "authorizationCodes"
LIFETIME_SECONDS = 600
LONGEST_SECONDS = 366 * 86_400


def issue_code(
    store: Store,
    org: str,
    client_id: str,
    *,
    lifetime: int = LIFETIME_SECONDS,
    uses: int = 1,
    clock: Callable[[], float] = time.time,
) -> str:
    """A code that the client exchanges for a token, `uses` times within `lifetime` seconds.

    Clients that ask for a token in each of their parts, always with the same code, need more uses than one.
    ConfigurationError when the client is not registered or a number is out of range.
    """
    client = find_client(store, client_id)
    if client is None or client.org != org:
        raise ConfigurationError(f"There is no client '{client_id}'.")
    if not (1 <= uses <= 1_000_000 and 1 <= lifetime <= LONGEST_SECONDS):
        raise ConfigurationError(
            f"A code has 1 to 1000000 uses and lives 1 to {LONGEST_SECONDS} seconds."
        )
    now = int(clock())
    code = secrets.token_urlsafe(32)
    body = {"clientId": client_id, "issued": now, "expires": now + lifetime, "uses": uses}
    scope = Scope(org, "")
    with store.transaction():
        for document in store.list(scope, KIND):
            if document.body["expires"] <= now:
                store.delete(scope, KIND, document.id)
        store.create(scope, KIND, _id(code), body)
    return code


def redeem_code(
    store: Store, org: str, client_id: str, code: str, clock: Callable[[], float] = time.time
) -> bool:
    """Whether the code is one of the client's and not used up or expired; takes one use of it."""
    scope, id = Scope(org, ""), _id(code)
    # One transaction: of two clients that race for the last use, one is refused.
    with store.transaction():
        found = store.get(scope, KIND, id)
        if found is None or found.body["clientId"] != client_id:
            return False
        if found.body["expires"] <= clock():
            store.delete(scope, KIND, id)
            return False
        # issued by a clock that was ahead, it would live as much longer
        if found.body.get("issued", 0) > clock() + SKEW_SECONDS:
            return False
        left = found.body["uses"] - 1
        if left:
            store.replace(scope, KIND, id, {**found.body, "uses": left})
        else:
            store.delete(scope, KIND, id)
    return True


def _id(code: str) -> str:
    # Codes are random, so that a plain hash cannot be turned back.
    return hashlib.sha256(code.encode("utf-8", errors="replace")).hexdigest()
