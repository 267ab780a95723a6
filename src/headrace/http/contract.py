"""What a service offers and what its handlers see and answer, free of any web framework.

A service exposes `routes() -> list[Route]`. Handlers are plain functions `Call -> Answer`, run in a thread
pool; they raise `ApiError`, which `http.envelopes` renders in the service's own shape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headrace.errors import ApiError
from headrace.http.nesting import MOST_LEVELS, too_deep


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, resolved by the gateway. `sandbox_*` describe the sandbox the call acts in."""

    org_id: str
    tenant_id: str
    client_id: str
    user_id: str
    scopes: frozenset[str]
    sandbox: str
    sandbox_id: str
    sandbox_type: str
    authenticated: bool = True


@dataclass(slots=True)
class Call:
    """One request. Header names are lower-case; `params` are the decoded path parameters."""

    method: str
    path: str
    params: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes
    request_id: str
    origin: str
    caller: Caller | None = None

    @property
    def who(self) -> Caller:
        if self.caller is None:
            raise RuntimeError("the route did not ask for a caller")
        return self.caller

    def value(self, name: str, default: str | None = None) -> str | None:
        """The first value of a query parameter."""
        return next((v for k, v in self.query if k == name), default)

    def values(self, name: str) -> list[str]:
        """All values of a repeated query parameter."""
        return [v for k, v in self.query if k == name]

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean query parameter in any letter case (clients send Python's `False`)."""
        text = self.value(name)
        return default if text is None else text.strip().lower() == "true"

    def json(self) -> Any:
        """The body as JSON; ApiError 400 names the position when it is not, or says that it is nested too deeply."""
        try:
            found = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ApiError(
                400, "body", "Invalid request", f"The body is not valid JSON: {error}"
            ) from None
        if self.body.count(b"{") + self.body.count(b"[") > MOST_LEVELS and too_deep(found):
            raise ApiError(
                400,
                "body",
                "Invalid request",
                f"The body is nested deeper than {MOST_LEVELS} levels.",
            )
        return found

    def object(self) -> dict[str, Any]:
        """The body as a JSON object; ApiError 400 otherwise."""
        value = self.json() if self.body.strip() else None
        if not isinstance(value, dict):
            raise ApiError(400, "body", "Invalid request", "The body must be a JSON object.")
        return value


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is JSON-able, or bytes or an iterator of bytes sent as they are, or None for an empty body."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """`auth`: `platform` = the gateway's checks, sandboxed; `org` = without a sandbox; `none` = open.

    A path parameter `{id}` is one segment; `{id:path}` takes the rest, slashes included.
    `service` names the error envelope: flow, registry, catalog, conversion, ims, sandbox, identity, plain.
    `reads` says whether clients that may only read may call it: None = as the method says (GET), True for a POST
    that only computes or searches, False for a GET with effects. `files`: the body is a file of any type, not JSON.
    """

    method: str
    path: str
    handler: Handler
    service: str
    summary: str
    auth: str = "platform"
    reads: bool | None = None
    files: bool = False

    @property
    def only_reads(self) -> bool:
        """Whether nothing changes by calling it. HEAD is served by the routes of GET."""
        return self.method in ("GET", "HEAD") if self.reads is None else self.reads
