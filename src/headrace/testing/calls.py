"""Calls to an ASGI application within the process, for tests of services without a socket."""

import asyncio
from typing import Any

import httpx


class InProcess:
    """Sends requests to `app`; `headers` go with each."""

    def __init__(self, app: Any, headers: dict[str, str] | None = None) -> None:
        self._app = app
        self.headers = dict(headers or {})

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """As httpx.Client.request; headers set to None are left out."""
        given = {**self.headers, **options.pop("headers", {})}
        headers = {name: value for name, value in given.items() if value is not None}

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(send())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def patch(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)
