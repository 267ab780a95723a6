"""How each service words an error."""

import time
from collections.abc import Callable
from typing import Any

from headrace.errors import ApiError

_AEP = "http://ns.adobe.com/aep/errors/"
_FLOW = "https://ns.adobe.com/aep/errors/"

# Codes of what can go wrong before a service's own code decides: request-independent names to service codes.
_SHARED_CODES = {
    "flow": {"body": "FLOW-1405-400", "paging": "FLOW-1452-400"},
    "registry": {"body": "XDM-1001-400", "paging": "XDM-1002-400"},
    "catalog": {"body": "CAT-1001-400", "paging": "CAT-1002-400"},
    "sandbox": {"body": "SMS-1001-400", "paging": "SMS-1002-400"},
    "conversion": {"body": "DPS-1001-400", "paging": "DPS-1002-400"},
    "ims": {
        "body": "invalid_request",
        "paging": "invalid_request",
        "timeout": "invalid_request",
    },
    "identity": {
        "body": "INVALID_REQUEST_PARAMS",
        "paging": "INVALID_REQUEST_PARAMS",
        "internal": "INTERNAL_SERVER_ERROR",
        "method": "INVALID_REQUEST_PARAMS",
        "too_large": "INVALID_REQUEST_PARAMS",
        "timeout": "INVALID_REQUEST_PARAMS",
    },
}
_PREFIXES = {
    "flow": "FLOW",
    "registry": "XDM",
    "catalog": "CAT",
    "sandbox": "SMS",
    "conversion": "DPS",
}
_GENERAL = {
    "not_found": "1003",
    "method": "1004",
    "too_large": "1005",
    "timeout": "1006",
    "internal": "1000",
}


def render(error: ApiError, service: str, request_id: str) -> tuple[int, dict[str, Any]]:
    """Status and body of an error in the shape of a service."""
    if error.extra.get("gateway"):
        return error.status, {"error_code": error.code, "message": error.detail}
    if error.extra.get("placeholder"):
        return error.status, {
            "type": "/placeholder/type/uri",
            "status": error.status,
            "title": error.title,
            "detail": error.detail,
        }
    return error.status, _SHAPES.get(service, _plain)(error, _code(error, service), request_id)


def _code(error: ApiError, service: str) -> str:
    shared = _SHARED_CODES.get(service, {}).get(error.code)
    if shared is not None:
        return shared
    if error.code in _GENERAL and service in _PREFIXES:
        return f"{_PREFIXES[service]}-{_GENERAL[error.code]}-{error.status}"
    return error.code


def _flow(error: ApiError, code: str, request_id: str) -> dict[str, Any]:
    report: dict[str, Any] = {"detailed-message": error.detail}
    if error.extra.get("id"):
        report["id"] = error.extra["id"]
    report["request-id"] = request_id
    if error.extra.get("type"):
        report["type"] = error.extra["type"]
    return {
        "type": _FLOW + code,
        "title": error.title,
        "status": error.status,
        "report": report,
        "errorMessage": error.detail,
        "errorDetails": error.detail,
    }


def _aep(error: ApiError, code: str, request_id: str) -> dict[str, Any]:
    return {
        "type": _AEP + code,
        "title": error.title,
        "status": error.status,
        "report": {
            "registryRequestId": request_id,
            "timestamp": time.strftime("%m-%d-%Y %H:%M:%S", time.gmtime()),
            "detailed-message": error.detail,
            "sub-errors": error.extra.get("sub_errors", []),
        },
        "detail": error.detail,
    }


def _conversion(error: ApiError, code: str, request_id: str) -> dict[str, Any]:
    return {
        "type": _AEP + code,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "report": {"registryRequestId": request_id},
        "errorMessage": error.detail,
    }


def _ims(error: ApiError, code: str, request_id: str) -> dict[str, Any]:
    return {"error": code, "error_description": error.detail}


def _identity(error: ApiError, code: str, request_id: str) -> dict[str, Any]:
    body: dict[str, Any] = {"error": code} if error.status in (401, 500) else {}
    return body | {
        "timestamp": int(time.time() * 1000),
        "type": "http://ns.adobe.com/adobecloud/problem/namespacevalidation",
        "status": error.status,
        "title": error.title,
        "description": error.detail,
        "report": {"code": code, "message": error.detail},
    }


def _plain(error: ApiError, code: str, request_id: str) -> dict[str, Any]:
    return {
        "status": error.status,
        "title": error.title,
        "detail": error.detail,
        "code": code,
        "requestId": request_id,
    }


_SHAPES: dict[str, Callable[[ApiError, str, str], dict[str, Any]]] = {
    "flow": _flow,
    "registry": _aep,
    "catalog": _aep,
    "sandbox": _aep,
    "conversion": _conversion,
    "ims": _ims,
    "identity": _identity,
    "plain": _plain,
}
