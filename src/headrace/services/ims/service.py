"""Grants: who may have a token, and for what."""

import hmac

import jwt

from headrace.errors import ApiError
from headrace.security.tokens import Tokens
from headrace.store.bootstrap import secret_digest
from headrace.store.documents import Store


def _refuse(code: str, detail: str) -> ApiError:
    return ApiError(400, code, "Invalid request", detail)


class ImsService:
    """Grants tokens to the installation's clients."""

    def __init__(self, store: Store, tokens: Tokens) -> None:
        self._store = store
        self._tokens = tokens

    def client_credentials(self, fields: dict[str, str]) -> tuple[str, int]:
        """A token and its lifetime in seconds for `grant_type=client_credentials`."""
        if fields.get("grant_type") != "client_credentials":
            raise _refuse("unsupported_grant_type", "grant_type must be client_credentials")
        return self._issue(fields)

    def authorization_code(self, fields: dict[str, str]) -> tuple[str, int]:
        """The same for `grant_type=authorization_code`; the client's secret is what is checked, a code must be there."""
        if fields.get("grant_type") != "authorization_code":
            raise _refuse("unsupported_grant_type", "grant_type must be authorization_code")
        if not fields.get("code"):
            raise _refuse("invalid_grant", "invalid code parameter")
        return self._issue(fields)

    def jwt_exchange(self, fields: dict[str, str]) -> tuple[str, int]:
        """The same for a signed assertion. No certificates are registered here, so the secret is the proof;
        the assertion must be well formed and not expired."""
        try:
            jwt.decode(
                fields.get("jwt_token", ""),
                options={"verify_signature": False, "verify_exp": True, "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise _refuse("invalid_token", "jwt_token has expired") from None
        except jwt.PyJWTError:
            raise _refuse("invalid_token", "invalid jwt_token parameter") from None
        return self._issue(fields)

    def _issue(self, fields: dict[str, str]) -> tuple[str, int]:
        client_id = fields.get("client_id", "")
        found = self._store.find("clients", client_id) if client_id else None
        # The digest is computed for unknown clients too, so that time does not tell them apart.
        body = found[1].body if found else {"salt": "00" * 16, "secret": ""}
        digest = secret_digest(fields.get("client_secret", ""), body["salt"])
        fits = hmac.compare_digest(digest, body["secret"])
        if found is None:
            raise _refuse("invalid_client", "invalid client_id parameter")
        if not fits:
            raise _refuse("invalid_client", "invalid client_secret parameter")
        granted = frozenset(str(body["scopes"]).split(","))
        wanted = frozenset(fields.get("scope", "").replace(" ", ",").split(",")) - {""}
        if wanted - granted:
            unknown = ",".join(sorted(wanted - granted))
            raise _refuse("invalid_scope", f"invalid scope parameter: {unknown}")
        return self._tokens.issue(client_id, found[0].org, wanted or granted, str(body["userId"]))
