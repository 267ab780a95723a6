"""What is checked before a service sees a call: token, key, organisation, sandbox, content type."""

import re
from typing import Literal

from headrace.errors import ApiError
from headrace.http.contract import Call, Caller, Route
from headrace.security.clients import READ_ONLY, Client, client_of, find_client
from headrace.security.tokens import Claims, TokenInvalid, Tokens
from headrace.store.bootstrap import Installation
from headrace.store.documents import Scope, Store

_ORGANISATION = re.compile(r"[0-9A-Za-z]+@AdobeOrg")
DEFAULT_SANDBOX = "prod"


def _refuse(code: str, message: str) -> ApiError:
    return ApiError(int(code[:3]), code, "Gateway", message, gateway=True)


def _no_sandbox(code: str, detail: str) -> ApiError:
    return ApiError(404, code, "Sandbox not found", detail)


class Gateway:
    """`auth` "off" lets calls without Authorization pass; a token that is sent must be valid in any case."""

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        auth: Literal["on", "off"],
        installation: Installation,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._open = auth == "off"
        self._installation = installation

    def admit(self, call: Call, route: Route) -> Caller | None:
        """The caller, or None where the route is open to all; ApiError in the gateway's two-key shape."""
        if route.auth == "none":
            return None
        claims, client = self._identity(call)
        org = self._organisation(call, claims)
        scopes = claims.scopes if claims else client.effective
        if (client.read_only or READ_ONLY in scopes) and not route.only_reads:
            raise _refuse("403025", "Profile is not valid: this client may only read")
        sandbox = {"name": "", "id": "", "type": ""}
        if route.auth == "platform":
            sandbox = self._sandbox(call, org)
        if not route.files:
            self._content_type(call)
        return Caller(
            org_id=org,
            tenant_id=self._installation.tenant_id,
            client_id=client.id,
            user_id=claims.user_id if claims else client.user_id,
            scopes=scopes,
            sandbox=sandbox["name"],
            sandbox_id=sandbox["id"],
            sandbox_type=sandbox["type"],
            authenticated=claims is not None,
        )

    def _identity(self, call: Call) -> tuple[Claims | None, Client]:
        """Token and client. The client is looked up at each call: a revoked one is out at once."""
        claims = self._claims(call)
        client = client_of(self._store, claims) if claims else None
        if claims is not None and client is None:
            raise _refuse("401013", "Oauth token is not valid")
        key = call.headers.get("x-api-key", "").strip()
        if not key:
            raise _refuse("403000", "Api Key is required")
        client = client or find_client(self._store, key)
        if client is None or client.id != key or client.org != self._installation.org_id:
            raise _refuse("403003", "Api Key is invalid")
        return claims, client

    def _claims(self, call: Call) -> Claims | None:
        header = call.headers.get("authorization", "").strip()
        scheme, _, token = header.partition(" ")
        if not header or (scheme.lower() == "bearer" and not token.strip()):
            if self._open:
                return None
            raise _refuse("403010", "Oauth token is missing.")
        if scheme.lower() != "bearer":
            raise _refuse("401013", "Oauth token is not valid")
        try:
            return self._tokens.verify(token.strip())
        except TokenInvalid:
            raise _refuse("401013", "Oauth token is not valid") from None

    def _organisation(self, call: Call, claims: Claims | None) -> str:
        org = call.headers.get("x-gw-ims-org-id", "").strip()
        if not org:
            raise _refuse("400003", "Missing header")
        if not _ORGANISATION.fullmatch(org):
            raise _refuse("403027", "User region is missing")
        if org != (claims.org_id if claims else self._installation.org_id):
            raise _refuse("403025", "Profile is not valid")
        return org

    def _sandbox(self, call: Call, org: str) -> dict[str, str]:
        scope = Scope(org, "")
        name = call.headers.get("x-sandbox-name", "").strip()
        wanted = call.headers.get("x-sandbox-id", "").strip()
        if not name and wanted:
            for document in self._store.list(scope, "sandboxes"):
                if document.body["id"] == wanted:
                    return document.body
            raise _no_sandbox("FLOW-2103-404", f"There is no sandbox with id '{wanted}'.")
        found = self._store.get(scope, "sandboxes", name or DEFAULT_SANDBOX)
        if found is None:
            raise _no_sandbox("FLOW-2100-404", f"There is no sandbox '{name}'.")
        if wanted and found.body["id"] != wanted:
            detail = f"'{wanted}' is not the id of the sandbox '{name}'."
            raise _no_sandbox("FLOW-2103-404", detail)
        return found.body

    @staticmethod
    def _content_type(call: Call) -> None:
        # PATCH is parsed as JSON whatever it claims: the documented samples send none.
        if call.method not in ("POST", "PUT") or not call.body:
            return
        media_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        if "json" not in media_type:
            raise ApiError(
                400,
                "content-type",
                "BadRequestError",
                "A valid content-type must be specified",
                placeholder=True,
            )
