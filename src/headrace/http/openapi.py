"""The description of an API, generated from its routes."""

import re
from collections.abc import Sequence
from typing import Any

from headrace.http.contract import Route

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_HEADERS = ("x-api-key", "x-gw-ims-org-id")


def describe(routes: Sequence[Route], title: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document listing every route."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1"},
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, path: str) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    if route.auth != "none":
        parameters += [_header(name, True) for name in _HEADERS]
    if route.auth == "platform":
        parameters.append(_header("x-sandbox-name", False))
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{path}").strip("_"),
        "summary": route.summary,
        "tags": [route.service],
        "parameters": parameters,
        "responses": {"default": {"description": "The answer, or the service's error envelope."}},
    }
    if route.auth != "none":
        operation["security"] = [{"bearer": []}]
    if route.method in ("POST", "PUT", "PATCH"):
        media = (
            "application/x-www-form-urlencoded" if route.service == "ims" else "application/json"
        )
        operation["requestBody"] = {"content": {media: {"schema": {}}}}
    return operation


def _header(name: str, required: bool) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "schema": {"type": "string"},
    }
