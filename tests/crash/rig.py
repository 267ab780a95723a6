"""A flow of a real server that faults are done to, with its senders and its oracle."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from headrace.disk import local_path
from headrace.testing.oracle import (
    Answer,
    Findings,
    Oracle,
    balance,
    compare,
    counts_of,
    rows_of,
)
from headrace.testing.server import PlatformClient, ServerProcess
from tests.crash.senders import Sender

SOURCE = Path(__file__).parents[2] / "src" / "headrace"
SETTINGS = {"HEADRACE_COMMIT_INTERVAL": "0.1", "HEADRACE_LOG_SEGMENT_BYTES": "40000"}
FOREIGN = "foreign"
TRIES = 30
PATIENCE = 150.0
"""Seconds that a start may take: these tests also run beside others on a busy machine."""


def crash_points() -> list[str]:
    """The names of all crash points in the code."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        found |= set(re.findall(r'\breach\("([\w-]+)"\)', path.read_text()))
    return sorted(found)


def wait_for(what: str, check: Callable[[], Any], patience: float = 30.0) -> Any:
    """The first true value of `check`; AssertionError that names `what` when none comes in `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {patience} s"
        time.sleep(0.03)


@dataclass(frozen=True, slots=True)
class Settled:
    """What the last verdict covered: the newest request, the largest offset, rows of the flow in both tables."""

    request: int = 0
    offset: int = -1
    good: int = 0
    failed: int = 0


class Rig:
    """`root` is for the server's directory, its log and the oracle's file."""

    def __init__(self, root: Path, beside: "Rig | None" = None, **settings: str) -> None:
        """With `beside`, another flow of that rig's server."""
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        if beside is None:
            self.server = ServerProcess(root / "data", **(SETTINGS | settings)).start(PATIENCE)
        else:
            self.server = beside.server
        self.client = PlatformClient(self.server.credentials())
        self.tenant = f"_{self.client.credentials['tenant_id']}"
        self.rules = [
            {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
            # without a time the record breaks its schema
            {"sourceType": "EXPRESSION", "source": 'iif(kind == "poison", null, now())', "destination": "timestamp"},
            {"sourceType": "ATTRIBUTE", "source": "n", "destination": f"{self.tenant}.n"},
        ]  # fmt: skip
        self.journey = self.client.create_flow({"n": {"type": "integer"}}, self.rules)
        self.oracle = Oracle(root / "oracle.db")
        self.senders: list[Sender] = []
        self.kills = 0
        self.settled = Settled()
        self.http = httpx.Client(verify=False, timeout=10)
        self.foreign, self.foreign_serial = 0, 0
        self.columns = 0

    # -- sending --------------------------------------------------------------------------------------------

    def send(self, name: str, kind: str, seed: int, **options: Any) -> Sender:
        """Start a sender."""
        sender = Sender(self.oracle, self.journey, name, kind, seed, **options)
        sender.start()
        self.senders.append(sender)
        return sender

    def sent(self) -> int:
        return sum(sender.sent for sender in self.senders)

    # -- processes ------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self.server.process is not None
        return self.server.process.pid

    def worker(self) -> int | None:
        """The process id of the server's worker, if there is one just now."""
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
                with contextlib.suppress(OSError):
                    if b"headrace.runtime.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                        return int(child)
        return None

    def signal_worker(self, number: int) -> int | None:
        """Signal the worker; its process id."""
        found = self.worker()
        if found is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found, number)
        return found

    def kill_worker(self) -> None:
        if self.signal_worker(signal.SIGKILL) is not None:
            self.kills += 1

    def kill_server(self) -> None:
        self.server.kill()
        self.kills += 1

    def launch(self, crash_at: str | None = None, *, soon: bool = False) -> bool:
        """Start the server, with a crash point if one is given; whether it lived to be well, or `soon` to answer."""
        self.server.environment.pop("HEADRACE_CRASH_AT", None)
        if crash_at is not None:
            self.server.environment["HEADRACE_CRASH_AT"] = crash_at
        try:
            self.server.start(PATIENCE, soon=soon)
        except RuntimeError:
            if crash_at is None:
                raise
            return False
        return True

    def crash(self, point: str, number: int, patience: float = 12.0) -> bool:
        """Restart so that a process dies when it reaches `point` the `number`-th time, then start as usual.
        Whether the point was reached."""
        self.kill_server()
        errors = self.server.data_dir.parent / "server.log"
        before = errors.stat().st_size
        self.launch(f"{point}:{number}", soon=True)
        deadline = time.monotonic() + patience
        reached = False
        while not reached and time.monotonic() < deadline:
            ended = self.server.process is None or self.server.process.poll() is not None
            with errors.open("rb") as file:
                file.seek(before)
                reached = ended or b"worker ended with status 137" in file.read()
            time.sleep(0.02)
        alive = self.server.process is not None and self.server.process.poll() is None
        self.kills += reached + alive
        self.server.kill()
        self.launch(soon=True)
        return reached

    def second_server(self) -> subprocess.CompletedProcess[bytes]:
        """Another server on the same directory, until it ends."""
        return subprocess.run(
            [sys.executable, "-m", "headrace", "serve", "--data-dir", str(self.server.data_dir), "--port", "0"],
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip

    # -- changes in flight ----------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """An API call, repeated while the server cannot be reached."""
        for attempt in range(TRIES):
            try:
                return self.client.call(method, path, body, **headers)
            except httpx.TransportError:
                if attempt == TRIES - 1:
                    raise
                time.sleep(0.2)
        raise AssertionError

    def widen_schema(self) -> None:
        """Add a field to the flow's schema: its table grows a column."""
        registry = "/data/foundation/schemaregistry/tenant"
        accept = {"Accept": "application/vnd.adobe.xed+json; version=1"}
        schema = self.call("GET", f"{registry}/schemas/{_quoted(self.journey.schema_id)}", **accept)
        group = next(
            r["$ref"]
            for r in schema["allOf"]
            if "/mixins/" in r["$ref"] or "fieldgroups" in r["$ref"]
        )
        self.columns += 1
        path = f"/definitions/customFields/properties/{self.tenant}/properties/extra{self.columns}"
        change = {"op": "add", "path": path, "value": {"type": "integer"}}
        self.call("PATCH", f"{registry}/fieldgroups/{_quoted(group)}", [change])

    def change_mapping(self) -> None:
        """Publish a new version of the mapping, which fills the newest column, and let the flow use it."""
        newest = f"{self.tenant}.extra{self.columns}" if self.columns else f"{self.tenant}.n"
        rules = [*self.rules]
        if self.columns:
            rules.append({"sourceType": "ATTRIBUTE", "source": "extra", "destination": newest})
        content_type = "application/vnd.adobe.xed-full+json;version=1"
        reference = {"id": self.journey.schema_id, "contentType": content_type}
        body = {"version": 0, "outputSchema": {"schemaRef": reference}, "mappings": rules}
        path = f"/data/foundation/conversion/mappingSets/{self.journey.mapping_id}"
        made = self.call("PUT", path, body)
        params = {"mappingId": self.journey.mapping_id, "mappingVersion": made["version"]}
        value = [{"name": "Mapping", "params": params}]
        flow = f"/data/foundation/flowservice/flows/{self.journey.flow_id}"
        etag = self.call("GET", flow)["items"][0]["etag"]
        change = [{"op": "replace", "path": "/transformations", "value": value}]
        self.call("PATCH", flow, change, **{"if-match": etag})

    def set_enabled(self, enabled: bool) -> None:
        flow = f"/data/foundation/flowservice/flows/{self.journey.flow_id}"
        state = self.call("GET", flow)["items"][0]["state"]
        if state != ("enabled" if enabled else "disabled"):
            self.call("POST", f"{flow}/action?op={'enable' if enabled else 'disable'}")

    def append_foreign(self, count: int) -> None:
        """Append rows to the good table as another Iceberg client would."""
        import pyarrow as pa
        from pyiceberg.exceptions import CommitFailedException

        from headrace.lake.catalog import Lake

        lake = Lake(self.server.data_dir)
        first, self.foreign_serial = self.foreign_serial, self.foreign_serial + count
        request = self.oracle.attempt(FOREIGN, first, count)
        table = lake.table(self.client.credentials["sandbox"], self.journey.dataset_id)
        try:
            table.append(pa.table({"_id": [f"{FOREIGN}:{first + n}" for n in range(count)]}))
        except CommitFailedException:  # the flow was faster each time that it tried
            self.oracle.answer(request, Answer.REFUSED)
        else:
            self.oracle.answer(request, Answer.ACKNOWLEDGED)
            self.foreign += count

    def take_table_away(self, seconds: float) -> None:
        """The metadata of the good table are not there for a while."""
        from headrace.lake.catalog import Lake

        lake = Lake(self.server.data_dir)
        table = lake.table(self.client.credentials["sandbox"], self.journey.dataset_id)
        path = local_path(table.metadata_location)
        away = path.with_suffix(".away")
        path.rename(away)
        time.sleep(seconds)
        away.rename(path)

    # -- verdict --------------------------------------------------------------------------------------------

    def measured(self) -> dict[str, float]:
        """The flow's figures at /metrics."""
        text = self.http.get(f"{self.server.credentials()['base_url']}/metrics").text
        mine = [line for line in text.splitlines() if f'flow="{self.journey.flow_id}"' in line]
        return {
            line.split("{")[0].removeprefix("headrace_flow_"): float(line.rsplit(" ", 1)[1])
            for line in mine
        }

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(
            f"{self.server.credentials()['base_url']}/health"
        ).json()
        return found

    def quiesce(self, patience: float = 60.0) -> None:
        """End the senders and wait until nothing is pending any more."""
        for sender in self.senders:
            sender.stop()
        self.senders = []
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            measured = self.measured()
            if measured and measured["pending"] == 0 and measured["unexplained"] == 0:
                return
            time.sleep(0.1)

    def verdict(self, *, whole: bool = True) -> Findings:
        """Quiesce, then hold the account against the tables. Without `whole` only what came since the last verdict is
        read, and all rows are counted; what looks wrong is judged again by everything."""
        self.quiesce()
        if not whole:
            findings = self._newest()
            if not findings.faults():
                return findings
        good, failed = rows_of(self.server.data_dir, self.journey.dataset_id)
        findings = compare(self.oracle.attempts(), good, failed)
        own = [row for row in (*good, *failed) if row.partition]
        self.settled = Settled(
            self.oracle.newest(), max((row.offset for row in own), default=-1),
            len(own) - len(failed), len(failed),
        )  # fmt: skip
        self._balance(findings, self.foreign)
        return findings

    def _newest(self) -> Findings:
        before, newest = self.settled, self.oracle.newest()
        place = self.server.data_dir, self.journey.dataset_id
        good, failed = rows_of(*place, after=before.offset)
        attempts = [a for a in self.oracle.attempts(before.request) if a.sender != FOREIGN]
        findings = compare(attempts, good, failed)
        findings.landed, findings.failed = counts_of(*place)
        expected = before.good + len(good), before.failed + len(failed)
        if (findings.landed, findings.failed) != expected:
            text = f"{findings.landed} and {findings.failed} rows, expected {expected}"
            findings.duplicated.append(
                text
            )  # rows that were judged before have become more, or fewer
        self._balance(findings, 0)
        if not findings.faults():
            offset = max((row.offset for row in (*good, *failed)), default=before.offset)
            self.settled = Settled(newest, offset, *expected)
        return findings

    def _balance(self, findings: Findings, foreign: int) -> None:
        measured = self.measured()
        if measured:
            findings.unbalanced = balance(measured, findings, foreign)
        elif findings.acknowledged:
            findings.unbalanced = ["the server has no figures for the flow"]

    def close(self) -> None:
        for sender in self.senders:
            sender.stop()
        self.server.kill()
        self.client.http.close()
        self.http.close()
        self.oracle.close()


def _quoted(text: str) -> str:
    return httpx.QueryParams({"q": text}).__str__().removeprefix("q=")
