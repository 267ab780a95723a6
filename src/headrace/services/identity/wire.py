"""The JSON shape of a namespace, and what clients may send."""

import re
from collections.abc import Mapping
from typing import Any

from headrace.services.identity.faults import invalid
from headrace.services.identity.namespaces import ID_TYPES, Namespace

# Documented as letters and digits, but the standard and the B2B codes have the other two.
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,254}")
_ID = re.compile(r"[0-9]{1,18}")
LONGEST_NAME = 255
LONGEST_DESCRIPTION = 1024
"""Both in characters; so that one organisation's list stays small enough to answer whole."""


def item(namespace: Namespace) -> dict[str, Any]:
    """A namespace as it is answered."""
    shown: dict[str, Any] = {
        "updateTime": namespace.updated,
        "code": namespace.code,
        "status": "ACTIVE",
        "description": namespace.description,
        "id": namespace.id,
        "createTime": namespace.created,
        "idType": namespace.id_type,
        "namespaceType": namespace.kind,
        "name": namespace.name,
        "custom": namespace.kind == "Custom",
        "hashFunction": namespace.hash_function,
        "transform": namespace.transform,
    }
    return {
        key: value
        for key, value in shown.items()
        if value != "" or key not in ("description", "hashFunction", "transform")
    }


def is_number(text: str) -> bool:
    """Whether a text can be the id of a namespace."""
    return _ID.fullmatch(text) is not None


def number(text: str) -> int:
    """An id from a path; ApiError 400 when it is no natural number."""
    if not is_number(text):
        raise invalid(f"The id of a namespace is an integer, not '{text[:64]}'.")
    return int(text)


def name(body: Mapping[str, Any]) -> str:
    value = body.get("name")
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_NAME:
        raise invalid(f"name must be a text of 1 to {LONGEST_NAME} characters.")
    return value


def code(body: Mapping[str, Any]) -> str:
    value = body.get("code")
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        raise invalid(
            "code must be one word of at most 255 letters, digits, '_' and '.',"
            " beginning with a letter or digit."
        )
    return value


def id_type(body: Mapping[str, Any]) -> str:
    """The type as the client spells it."""
    value = body.get("idType")
    if not isinstance(value, str) or value.upper() not in ID_TYPES:
        raise invalid(f"idType must be one of {', '.join(sorted(ID_TYPES))}.")
    return value


def description(body: Mapping[str, Any]) -> str:
    """Empty when there is none; clients send null for that."""
    value = body.get("description")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_DESCRIPTION:
        raise invalid(f"description must be a text of at most {LONGEST_DESCRIPTION} characters.")
    return value
