"""Lists, filters and reads of dataflows: a sandbox with 10,000 against one with 100.

Calls go through the application in this process, without a socket: what is measured is the gateway, the service,
the store and the JSON. The small and the large sandbox take turns, so that both see the same machine. `first`
rows are the same calls right after a dataflow was created, when memory has to catch up with the store. Requests a
second are those of one thread.

    python bench/flows.py [--flows 10000] [--rounds 300]
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.security.egress import Egress
from headrace.security.tokens import Tokens
from headrace.security.vault import Vault
from headrace.services.flow import FlowService, routes
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions
from headrace.xdm.fields import Field

BASE = "/data/foundation/flowservice"
HTTP = {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"}
LAKE = {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c", "version": "1.0"}
PLAIN = {"id": "d8a6f005-7eaf-4153-983e-e8574508b877", "version": "1.0"}
SMALL = 100


class Sandbox:
    """A store of its own with some dataflows, and calls to it."""

    def __init__(self, directory: Path, flows: int) -> None:
        directory.mkdir()
        self.store = Store(directory / "headrace.db")
        installation = bootstrap(self.store, directory, "http://localhost")
        service = FlowService(
            self.store, Revisions(self.store), Vault.at(directory / "vault.key", self.store),
            Egress(), "http://localhost", datasets=lambda scope, id: {"schemaRef": {"id": "s"}},
            schema_tree=lambda scope, id: ("s", "1.0", Field("object")),
            mapping_set=lambda scope, id, version: None, on_change=lambda: None,
        )  # fmt: skip
        gateway = Gateway(self.store, Tokens(b"k" * 32), "off", installation)
        self.app = build(routes(service), gateway, title="bench")
        client = json.loads((directory / "credentials.json").read_text())
        self.headers = [
            (b"x-api-key", client["client_id"].encode()),
            (b"x-gw-ims-org-id", client["org_id"].encode()),
            (b"content-type", b"application/json"),
        ]
        self.loop = asyncio.new_event_loop()
        auth = {"specName": "Streaming Connection", "params": {"dataType": "xdm"}}
        base = self.post("/connections", {"name": "b", "connectionSpec": HTTP, "auth": auth})
        leg = {"name": "s", "baseConnectionId": base, "connectionSpec": HTTP}
        target = {"name": "t", "connectionSpec": LAKE, "params": {"dataSetId": "d"}}
        self.ends = {
            "sourceConnectionIds": [self.post("/sourceConnections", leg)],
            "targetConnectionIds": [self.post("/targetConnections", target)],
        }
        scope, id = Scope(client["org_id"], "prod"), self.create("flow 0")
        first = self.store.get(scope, "flows", id)
        assert first is not None
        with self.store.transaction():
            for number in range(1, flows):
                id = f"00000000-0000-4000-8000-{number:012x}"
                body = {**first.body, "id": id, "name": f"flow {number}"}
                self.store.create(scope, "flows", id, body)
        self.created = flows
        self.some_id = first.id

    def create(self, name: str) -> str:
        return self.post("/flows", {"name": name, "flowSpec": PLAIN, **self.ends})

    def post(self, path: str, body: dict[str, Any]) -> str:
        return str(json.loads(self.call("POST", path, json.dumps(body).encode()))["id"])

    def call(self, method: str, path: str, body: bytes = b"") -> bytes:
        """One request; the body of its answer."""
        path, _, query = path.partition("?")
        scope = {
            "type": "http", "method": method, "path": BASE + path, "raw_path": b"", "root_path": "",
            "query_string": query.encode(), "headers": self.headers, "scheme": "http",
            "http_version": "1.1", "server": ("localhost", 80), "client": ("localhost", 1),
        }  # fmt: skip
        parts: list[bytes] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                assert message["status"] < 300, (message, path)
            parts.append(message.get("body", b""))

        self.loop.run_until_complete(self.app(scope, receive, send))
        return b"".join(parts)


def committed(sandbox: Sandbox, windows: int) -> None:
    """One commit in each of the last hours for every dataflow, so that runs have something to tell."""
    now = int(time.time() * 1000)
    body = {
        "records": 100, "failed": 0, "warnings": 0, "bytes": 17_000, "input_bytes": 24_000, "files": ["f"],
        "errors": [], "warningInfo": [], "start": 0, "next": 100, "sequence": 1, "revision": 1,
    }  # fmt: skip
    with sandbox.store.transaction() as db:
        ids = [row[0] for row in db.execute("SELECT id FROM documents WHERE kind='flows'")]
        for number in range(windows):
            rows = []
            for index, id in enumerate(ids):
                at = now - number * 3_600_000 - index * 37
                text = json.dumps(body | {"started": at - 50, "received": at - 80})
                rows.append((f"{id}-{number}", f"{id}-{number}", id, "d", "good", at, text))
            db.executemany("INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def calls(sandbox: Sandbox) -> dict[str, Callable[[], bytes]]:
    """What is measured."""
    middle = f"flow%20{sandbox.created // 2}"
    paths = {
        "list, 20 of all": "/flows",
        "list, page in the middle": middle_page(sandbox),
        "filter, name==": f"/flows?property=name=={middle}",
        "filter, state==enabled": "/flows?property=state==enabled",
        "orderby=name": "/flows?orderby=name",
        "read one": f"/flows/{sandbox.some_id}",
        "runs of one": f"/runs?property=flowId=={sandbox.some_id}",
        "runs of all": "/runs",
    }
    return {
        name: lambda path=path: sandbox.call("GET", path)  # type: ignore[misc]
        for name, path in paths.items()
    }


def middle_page(sandbox: Sandbox) -> str:
    """The address of the page that begins half-way, reached by its token."""
    page = json.loads(sandbox.call("GET", "/flows?limit=100"))
    for _ in range(sandbox.created // 200 - 1):
        page = json.loads(sandbox.call("GET", page["_links"]["next"]["href"]))
    link = page["_links"].get("next", {}).get("href", "/flows?limit=20")
    return f"{link}&limit=20"


def milliseconds(call: Callable[[], bytes]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def share(times: list[float], part: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        sandboxes = [
            Sandbox(Path(directory) / str(count), count) for count in (SMALL, options.flows)
        ]
        for sandbox in sandboxes:
            committed(sandbox, 3)
        measured = [calls(sandbox) for sandbox in sandboxes]
        found: dict[tuple[str, int], list[float]] = {}
        for number in range(options.rounds + 1):
            for name in measured[0]:
                for at, sandbox in enumerate(measured):
                    took = milliseconds(sandbox[name])
                    if number:  # the first round fills memory
                        found.setdefault((name, at), []).append(took)
        for number in range(max(10, options.rounds // 10)):
            for at, sandbox in enumerate(sandboxes):
                for name in ("list, 20 of all", "filter, name=="):
                    sandbox.create(f"later {number}")
                    took = milliseconds(measured[at][name])
                    found.setdefault((f"first {name}", at), []).append(took)
        failed = "/flows?property=lastRunDetails.state==failed"  # none is: every flow is looked at
        for _ in range(6):
            for at, sandbox in enumerate(sandboxes):
                took = milliseconds(lambda: sandbox.call("GET", failed))  # noqa: B023
                found.setdefault(("filter, last run", at), []).append(took)
        print(f"| ms | {SMALL} flows: p50, p95 | {options.flows:,} flows: p50, p95 | p50, p95 |")
        print("|---|---|---|---|")
        for name in dict.fromkeys(name for name, _ in found):
            small, large = found[name, 0], found[name, 1]
            cells = [
                f"{share(times, 0.5):.2f}, {share(times, 0.95):.2f}" for times in (small, large)
            ]
            ratios = [share(large, part) / share(small, part) for part in (0.5, 0.95)]
            print(f"| {name} | {cells[0]} | {cells[1]} | {ratios[0]:.1f}×, {ratios[1]:.1f}× |")
        for sandbox, count in zip(sandboxes, (SMALL, options.flows), strict=True):
            rates = []
            for _ in range(5):
                begun, done = time.perf_counter(), 0
                while time.perf_counter() - begun < 0.5:
                    sandbox.call("GET", f"/flows/{sandbox.some_id}")
                    done += 1
                rates.append(done / (time.perf_counter() - begun))
            print(f"\nread one of {count:,}: {statistics.median(rates):,.0f} requests/s")


if __name__ == "__main__":
    main()
