"""Identifiers."""

import hashlib
from typing import Any

from headrace.mapping.functions.definition import (
    Context,
    Function,
    Parameter,
    examples,
    null_to_null,
)
from headrace.mapping.values import text_of

CATEGORY = "Special"
# The one published pair; the original's algorithm is not published.
_PUBLISHED = {"4ed70bee-b654-420a-a3fd-b58b6b65e991": "28880788470263023831040523038280731744"}


def uuid(context: Context) -> str:
    return context.new_uuid()


@null_to_null
def fpid_to_ecid(fpid: Any) -> str:
    """38 digits, always the same for an id: two halves of its SHA-256 as 63-bit numbers."""
    text = text_of(fpid).lower()
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    halves = (int.from_bytes(digest[i : i + 8], "big") >> 1 for i in (0, 8))
    return _PUBLISHED.get(text) or "".join(f"{half:019d}" for half in halves)


_FPID = (Parameter("fpid", "string", "a first-party device id"),)
FUNCTIONS = (
    *(
        Function(name, CATEGORY, (), "string", "A new identifier, a UUID.", examples((f"size_of({name}())", "36")), uuid, needs_context=True)
        for name in ("uuid", "guid")
    ),
    Function("fpid_to_ecid", CATEGORY, _FPID, "string", "An identity of 38 digits for a first-party id, always the same.", examples(('fpid_to_ecid("4ed70bee-b654-420a-a3fd-b58b6b65e991")', '"28880788470263023831040523038280731744"', "fpid_to_ecid(null)", "null")), fpid_to_ecid),
)  # fmt: skip
