"""Grants: who may have a token, and for what.

A client always proves itself with its secret. A code or an assertion comes on top:

* codes are those of `headrace client code`, each for one client, a few uses and a short time;
* an assertion must be signed by a public key registered with the client. For a client without one the secret is the
  only proof, and its assertion must merely be well-formed and current.
"""

import time
from collections.abc import Callable

from headrace.errors import ApiError
from headrace.security.assertions import AssertionRefused, check_signed, check_unsigned
from headrace.security.clients import READ_ONLY, Client, find_client
from headrace.security.codes import redeem_code
from headrace.security.digests import SecretChecks, TooManyAttempts
from headrace.security.tokens import Tokens
from headrace.store.documents import Store


def _refuse(code: str, detail: str) -> ApiError:
    return ApiError(400, code, "Invalid request", detail)


class ImsService:
    """Grants tokens to the installation's clients. `clock` answers seconds since the epoch."""

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        checks: SecretChecks | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._tokens, self._clock = store, tokens, clock
        self._checks = checks or SecretChecks()

    def client_credentials(self, fields: dict[str, str]) -> tuple[str, int]:
        """A token and its lifetime in seconds for `grant_type=client_credentials`."""
        if fields.get("grant_type") != "client_credentials":
            raise _refuse("unsupported_grant_type", "grant_type must be client_credentials")
        return self._issue(self._proven(fields), fields)

    def authorization_code(self, fields: dict[str, str]) -> tuple[str, int]:
        """The same for `grant_type=authorization_code`; takes one use of the code."""
        if fields.get("grant_type") != "authorization_code":
            raise _refuse("unsupported_grant_type", "grant_type must be authorization_code")
        client = self._proven(fields)
        scopes = self._scopes(client, fields)  # refused before the code is spent
        code = fields.get("code", "")
        if not code or not redeem_code(self._store, client.org, client.id, code, self._clock):
            raise _refuse("invalid_grant", "invalid code parameter")
        return self._tokens.issue(client.id, client.org, scopes, client.user_id)

    def jwt_exchange(self, fields: dict[str, str]) -> tuple[str, int]:
        """The same for an assertion of the client."""
        client = self._proven(fields)
        assertion, now = fields.get("jwt_token", ""), self._clock()
        try:
            if client.keys:
                check_signed(
                    assertion,
                    client.keys,
                    client_id=client.id,
                    org=client.org,
                    subject=client.user_id,
                    now=now,
                )
            else:
                check_unsigned(assertion, now=now)
        except AssertionRefused as error:
            raise _refuse("invalid_token", str(error)) from None
        return self._issue(client, fields)

    def _proven(self, fields: dict[str, str]) -> Client:
        client = find_client(self._store, fields.get("client_id", ""))
        if client is None:
            raise _refuse("invalid_client", "invalid client_id parameter")
        try:
            fits = self._checks.fits(client.id, fields.get("client_secret", ""), client.digest)
        except TooManyAttempts as error:
            wait = {"retry-after": str(SecretChecks.WINDOW_SECONDS)}
            raise ApiError(
                429, "too_many_requests", "Too many requests", str(error), headers=wait
            ) from None
        if not fits:
            raise _refuse("invalid_client", "invalid client_secret parameter")
        return client

    @staticmethod
    def _scopes(client: Client, fields: dict[str, str]) -> frozenset[str]:
        wanted = frozenset(fields.get("scope", "").replace(" ", ",").split(",")) - {""}
        unknown = wanted - frozenset(client.scopes) - {READ_ONLY}
        if unknown:
            raise _refuse("invalid_scope", f"invalid scope parameter: {','.join(sorted(unknown))}")
        chosen = (wanted - {READ_ONLY}) or frozenset(client.scopes)
        return chosen | ((wanted | client.effective) & {READ_ONLY})

    def _issue(self, client: Client, fields: dict[str, str]) -> tuple[str, int]:
        scopes = self._scopes(client, fields)
        return self._tokens.issue(client.id, client.org, scopes, client.user_id)
