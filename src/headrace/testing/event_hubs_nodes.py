"""The two nodes of the Event Hubs emulator that answer: `$cbs` takes tokens, `$management` tells properties."""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote_plus, unquote_plus

from headrace.testing.amqp import Section, Texts, int32, timestamp
from headrace.testing.event_hubs_log import Hub

_STATUS = {"amqp:unauthorized-access": 401, "amqp:not-found": 404}


class Refused(Exception):
    """`condition` is what AMQP calls it, `status` what a node answers."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(text)
        self.condition = condition
        self.status = _STATUS.get(condition, 400)


def path_of(address: str) -> str:
    """An address without its scheme and host."""
    return re.sub(r"^[a-z]+://[^/]*/?", "", address)


def covers(granted: str, path: str) -> bool:
    """Whether a token for one path opens another: the same one, and all below it."""
    granted, path = granted.lower().rstrip("/"), path.lower()
    return not granted or path == granted or path.startswith(granted + "/")


def authorize(request: Mapping[int, Any], keys: Mapping[str, str]) -> str:
    """The path that a token opens for its connection; Refused where its signature, time or scope is wrong."""
    asked = _texts(request.get(Section.APPLICATION_PROPERTIES) or {})
    path = path_of(str(asked.get("name", "")))
    if keys:
        _verify(_text(request.get(Section.VALUE)), path, keys)
    return path


def manage(
    request: Mapping[int, Any], hubs: Mapping[str, Hub], keys: Mapping[str, str]
) -> Mapping[str, Any]:
    """Properties of a hub or of one partition."""
    asked = _texts(request.get(Section.APPLICATION_PROPERTIES) or {})
    name, kind = str(asked.get("name", "")), str(asked.get("type", ""))
    if keys:
        _verify(_text(asked.get("security_token")), name, keys)
    hub = hubs.get(name)
    told: dict[str, Any] = {"name": name, "type": kind}
    if hub and kind == "com.microsoft:eventhub":
        ids = Texts(partition.id for partition in hub.partitions)
        return told | {
            "created_at": timestamp(hub.created),
            "partition_count": int32(len(ids)),
            "partition_ids": ids,
        }
    wanted = str(asked.get("partition", ""))
    for partition in hub.partitions if hub and kind == "com.microsoft:partition" else ():
        if partition.id == wanted:
            return told | {"partition": wanted} | partition.properties()
    raise Refused("amqp:not-found", f"The messaging entity '{name}' could not be found.")


def _verify(token: str, path: str, keys: Mapping[str, str]) -> None:
    kind, _, rest = token.partition(" ")
    said = {name: values[0] for name, values in parse_qs(rest).items()}
    scope, expiry = said.get("sr", ""), said.get("se", "")
    key = keys.get(unquote_plus(said.get("skn", "")))
    signed = f"{quote_plus(scope)}\n{expiry}".encode()
    right = base64.b64encode(hmac.digest((key or "").encode(), signed, hashlib.sha256)).decode()
    if kind != "SharedAccessSignature" or key is None or not hmac.compare_digest(said.get("sig", ""), right):  # fmt: skip
        raise Refused("amqp:unauthorized-access", "InvalidSignature: The token has an invalid signature.")  # fmt: skip
    if not expiry.isdigit() or int(expiry) <= time.time():
        raise Refused("amqp:unauthorized-access", "ExpiredToken: The token is expired.")
    if not covers(path_of(scope), path):
        raise Refused("amqp:unauthorized-access", "InvalidAudience: The token is for another entity.")  # fmt: skip


def _texts(properties: Mapping[Any, Any]) -> dict[str, Any]:
    return {_text(key): _text(value) if isinstance(value, bytes) else value for key, value in properties.items()}  # fmt: skip


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
