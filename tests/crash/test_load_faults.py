"""More load than a server takes, of each kind: connections, bytes, and a lake that is slow. Minutes each."""

import json
import os
import resource
import socket
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from headrace.testing.oracle import Answer
from tests.crash.rig import Rig, wait_for
from tests.crash.senders import Sender

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def settled_descriptors(pid: int) -> int:
    """How many there are when connections that have just ended are gone."""
    seen = []
    for _ in range(10):
        time.sleep(0.1)
        seen.append(descriptors(pid))
    return min(seen)


def percentile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[int(share * (len(seconds) - 1))]


def told(what: str, seconds: list[float]) -> None:
    """Print the figures of a run, which `pytest -s` shows."""
    p50, p99 = (1000 * percentile(seconds, share) for share in (0.5, 0.99))
    print(f"{what}: {len(seconds)} answers, p50 {p50:.1f} ms, p99 {p99:.1f} ms")


# -- connections --------------------------------------------------------------------------------------------------

IDLE, SLOW, TIMEOUT = 10_000, 100, 60


@contextmanager
def file_limit(soft: int) -> Iterator[None]:
    """This process and those that it starts may have that many files open; skips where the system forbids it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < soft:
        pytest.skip(f"the hard limit of open files is {before[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def served(rig: Rig, sender: str, requests: int) -> list[float]:
    """Send records one after the other, half of them over new connections; the seconds that each took."""
    took = []
    with httpx.Client(timeout=10) as kept:
        for n in range(requests):
            began, request = time.monotonic(), rig.oracle.attempt(sender, n, 1)
            post = kept.post if n % 2 else partial(httpx.post, verify=False)
            answer = post(
                rig.journey.inlet_url, json={"id": f"{sender}:{n}", "n": n, "kind": "good"},
                headers={"x-adobe-flow-id": rig.journey.flow_id},
            )  # fmt: skip
            took.append(time.monotonic() - began)
            assert answer.status_code == 200, answer.text
            rig.oracle.answer(request, Answer.ACKNOWLEDGED)
    return took


def test_p7_ten_thousand_idle_and_a_hundred_slow_connections_leave_others_unaffected(
    tmp_path: Path,
) -> None:
    with file_limit(1024):  # as most systems start a process: the server must help itself
        rig = Rig(tmp_path, HEADRACE_REQUEST_TIMEOUT=str(TIMEOUT))
    parts = urlsplit(rig.journey.batch_url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nx-adobe-flow-id: {rig.journey.flow_id}\r\n"
        "Content-Length: 100000\r\n\r\n"
    ).encode()
    stop = threading.Event()

    def connect() -> socket.socket:
        return held.enter_context(socket.create_connection((parts.hostname, parts.port), 30))

    def drip() -> None:
        for n in range(10_000):
            if stop.wait(0.1):
                return
            for connection in slow:
                with suppress(OSError):  # answered and closed
                    connection.send(head[n : n + 1] if n < len(head) else b" ")

    with file_limit(IDLE + 1000), ExitStack() as held:
        held.callback(rig.close)
        alone = served(rig, "alone", 200)
        before, files = resident(rig.pid), settled_descriptors(rig.pid)
        began = time.monotonic()
        idle = [connect() for _ in range(IDLE)]
        wait_for("all are connected", lambda: descriptors(rig.pid) >= files + IDLE)
        each = (resident(rig.pid) - before) / IDLE
        print(
            f"{IDLE} idle connections within {time.monotonic() - began:.1f} s, {each:.0f} bytes each"
        )
        slow = [connect() for _ in range(SLOW)]
        dripping = threading.Thread(target=drip)
        dripping.start()
        held.callback(stop.set)
        beside = served(rig, "beside", 200)
        assert descriptors(rig.pid) >= files + IDLE + SLOW, "all of them were there meanwhile"
        assert time.monotonic() - began < TIMEOUT
        for what, seconds in (("alone", alone), ("beside idle and slow ones", beside)):
            told(what, seconds)
        assert percentile(beside, 0.5) < max(0.1, 5 * percentile(alone, 0.5))
        assert percentile(beside, 0.99) < 1
        assert each < 20_000
        wait_for("they end", lambda: descriptors(rig.pid) < files + 50, 2 * TIMEOUT)
        stop.set()
        dripping.join()
        assert {ended(connection) for connection in idle} == {b""}
        assert {ended(connection)[:12] for connection in slow} == {b"HTTP/1.1 408"}
        assert statistics.median(served(rig, "after", 40)) < max(0.1, 5 * percentile(alone, 0.5))
        findings = rig.verdict()
        assert findings.faults() == {}
        assert findings.landed == 440, "nothing of the bodies that never came"


def ended(connection: socket.socket) -> bytes:
    """What the server said last before it closed the connection."""
    connection.settimeout(5)
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:  # closed while more was on its way
        pass
    return found


def test_p7_connections_beyond_what_the_system_allows_are_told_so_and_those_within_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More at once than there are descriptors: what is refused takes none that files need."""
    most = 2000
    limited = tmp_path / "python"
    limited.write_text(f'#!/bin/sh\nulimit -n {most}\nexec {sys.executable} "$@"\n')
    limited.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(limited))
        rig = Rig(tmp_path)
    parts = urlsplit(rig.journey.batch_url)
    with file_limit(5000), ExitStack() as held:
        held.callback(rig.close)
        sender = rig.send("steady", "messages", 1, largest=20)
        wait_for("records are accepted", lambda: sender.accepted > 0)
        made = [
            held.enter_context(socket.create_connection((parts.hostname, parts.port), 30))
            for _ in range(most + 1000)
        ]
        for connection in made:
            connection.settimeout(0.01)
        refused = []
        for connection in made:
            with suppress(TimeoutError):
                refused.append(connection.recv(65536))
        assert len(made) - len(refused) <= most - 512
        assert len(refused) < 1600
        for answer in refused:
            first, _, body = answer.partition(b"\r\n\r\n")
            assert first.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            assert b"\r\nretry-after: 5" in first
            assert json.loads(body)["code"] == "overloaded"
        before = sender.accepted
        wait_for("the connection of before goes on", lambda: sender.accepted > before + 200)
        assert set(sender.statuses) <= {207, 400}
        for connection in made:
            connection.close()
        wait_for("there is room", lambda: descriptors(rig.pid) < 200)
        assert len(served(rig, "after", 10)) == 10
        assert rig.verdict().faults() == {}
        assert b"Too many open files" not in (tmp_path / "server.log").read_bytes()


# -- bytes --------------------------------------------------------------------------------------------------------


class Paced(Sender):
    """Sends lines of 4 KB each, `rate` requests a second, and keeps what it was told."""

    def __init__(
        self, rig: Rig, name: str, *, rate: float, lines: int = 30, text: int = 4000
    ) -> None:
        super().__init__(rig.oracle, rig.journey, name, "lines", 1)
        self.rate, self.lines, self.text = rate, lines, "x" * text
        self.took: dict[int, list[float]] = {}
        self.waits: list[str | None] = []
        self.due = time.monotonic()

    def _request(self, client: httpx.Client) -> bool:
        self.stopping.wait(max(0.0, self.due - time.monotonic()))
        self.due = max(self.due + 1 / self.rate, time.monotonic() - 1)
        first, self.sent = self.sent, self.sent + self.lines
        records = [
            {"id": f"{self.name}:{first + n}", "n": n, "kind": "good", "text": self.text}
            for n in range(self.lines)
        ]
        content = "\n".join(map(json.dumps, records))
        headers = {"x-adobe-flow-id": self.journey.flow_id, "content-type": "application/x-ndjson"}
        request, began = self.oracle.attempt(self.name, first, self.lines), time.monotonic()
        try:
            answer = client.post(self.journey.batch_url, content=content, headers=headers)
        except httpx.HTTPError:
            return False
        self.took.setdefault(answer.status_code, []).append(time.monotonic() - began)
        accepted = answer.status_code == 207
        self.oracle.answer(request, Answer.ACKNOWLEDGED if accepted else Answer.REFUSED)
        if accepted:
            self.accepted += self.lines
        else:
            self.waits.append(answer.headers.get("retry-after"))
        return True


class Memory(threading.Thread):
    """Looks every half second at what server and worker hold; `held`: the bytes of each look."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(daemon=True)
        self.rig, self.stopping = rig, threading.Event()
        self.held: dict[str, list[int]] = {"server": [], "worker": []}
        self.start()

    def run(self) -> None:
        while not self.stopping.wait(0.5):
            with suppress(OSError):
                self.held["server"].append(resident(self.rig.pid))
                worker = self.rig.worker()
                if worker is not None:
                    self.held["worker"].append(resident(worker))

    def check(self, most_more: int) -> None:
        """Neither process holds more in the second half than it did at most in the first, but for `most_more` bytes."""
        self.stopping.set()
        self.join()
        for name, held in self.held.items():
            half = len(held) // 2
            first, second = max(held[:half]), max(held[half:])
            print(
                f"{name}: {held[0] >> 20} MB at first, at most {first >> 20}, then {second >> 20}"
            )
            assert second < first + most_more


def logged(rig: Rig) -> int:
    """Bytes of log that are kept."""
    found = 0
    for path in (rig.server.data_dir / "log").iterdir():
        with suppress(FileNotFoundError):  # freed meanwhile
            found += path.stat().st_size
    return found


def running(seconds: float, *senders: Paced) -> None:
    for sender in senders:
        sender.start()
    time.sleep(seconds)
    for sender in senders:
        sender.stop()


def test_p7_ten_times_the_load_for_a_minute_is_refused_with_retry_after_and_what_is_accepted_lands(
    tmp_path: Path,
) -> None:
    rate, times = 5.0, 10
    rig = Rig(
        tmp_path, HEADRACE_LOG_MAX_BYTES="12000000", HEADRACE_LOG_SEGMENT_BYTES="500000",
        HEADRACE_LANDING_DELAY_ALERT="20",
    )  # fmt: skip
    with ExitStack() as held:
        held.callback(rig.close)
        before = Paced(rig, "before", rate=rate)
        running(15, before)
        memory = Memory(rig)
        burst = [Paced(rig, f"burst{n}", rate=rate) for n in range(times)]
        running(60, *burst)
        memory.check(100 << 20)
        wait_for("the backlog drains", lambda: rig.measured()["pending"] == 0)
        wait_for("the log is freed", lambda: logged(rig) < 2_000_000)
        after = Paced(rig, "after", rate=rate)
        running(15, after)
        told("before", before.took[207])
        accepted = [took for sender in burst for took in sender.took.get(207, [])]
        refused = [
            took
            for sender in burst
            for status in (429, 503)
            for took in sender.took.get(status, [])
        ]
        told("accepted in the burst", accepted)
        told("refused in the burst", refused)
        told("after", after.took[207])
        assert set(before.took) == set(after.took) == {207}
        assert {status for sender in burst for status in sender.took} <= {207, 429, 503}
        waits = [wait for sender in burst for wait in sender.waits]
        assert len(waits) == len(refused) > 50
        assert all(wait is not None and 1 <= int(wait) <= 60 for wait in waits)
        assert percentile(accepted, 0.99) < 2
        assert percentile(after.took[207], 0.5) < max(0.1, 5 * percentile(before.took[207], 0.5))
        findings = rig.verdict()
        assert findings.faults() == {}
        assert findings.landed == 30 * (
            len(before.took[207]) + len(accepted) + len(after.took[207])
        )
        assert wait_for("health", lambda: rig.health()["status"] == "ok")


# -- a lake that is slow ------------------------------------------------------------------------------------------

SLOW_LAKE = """
import os, sys
if "headrace.runtime.worker" in sys.orig_argv:
    import time
    from pyiceberg.catalog.sql import SqlCatalog
    real = SqlCatalog.commit_table
    def slow(*given, **named):
        if os.path.exists(os.environ["SLOW_LAKE"]):
            time.sleep(30)
        return real(*given, **named)
    SqlCatalog.commit_table = slow
"""


def commits_of(rig: Rig) -> int:
    with sqlite3.connect(rig.server.data_dir / "headrace.db") as db:
        query = "SELECT count(*) FROM commits WHERE flow_id=? AND kind='good'"
        return int(db.execute(query, (rig.journey.flow_id,)).fetchone()[0])


def test_p7_commits_of_thirty_seconds_become_larger_not_more_and_no_acknowledgement_waits_for_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_LAKE)
    switch = tmp_path / "slow"
    rig = Rig(tmp_path, PYTHONPATH=str(tmp_path), SLOW_LAKE=str(switch))
    seconds = 150
    with ExitStack() as held:
        held.callback(rig.close)
        quick = Paced(rig, "quick", rate=20, lines=50, text=100)
        running(15, quick)
        rig.quiesce()
        before = commits_of(rig)
        assert before > 10
        switch.touch()
        memory = Memory(rig)
        slow = Paced(rig, "slow", rate=20, lines=50, text=100)
        running(seconds, slow)
        memory.check(64 << 20)
        during = commits_of(rig) - before
        pending = rig.measured()["pending"]
        switch.unlink()
        rig.quiesce(120)
        told("quick lake", quick.took[207])
        told("slow lake", slow.took[207])
        print(
            f"{before} commits in 15 s, then {during} in {seconds} s; {pending:.0f} records waited"
        )
        assert 1 <= during <= seconds / 30
        assert pending > 1000
        assert set(slow.took) == {207}
        assert percentile(slow.took[207], 0.5) < max(0.1, 3 * percentile(quick.took[207], 0.5))
        assert percentile(slow.took[207], 0.99) < max(0.5, 3 * percentile(quick.took[207], 0.99))
        assert len(slow.took[207]) > 0.7 * 20 * seconds
        findings = rig.verdict()
        assert findings.faults() == {}
        assert findings.landed == 50 * (len(quick.took[207]) + len(slow.took[207]))
