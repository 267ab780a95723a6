"""The inlet as an ASGI application, without a framework: it serves most of the traffic.

Every 2xx means that the log has synced what was accepted. Bodies are bounded before they are buffered and
after they are inflated.
"""

import itertools
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from headrace.errors import Overloaded
from headrace.http.contract import Answer
from headrace.log.frames import DELIMITED, LINES, MESSAGES, SINGLE
from headrace.log.payloads import DelimitedError, split_delimited, split_lines, split_messages
from headrace.log.writer import LogWriter
from headrace.model.flow import FlowRevision
from headrace.security.inflate import InflateCorrupt, InflatedTooLarge, inflate_gzip
from headrace.services.inlet import wire
from headrace.services.inlet.directory import Directory, Inlet
from headrace.services.inlet.envelope import (
    Plan,
    Refused,
    Router,
    decode_outlines,
    plan,
)
from headrace.xdm.check import Violation

MOST_BYTES = 1024 * 1024
SYNC_VALIDATIONS_A_MINUTE = 60
PREFIXES = ("/collection/", "/data/foundation/import/collection/")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Check = Callable[[FlowRevision, bytes, bool], list[Violation]]
Authenticate = Callable[[str, str], bool]


@dataclass(slots=True)
class Counters:
    """Since the start of the process, for one inlet."""

    messages: int = 0
    bytes: int = 0
    success: int = 0
    failure: int = 0


@dataclass(slots=True)
class Request:
    inlet: Inlet
    batch: bool
    headers: dict[bytes, bytes]
    query: dict[str, str]
    body: bytes = b""
    received: int = 0

    def text(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1").strip()


class Answered(Exception):
    """The request ends here with this answer."""

    def __init__(
        self, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        self.status, self.body, self.headers = status, body, headers


@dataclass
class InletEndpoint:
    """`check(revision, record, envelope)` → violations; `authenticate(token, org)` → whether it may send."""

    directory: Directory
    log: LogWriter
    check: Check
    authenticate: Authenticate
    counters: dict[str, Counters] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._serial = itertools.count()
        self._boot = secrets.randbelow(10_000)
        self._validations: dict[str, list[float]] = {}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        inlet_id = ""
        try:
            inlet_id, batch = _target(path)
            status, body = await self._serve(scope, receive, inlet_id, batch)
            extra: tuple[tuple[bytes, bytes], ...] = ()
        except Answered as answer:
            status, body, extra = answer.status, answer.body, answer.headers
        counters = self.counters.get(inlet_id)
        if counters is not None:
            if status < 300:
                counters.success += 1
            else:
                counters.failure += 1
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *extra,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _serve(
        self, scope: dict[str, Any], receive: Receive, inlet_id: str, batch: bool
    ) -> tuple[int, bytes]:
        if scope["method"] != "POST":
            raise Answered(
                405, self._problem(inlet_id, "Only POST is allowed", 405), ((b"allow", b"POST"),)
            )
        inlet = self.directory.inlet(inlet_id)
        if inlet is None:
            raise Answered(404, self._problem(inlet_id, "There is no such inlet", 404))
        raw_query: bytes = scope["query_string"]
        query = _query(raw_query) if raw_query else {}
        request = Request(inlet, batch, dict(scope["headers"]), query)
        self._authorize(request)
        await self._read(request, receive)
        request.received = int(time.time() * 1000)
        counters = self.counters.setdefault(inlet_id, Counters())
        counters.bytes += len(request.body)
        router = Router(
            self.directory, inlet,
            request.text(b"x-adobe-flow-id") or query.get("x-adobe-flow-id"),
            request.text(b"x-adobe-dataset-id"),
        )  # fmt: skip
        try:
            if batch:
                return 207, await self._batch(request, router, counters)
            return 200, await self._single(request, router, counters)
        except Refused as refusal:
            raise Answered(400, self._problem(inlet.id, str(refusal), inlet=inlet)) from None
        except Overloaded as busy:
            retry = ((b"retry-after", str(busy.retry_after).encode()),)
            text = f"Not accepted for now: {busy}"
            raise Answered(503, self._problem(inlet.id, text, 503, inlet=inlet), retry) from None

    def _problem(
        self, inlet_id: str, text: str, status: int = 400, *, inlet: Inlet | None = None
    ) -> bytes:
        titles = {
            400: wire.INVALID,
            404: "Not found",
            405: "Method not allowed",
            408: "Request Timeout",
            503: "Unavailable",
        }
        organisation = inlet.scope.org if inlet else ""
        title = titles.get(status, "Invalid request")
        return wire.problem(inlet_id, organisation, text, status=status, title=title)

    def refusal(self, path: str, status: HTTPStatus, text: str) -> Answer:
        """The error of a request that was ended before it was here. Nobody has proven who they are: an inlet that asks
        for that does not tell its organisation."""
        inlet_id, _ = _target(path)
        inlet = self.directory.inlet(inlet_id)
        known = inlet if inlet and not inlet.authentication_required else None
        return Answer(status.value, self._problem(inlet_id, text, status.value, inlet=known))

    def _authorize(self, request: Request) -> None:
        if not request.inlet.authentication_required:
            return
        kind, _, token = (request.text(b"authorization") or "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Answered(401, wire.unauthorized(request.inlet.id, "Ims service token is empty"))
        if not self.authenticate(token.strip(), request.inlet.scope.org):
            raise Answered(
                401, wire.unauthorized(request.inlet.id, "Ims service token is not valid")
            )

    async def _read(self, request: Request, receive: Receive) -> None:
        announced = request.headers.get(b"content-length")
        if announced is not None and announced.isdigit() and int(announced) > MOST_BYTES:
            raise self._too_large(request.inlet)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Answered(400, b"")
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts, size = [body], len(body)
            while message.get("more_body"):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Answered(400, b"")
                part = message.get("body", b"")
                size += len(part)
                if size > MOST_BYTES:
                    raise self._too_large(request.inlet)
                parts.append(part)
            body = b"".join(parts)
        if len(body) > MOST_BYTES:
            raise self._too_large(request.inlet)
        encoding = (request.text(b"content-encoding") or "identity").lower()
        if encoding == "gzip":
            try:
                body = inflate_gzip(body, MOST_BYTES)
            except InflatedTooLarge:
                raise self._too_large(request.inlet) from None
            except InflateCorrupt:
                text = "The body is not valid gzip"
                raise Answered(
                    400, self._problem(request.inlet.id, text, inlet=request.inlet)
                ) from None
        elif encoding != "identity":
            text = f"Content-Encoding {encoding} is not supported: send gzip or none"
            raise Answered(415, self._problem(request.inlet.id, text, 415, inlet=request.inlet))
        request.body = body

    @staticmethod
    def _too_large(inlet: Inlet) -> Answered:
        text = f"The payload is larger than {MOST_BYTES} bytes"
        body = wire.problem(inlet.id, inlet.scope.org, text, status=413, title="Payload too large")
        return Answered(413, body, ((b"connection", b"close"),))

    async def _single(self, request: Request, router: Router, counters: Counters) -> bytes:
        body = request.body
        counters.messages += 1
        self._check_text(request)
        destination = router.route(body)
        validated = _validation(request.query) if request.query else None
        if validated is not None:
            self._limit_validation(request.inlet.id)
            violations = self.check(destination.revision, body, destination.envelope)
            if violations:
                inlet = request.inlet
                raise Answered(
                    400,
                    wire.problem(
                        inlet.id, inlet.scope.org, "Message is invalid", violations=violations
                    ),
                )
        receipt = f"{request.received}:{self._boot}:{next(self._serial)}"
        revision = destination.revision
        await self.log.append(
            SINGLE, revision.flow_id, revision.revision, receipt, 1, body, request.received,
            envelope=destination.envelope,
        )  # fmt: skip
        return wire.accepted(request.inlet.id, receipt, request.received, validated)

    async def _batch(self, request: Request, router: Router, counters: Counters) -> bytes:
        self._check_text(request)
        content = (
            (request.text(b"content-type") or "application/json").split(";")[0].strip().lower()
        )
        receipt = str(uuid.uuid4())
        batch_id = f"{request.received}:{self._boot}:{next(self._serial)}"
        if content == "text/csv":
            total, refused = await self._delimited(request, router, receipt), {}
        elif content in ("application/x-ndjson", "application/jsonl", "application/x-jsonlines"):
            result = self._lines(request, router)
            await self._append(request, result, receipt, LINES)
            total, refused = result.total, result.refused
        else:
            total, refused = await self._messages(request, router, receipt)
        counters.messages += total
        return wire.batch(request.inlet.id, batch_id, request.received, receipt, total, refused)

    async def _messages(
        self, request: Request, router: Router, receipt: str
    ) -> tuple[int, dict[int, str]]:
        body = request.body
        try:
            outlines = decode_outlines(body).messages
        except (msgspec.DecodeError, RecursionError):
            outlines = None
        direct = router.raw_destination() if outlines is not None else None
        if (
            outlines
            and direct
            and direct.revision.rules is not None
            and not any(o.header and o.body for o in outlines)
        ):  # all raw, one flow: log it as it came
            count = len(outlines)
            revision = direct.revision
            await self.log.append(
                MESSAGES,
                revision.flow_id,
                revision.revision,
                receipt,
                count,
                body,
                request.received,
            )
            return count, {}
        try:
            messages = [bytes(raw) for raw in split_messages(body).messages]
        except msgspec.ValidationError:
            raise Refused("The body must be an object with an array 'messages'") from None
        except (msgspec.DecodeError, RecursionError):
            raise Refused("The body is not valid JSON") from None
        result = plan(messages, router.route)
        await self._append(request, result, receipt, MESSAGES)
        return result.total, result.refused

    def _lines(self, request: Request, router: Router) -> Plan:
        return plan(split_lines(request.body), router.route)

    async def _delimited(self, request: Request, router: Router, receipt: str) -> int:
        destination = router.raw_destination() or _only_flow(router)
        if destination.revision.rules is None:
            raise Refused("Delimited text needs a flow with a mapping")
        try:
            _, rows = split_delimited(request.body)
        except DelimitedError as error:
            raise Refused(f"The body is not valid CSV: {error}") from None
        if rows:
            revision = destination.revision
            await self.log.append(
                DELIMITED, revision.flow_id, revision.revision, receipt, len(rows), request.body,
                request.received,
            )  # fmt: skip
        return len(rows)

    async def _append(self, request: Request, result: Plan, receipt: str, layout: int) -> None:
        last = None
        for group in result.groups.values():
            if len(group.indexes) == result.total:
                body, indexes = request.body, None
            else:
                indexes = group.indexes
                body = (
                    b"\n".join(group.messages)
                    if layout == LINES
                    else b'{"messages":[' + b",".join(group.messages) + b"]}"
                )
            revision = group.destination.revision
            last = self.log.append(
                layout, revision.flow_id, revision.revision, receipt, len(group.indexes), body,
                request.received, envelope=group.destination.envelope, indexes=indexes,
            )  # fmt: skip
        # frames of one request are in one or successive commits: the last one decides
        if last is not None:
            await last

    def _check_text(self, request: Request) -> None:
        if not request.body.isascii():
            try:
                request.body.decode()
            except UnicodeDecodeError as error:
                raise Refused(f"The body is not UTF-8 (byte {error.start})") from None

    def _limit_validation(self, inlet_id: str) -> None:
        now = time.monotonic()
        recent = [at for at in self._validations.get(inlet_id, ()) if now - at < 60]
        if len(recent) >= SYNC_VALIDATIONS_A_MINUTE:
            text = (
                f"At most {SYNC_VALIDATIONS_A_MINUTE} synchronous validations a minute for an inlet"
            )
            raise Answered(429, self._problem(inlet_id, text, 429), ((b"retry-after", b"60"),))
        self._validations[inlet_id] = [*recent, now]


def _query(raw: bytes) -> dict[str, str]:
    return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True))


def _target(path: str) -> tuple[str, bool]:
    rest = path
    for prefix in PREFIXES:
        if path.startswith(prefix):
            rest = path[len(prefix) :].rstrip("/")
            break
    batch = rest.startswith("batch/")
    inlet_id = rest.removeprefix("batch/")
    return inlet_id, batch


def _validation(query: dict[str, str]) -> str | None:
    for name in ("syncValidation", "synchronousValidation"):
        if query.get(name, "").lower() == "true":
            return name
    return None


def _only_flow(router: Router) -> Any:
    """The destination of delimited text that names no flow."""
    return router.route(b"{}")
