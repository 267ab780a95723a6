"""The ASGI application over a table of routes."""

import logging
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from headrace.errors import ApiError, Overloaded
from headrace.http.contract import Answer, Call, Route
from headrace.http.envelopes import render
from headrace.http.gateway import Gateway
from headrace.http.openapi import describe
from headrace.logs import fields

QUIET = ("/health", "/metrics")
"""Asked every few seconds: not worth a line each."""

MAX_BODY = 8 * 1024 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_COLLAPSED = re.compile(r"^(https?):/+(?=[^/])")
_log = logging.getLogger("headrace.http")


@dataclass(frozen=True, slots=True)
class _Entry:
    route: Route
    pattern: re.Pattern[str]


def build(
    routes: Sequence[Route], gateway: Gateway, *, title: str, max_body: int = MAX_BODY
) -> "Dispatcher":
    """An application that serves the routes, `/openapi.json`, and an envelope for everything else.

    Bodies above `max_body` bytes are refused with 413.
    """
    document = msgspec.json.encode(describe(routes, title))
    table = [
        *routes,
        Route(
            "GET",
            "/openapi.json",
            lambda call: Answer(200, document),
            "plain",
            "This description",
            auth="none",
        ),
    ]
    return Dispatcher(table, gateway, max_body)


def _precedence(route: Route) -> tuple[int, ...]:
    """Literal segments before parameters before catch-alls; longer routes before their own prefixes."""
    ranks = {True: 2, False: 1}
    segments = route.path.strip("/").split("/")
    return (*(ranks[":path}" in s] if s.startswith("{") else 0 for s in segments), 3)


class Dispatcher:
    """The application. `refusal` words what is answered to a request that did not come whole."""

    def __init__(self, routes: Sequence[Route], gateway: Gateway, max_body: int) -> None:
        ordered = sorted(routes, key=_precedence)
        self._table = [
            _Entry(route, compile_path(route.path.rstrip("/") or "/")[0]) for route in ordered
        ]
        self._gateway = gateway
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request = Request(scope, receive)
        given = request.headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        path = scope["path"].rstrip("/") or "/"
        service, flow = self._nearest(path), None
        try:
            method = "GET" if request.method == "HEAD" else request.method
            route, params = self._find(method, path)
            service = route.service
            flow = params.get("id") if "/flows/{id}" in route.path else None
            call = Call(
                method=method,
                path=path,
                params=params,
                query=_query(scope["query_string"]),
                headers={name.lower(): value for name, value in request.headers.items()},
                body=await self._body(request),
                request_id=request_id,
                origin=f"{request.url.scheme}://{request.url.netloc}",
            )
            answer = await run_in_threadpool(self._serve, call, route)
        except ClientDisconnect:
            return
        except Exception as error:
            answer = _failure(error, service, request_id)
        _log.log(
            logging.DEBUG if scope["path"] in QUIET and answer.status != 500 else logging.INFO,
            "request",
            extra=fields(
                request=request_id, method=request.method, path=scope["path"], status=answer.status,
                flow=flow, milliseconds=round(1000 * (time.perf_counter() - began), 1),
            ),
        )  # fmt: skip
        await _response(answer, request_id, request.method)(scope, receive, send)

    def refusal(self, path: str, status: HTTPStatus, text: str) -> Answer:
        """The error of a request that was ended before it was here, in the shape of the path's service."""
        path, request_id = path.rstrip("/") or "/", uuid.uuid4().hex
        exact = (entry.route.service for entry in self._table if entry.pattern.match(path))
        code = "timeout" if status == HTTPStatus.REQUEST_TIMEOUT else "overloaded"
        error = ApiError(status.value, code, status.phrase, text)
        _, body = render(error, next(exact, "") or self._nearest(path), request_id)
        _log.info("request", extra=fields(request=request_id, path=path, status=status.value))
        return Answer(status.value, msgspec.json.encode(body), {"x-request-id": request_id})

    def _serve(self, call: Call, route: Route) -> Answer:
        call.caller = self._gateway.admit(call, route)
        return route.handler(call)

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        allowed: set[str] = set()
        for entry in self._table:
            found = entry.pattern.match(path)
            if found is None:
                continue
            if entry.route.method == method:
                # A proxy may have collapsed the slashes of an identifier that is a URL.
                params = {
                    name: _COLLAPSED.sub(r"\1://", value)
                    for name, value in found.groupdict().items()
                }
                return entry.route, params
            allowed.add(entry.route.method)
        if allowed:
            methods = ", ".join(sorted(allowed))
            raise ApiError(
                405,
                "method",
                "Method not allowed",
                f"{path} supports {methods}, not {method}.",
                headers={"allow": methods},
            )
        raise ApiError(404, "not_found", "Resource not found", f"There is nothing at {path}.")

    def _nearest(self, path: str) -> str:
        """The service whose routes share the longest beginning with a path, for the shape of its 404."""
        steps = path.strip("/").split("/")
        best, service = 0, "plain"
        for entry in self._table:
            shared = 0
            for ours, theirs in zip(entry.route.path.strip("/").split("/"), steps, strict=False):
                if ours != theirs:
                    break
                shared += 1
            if shared > best and not (shared < 3 and steps[0] == "data"):
                best, service = shared, entry.route.service
        return service

    async def _body(self, request: Request) -> bytes:
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._max_body:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > self._max_body:
                raise self._too_large()
            parts.append(part)
        return b"".join(parts)

    def _too_large(self) -> ApiError:
        detail = f"The body exceeds {self._max_body} bytes."
        return ApiError(413, "too_large", "Payload too large", detail)


def _query(raw: bytes) -> list[tuple[str, str]]:
    return parse_qsl(raw.decode("latin-1"), keep_blank_values=True, errors="replace")


def _failure(error: Exception, service: str, request_id: str) -> Answer:
    headers: dict[str, str] = {}
    if isinstance(error, Overloaded):
        headers["retry-after"] = str(error.retry_after)
        error = ApiError(503, "overloaded", "Service Unavailable", str(error))
    elif not isinstance(error, ApiError):
        _log.error("request %s failed unexpectedly", request_id, exc_info=error)
        error = ApiError(
            500,
            "internal",
            "Internal Error",
            f"The server failed; its log has the cause under request id {request_id}.",
        )
    headers.update(error.extra.get("headers", {}))
    status, body = render(error, service, request_id)
    return Answer(status, body, headers)


def _response(answer: Answer, request_id: str, method: str) -> Response:
    headers = {**answer.headers, "x-request-id": request_id}
    if answer.body is None:
        return Response(b"", answer.status, headers)
    content: Any = answer.body
    if isinstance(content, Iterator):
        pieces = iter(()) if method == "HEAD" else content
        return StreamingResponse(pieces, answer.status, headers, media_type=answer.media_type)
    if not isinstance(content, bytes):
        content = msgspec.json.encode(content)
    return Response(content, answer.status, headers, media_type=answer.media_type)
