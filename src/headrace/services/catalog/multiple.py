"""Several requests in one: they see one another's results, and all of them happen or none."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Answer, Call
from headrace.services.catalog.lists import refuse

MOST_REQUESTS = 100
_TEMPLATE = re.compile(r"<<([A-Za-z0-9_-]+)\.([A-Za-z0-9_.-]+)>>")
Dispatch = Callable[[Call], Answer]


class Failed(Exception):
    """A request of the bundle failed; `results` tell which and how."""

    def __init__(self, results: list[dict[str, Any]], status: int) -> None:
        super().__init__(str(status))
        self.results = results
        self.status = status


def run(call: Call, dispatch: Dispatch) -> list[dict[str, Any]]:
    """Carry out the requests of a body in order; `Failed` at the first that does not succeed."""
    requests = call.json()
    if not isinstance(requests, list) or not requests:
        raise refuse("The body must be an array of requests: {id, resource, method, body}.")
    if len(requests) > MOST_REQUESTS:
        raise refuse(f"A bundle may have at most {MOST_REQUESTS} requests.")
    known: dict[str, dict[str, Any]] = {}
    results: list[dict[str, Any]] = []
    for request in requests:
        id = _checked(request, known)
        try:
            answer = dispatch(_call(call, _filled(request, known)))
        except ApiError as error:
            results.append(
                {
                    "id": id,
                    "code": error.status,
                    "body": {"title": error.title, "detail": error.detail},
                }
            )
            raise Failed(results, error.status) from None
        results.append({"id": id, "code": answer.status, "body": answer.body})
        known[id] = _facts(answer.body)
    return results


def _checked(request: Any, known: Mapping[str, Any]) -> str:
    if not isinstance(request, dict):
        raise refuse("Each request must be an object: {id, resource, method, body}.")
    for key in ("id", "resource", "method"):
        if not isinstance(request.get(key), str) or not request[key]:
            raise refuse(f"Each request needs the key '{key}'.")
    if request["id"] in known:
        raise refuse(f"Two requests have the id {request['id']}.")
    return str(request["id"])


def _call(outer: Call, request: Mapping[str, Any]) -> Call:
    path, _, query = str(request["resource"]).partition("?")
    given = request.get("headers") or {}
    if not isinstance(given, dict):
        raise refuse("The key 'headers' of a request must be an object.")
    headers = {str(name).lower(): str(value) for name, value in given.items()}
    pairs = [
        (name, value)
        for name, _, value in (part.partition("=") for part in query.split("&"))
        if name
    ]
    body = b"" if request.get("body") is None else json.dumps(request["body"]).encode()
    return replace(
        outer, method=request["method"].upper(), path=path, query=pairs, body=body, params={},
        headers={"content-type": "application/json", **headers},
    )  # fmt: skip


def _filled(request: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The request with `<<id.property>>` replaced by what an earlier result says."""

    def value(found: re.Match[str]) -> str:
        facts = known.get(found[1])
        if facts is None:
            raise refuse(f"{found[0]} names no earlier request.")
        if found[2] not in facts:
            raise refuse(f"{found[0]}: the result of {found[1]} has no {found[2]}.")
        return json.dumps(str(facts[found[2]]))[1:-1]

    filled: dict[str, Any] = json.loads(_TEMPLATE.sub(value, json.dumps(request)))
    return filled


def _facts(body: Any) -> dict[str, Any]:
    """What templates may ask of a result: the id that it names, or the keys of the one object it shows."""
    if isinstance(body, list) and body and isinstance(body[0], str):
        return {"id": body[0].rsplit("/", 1)[1]}
    if isinstance(body, dict) and len(body) == 1:
        id, item = next(iter(body.items()))
        return {**item, "id": id} if isinstance(item, dict) else {"id": id}
    return {}
