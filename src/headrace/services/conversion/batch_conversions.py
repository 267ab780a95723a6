"""Conversions of whole batches. Streaming dataflows map record by record, so there never is one."""

from typing import Any

from headrace.http.contract import Answer, Call
from headrace.services.conversion.lists import MOST, envelope, number
from headrace.services.conversion.wire import refuse


def listed(call: Call) -> Answer:
    """An empty list. The client library also asks for a conversion with a GET; that is refused with 400."""
    if call.value("mappingSetId") is not None:
        raise refuse(
            "Batches are not converted on request: a dataflow applies its mapping set to each record"
            " that it ingests. Create a dataflow with this mapping set instead."
        )
    body: dict[str, Any] = envelope([], min(number(call, "limit", 100), MOST), {})
    return Answer(body=body)


def one(call: Call) -> Answer:
    """404, for activities of a conversion as well."""
    raise refuse(f"There is no batch conversion {call.params['id']}.", 404)
