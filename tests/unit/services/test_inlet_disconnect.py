"""A client that goes away before its body: nothing is accepted in its name."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.services.inlet.endpoint import InletEndpoint


@pytest.mark.parametrize("path", ["/collection/i", "/collection/batch/i"])
@pytest.mark.parametrize("parts", [0, 1], ids=["before the body", "within the body"])
def test_p1_a_body_that_never_came_is_not_an_empty_record(path: str, parts: int) -> None:
    inlet = SimpleNamespace(id="i", authentication_required=False, scope=SimpleNamespace(org="o"))
    appended: list[Any] = []
    log = SimpleNamespace(append=lambda *given, **options: appended.append(given))
    directory: Any = SimpleNamespace(inlet=lambda id: inlet)
    endpoint = InletEndpoint(directory, log, lambda *given: [], lambda *given: True)  # type: ignore[arg-type]
    arriving = [{"type": "http.request", "body": b"", "more_body": True}] * parts
    messages = iter([*arriving, {"type": "http.disconnect"}])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"path": path, "method": "POST", "query_string": b"", "headers": []}
    asyncio.run(endpoint(scope, receive, send))
    assert appended == []
    assert endpoint.counters == {}, "nothing was received"
    assert sent[0]["status"] == 400
