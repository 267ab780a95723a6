"""The JSON shape of a sandbox."""

import time
from typing import Any

from headrace.store.documents import Document


def item(document: Document) -> dict[str, Any]:
    """A sandbox as it is answered."""
    body = document.body
    return {
        "id": body["id"],
        "name": body["name"],
        "title": body["title"],
        "state": body["state"],
        "type": body["type"],
        "region": body["region"],
        "isDefault": body["isDefault"],
        "eTag": document.version,
        "etag": document.version,
        "createdDate": _stamp(document.created),
        "lastModifiedDate": _stamp(document.updated),
        "createdBy": body["createdBy"],
        "modifiedBy": body["lastModifiedBy"],
        "lastModifiedBy": body["lastModifiedBy"],
    }


def brief(document: Document, state: str) -> dict[str, Any]:
    """The short form that creation, reset and deletion answer."""
    body = document.body
    return {
        "id": body["id"],
        "name": body["name"],
        "title": body["title"],
        "state": state,
        "type": body["type"],
        "region": body["region"],
    }


def page(items: list[dict[str, Any]], limit: int, count: int, path: str) -> dict[str, Any]:
    """The envelope of lists."""
    href = f"{path}?limit={{limit}}&offset={{offset}}"
    return {
        "sandboxes": items,
        "_page": {"limit": limit, "count": count},
        "_links": {"page": {"href": href, "templated": True}},
    }


def _stamp(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(milliseconds / 1000))
