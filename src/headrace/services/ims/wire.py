"""Form fields in and token answers out."""

from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl

from headrace.errors import ApiError
from headrace.http.contract import Answer, Call

MOST_BYTES = 64 * 1024
"""Anybody may call these endpoints: no form of a client comes near this."""


def fields(call: Call) -> dict[str, str]:
    """Fields of the query and of the form (urlencoded or multipart); the form wins."""
    if len(call.body) > MOST_BYTES:
        detail = f"the form exceeds {MOST_BYTES} bytes"
        raise ApiError(413, "invalid_request", "Payload too large", detail)
    found = dict(call.query)
    content_type = call.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/form-data"):
        found.update(_multipart(content_type, call.body))
    elif call.body:
        text = call.body.decode("utf-8", errors="replace")
        found.update(parse_qsl(text, keep_blank_values=True))
    return found


def _multipart(content_type: str, body: bytes) -> dict[str, str]:
    header = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", errors="replace")
    message = BytesParser(policy=HTTP).parsebytes(header + body)
    if not message.is_multipart():
        raise ApiError(400, "invalid_request", "Invalid request", "the multipart body is malformed")
    found: dict[str, str] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            found[name] = payload.decode("utf-8", errors="replace").rstrip("\r\n")
    return found


def token_answer(token: str, expires_in: int) -> Answer:
    """`expires_in` is in the unit the endpoint's clients expect."""
    body: dict[str, Any] = {
        "access_token": token,
        "token_type": "bearer",
        "expires_in": expires_in,
    }
    return Answer(200, body, {"cache-control": "no-store", "pragma": "no-cache"})
