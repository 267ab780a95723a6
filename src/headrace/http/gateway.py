"""What is checked before a service sees a call: token, key, organisation, sandbox, content type."""

import re
from typing import Literal

from headrace.errors import ApiError
from headrace.http.contract import Call, Caller, Route
from headrace.security.tokens import Claims, TokenInvalid, Tokens
from headrace.store.bootstrap import Installation
from headrace.store.documents import Scope, Store

_ORGANISATION = re.compile(r"[0-9A-Za-z]+@AdobeOrg")
DEFAULT_SANDBOX = "prod"


def _refuse(code: str, message: str) -> ApiError:
    return ApiError(int(code[:3]), code, "Gateway", message, gateway=True)


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
        claims = self._claims(call)
        client = self._client(call, claims)
        org = self._organisation(call, claims)
        document = self._store.get(Scope(org, ""), "clients", client)
        body = document.body if document else {}
        sandbox = {"name": "", "id": "", "type": ""}
        if route.auth == "platform":
            sandbox = self._sandbox(call, org)
        self._content_type(call)
        return Caller(
            org_id=org,
            tenant_id=self._installation.tenant_id,
            client_id=client,
            user_id=claims.user_id if claims else str(body.get("userId", client)),
            scopes=claims.scopes if claims else frozenset(str(body.get("scopes", "")).split(",")),
            sandbox=sandbox["name"],
            sandbox_id=sandbox["id"],
            sandbox_type=sandbox["type"],
            authenticated=claims is not None,
        )

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

    def _client(self, call: Call, claims: Claims | None) -> str:
        key = call.headers.get("x-api-key", "").strip()
        if not key:
            raise _refuse("403000", "Api Key is required")
        if claims is not None and key != claims.client_id:
            raise _refuse("403003", "Api Key is invalid")
        if self._store.get(Scope(self._installation.org_id, ""), "clients", key) is None:
            raise _refuse("403003", "Api Key is invalid")
        return key

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
            raise ApiError(
                404,
                "FLOW-2103-404",
                "Sandbox not found",
                f"There is no sandbox with id '{wanted}'.",
            )
        found = self._store.get(scope, "sandboxes", name or DEFAULT_SANDBOX)
        if found is None:
            raise ApiError(
                404,
                "FLOW-2100-404",
                "Sandbox not found",
                f"There is no sandbox '{name}'.",
            )
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
