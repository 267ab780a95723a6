"""Threads that send records as clients do, and tell the oracle what they sent and what they were told."""

import contextlib
import json
import random
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import httpx

from headrace.testing.oracle import Answer, Oracle
from headrace.testing.server import Journey

KINDS = ("single", "messages", "lines")
NOT_A_NUMBER = '{"id": "%s", "n": 1e400}'
"""JSON that no number type holds; it cannot be written by an encoder."""


def record(name: str, n: int, poison: bool) -> str:
    """One record as text. Poison breaks the schema, or cannot be decoded."""
    if poison and n % 2:
        return NOT_A_NUMBER % name
    kind = "poison" if poison else "good"
    return json.dumps({"id": name, "n": n, "kind": kind, "extra": n, "text": "x" * (n % 90)})


class Sender(threading.Thread):
    """Sends until `budget` records were accepted (None: until stopped), one request after the other: its acknowledged records have an
    order. `pause` is in seconds, between requests, `poison` the share of records that must fail. A request that
    got no answer is not repeated, and one in fifty requests is no JSON, which must be refused."""

    def __init__(
        self,
        oracle: Oracle,
        journey: Journey,
        name: str,
        kind: str,
        seed: int,
        *,
        budget: int | None = None,
        poison: float = 0.05,
        largest: int = 100,
        timeout: float = 5.0,
        pause: float = 0.0,
    ) -> None:
        super().__init__(daemon=True, name=name)
        self.oracle, self.journey, self.kind = oracle, journey, kind
        self.budget, self.poison, self.largest, self.timeout = budget, poison, largest, timeout
        self.pause = pause
        self.accepted = 0
        self.random = random.Random(f"{seed}-{name}")
        self.sent = 0
        self.statuses: dict[int, int] = {}
        self.stopping = threading.Event()

    def run(self) -> None:
        with httpx.Client(timeout=self.timeout, verify=False) as client:
            while not self.stopping.is_set() and (
                self.budget is None or self.accepted < self.budget
            ):
                if not self._request(client):
                    self._wait_for_server()
                self.stopping.wait(self.pause)

    def stop(self, patience: float = 30.0) -> None:
        """End after the running request."""
        self.stopping.set()
        self.join(patience)
        assert not self.is_alive(), f"sender {self.name} does not end"

    def _wait_for_server(self) -> None:
        """Wait until somebody listens: what is sent to nobody shows nothing."""
        parts = urlsplit(self.journey.inlet_url)
        while not self.stopping.wait(0.05):
            with contextlib.suppress(OSError):
                socket.create_connection((parts.hostname, parts.port), 1).close()
                return

    def _request(self, client: httpx.Client) -> bool:
        """Send one request; whether it was accepted."""
        count = 1 if self.kind == "single" else self.random.randint(1, self.largest)
        poison = {i for i in range(count) if self.random.random() < self.poison}
        first = self.sent
        names = [f"{self.name}:{first + i}" for i in range(count)]
        texts = [record(name, first + i, i in poison) for i, name in enumerate(names)]
        url, content, kind = self._shaped(texts)
        if self.random.random() < 0.02 and self.kind != "lines":
            content = content[:-1]
        request = self.oracle.attempt(self.name, first, count, poison)
        self.sent += count
        headers = {"x-adobe-flow-id": self.journey.flow_id, "content-type": kind}
        try:
            answer = client.post(url, content=content, headers=headers)
        except httpx.HTTPError:
            return False
        self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
        if answer.status_code in (200, 207):
            self.accepted += count
            self.oracle.answer(request, Answer.ACKNOWLEDGED, _refused(answer))
        else:
            self.oracle.answer(request, Answer.REFUSED)
        return answer.status_code in (200, 207)

    def _shaped(self, texts: list[str]) -> tuple[str, str, str]:
        if self.kind == "single":
            return self.journey.inlet_url, texts[0], "application/json"
        if self.kind == "lines":
            return self.journey.batch_url, "\n".join(texts), "application/x-ndjson"
        return (
            self.journey.batch_url,
            '{"messages": [' + ", ".join(texts) + "]}",
            "application/json",
        )


def _refused(answer: httpx.Response) -> list[int]:
    if answer.status_code != 207:
        return []
    responses: list[dict[str, Any]] = answer.json()["responses"]
    return [i for i, response in enumerate(responses) if response.get("status", 200) >= 400]
