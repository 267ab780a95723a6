"""The description of an API, generated from its routes."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from headrace.http.components import SCHEMAS, reference, refusal
from headrace.http.contract import Route
from headrace.http.operations import (
    header_parameters,
    media_types,
    query_parameters,
    refusals,
    request_body,
    successes,
)

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_HEADERS = ("x-api-key", "x-gw-ims-org-id")


def describe(routes: Sequence[Route], title: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document of every route: its parameters, its body and every status it can answer."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1"},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, path: str) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(route.path)
    ]
    if route.auth != "none":
        parameters += [_header(name, True) for name in _HEADERS]
    if route.auth == "platform":
        parameters.append(_header("x-sandbox-name", False))
    parameters += [_header(name, required) for name, required in header_parameters(route)]
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{path}").strip("_"),
        "summary": route.summary,
        "tags": [route.service],
        "parameters": parameters + query_parameters(route),
        "responses": _responses(route),
    }
    if route.auth != "none":
        operation["security"] = [{"bearer": []}]
    body = request_body(route)
    if body is not None:
        media_type, name = body
        schema = reference(name) if name else {}
        operation["requestBody"] = {"content": {media_type: {"schema": schema}}}
    return operation


def _responses(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in successes(route):
        found[str(status)] = {"description": HTTPStatus(status).phrase}
        if status not in (204, 304):
            found[str(status)]["content"] = {media: {} for media in media_types(route)}
    for status in refusals(route):
        content = {"application/json": {"schema": refusal(route.service)}}
        stated = {"description": HTTPStatus(status).phrase, "content": content}
        found.setdefault(str(status), stated)
    return found


def _header(name: str, required: bool) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "schema": {"type": "string"},
    }
