"""Keeps one worker process running and knows what it reports."""

import asyncio
import contextlib
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.logs import fields
from headrace.runtime.balance import Balance, OpenBalances, balance
from headrace.sources.contract import Lag

logger = logging.getLogger("headrace.worker")

LOOK_EVERY = 1.0
"""Most seconds between looks whether the worker is alive."""
STARTING = 60.0
"""Seconds that a worker may take at least to say its first word: it loads large libraries."""
LAST_LANDING = 60.0
"""Seconds that a worker may take to land what it has read before it is ended."""


@dataclass(slots=True)
class Progress:
    """What has landed of one flow, as of its last commit."""

    position: int = 0
    landed: int = 0
    failed: int = 0
    sequence: int = 0
    warnings: int = 0
    again: int = 0
    lost: int = 0
    stopped: str | None = None

    def balance(self, logged: int = 0) -> Balance:
        """The flow's account; `logged`: its records in the log, ever."""
        counts = (self.sequence, self.landed, self.failed)
        return balance(logged, *counts, again=self.again, lost=self.lost)


@dataclass
class Supervisor:
    """`balance_patience`: seconds that a flow may not balance before it is told. `worker_patience`: seconds without a
    sign of life after which the worker is replaced. `clock`: monotonic seconds."""

    data_dir: Path
    commit_interval: float
    commit_rows: int
    ready: bool = False
    restarts: int = 0
    flows: dict[str, Progress] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)
    lag: dict[str, dict[str, tuple[int | None, int | None]]] = field(default_factory=dict)
    """Flow → partition of its source → records and milliseconds behind, where the source says."""
    note: Callable[[str, str | None], None] = lambda flow_id, reason: None
    """Called in a thread when a flow stopped, with the reason, and when it no longer is (None)."""
    wanted: Callable[[str], bool] = lambda flow_id: True
    """Whether what a flow landed in is still there: that others cannot land is no trouble."""
    balance_patience: float = 60.0
    worker_patience: float = 600.0
    clock: Callable[[], float] = time.monotonic
    egress_allow: str = ""
    """Hosts beyond the public ones that sources may connect to."""
    damage: list[dict[str, Any]] = field(default_factory=list)
    """Ranges of the log that cannot be read, as the worker found them: `detail` and `count`."""

    def __post_init__(self) -> None:
        self._alive, self._spoke = self.clock(), False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free_to_run = asyncio.Event()
        self._free_to_run.set()
        self._launching = asyncio.Lock()
        self._halting = threading.Lock()
        self._open_balances = OpenBalances(self.clock)
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._waiting_since: dict[str, tuple[float, int]] = {}
        self._heard: set[str] = set()
        self._turned: list[tuple[str, str | None]] = []

    def know(self, totals: Mapping[str, Mapping[str, int]]) -> None:
        """What had landed before this start; the worker corrects it for each flow that it opens."""
        self.flows = {
            flow_id: Progress(
                position=values["position"], landed=values["landed"], failed=values["failed"],
                sequence=values["reached"], warnings=values["warnings"], again=values["again"],
                lost=values["lost"],
            )
            for flow_id, values in totals.items()
        }  # fmt: skip
        for flow_id, progress in self.flows.items():
            self._open_balances.see(flow_id, progress.balance())

    def know_lag(self, flow_id: str, lag: Mapping[str, Lag]) -> None:
        """How far the partitions of a flow's source are behind; nothing when nobody reads it."""
        self.lag[flow_id] = {id: (each.records, each.milliseconds) for id, each in lag.items()}

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._keep())

    @contextmanager
    def halted(self) -> Iterator[None]:
        """No worker runs inside: the last one has landed what it had read, another is started afterwards.

        For other threads than that of the event loop.
        """
        with self._halting:
            if self._loop is None:  # there is no worker to halt
                yield
                return
            asyncio.run_coroutine_threadsafe(self._halt(), self._loop).result()
            try:
                yield
            finally:
                self._loop.call_soon_threadsafe(self._free_to_run.set)

    async def _halt(self) -> None:
        self._free_to_run.clear()
        async with self._launching:  # one that is just being started is there afterwards
            pass
        if self._process is not None:
            await self._end(self._process, LAST_LANDING)

    async def _end(self, process: asyncio.subprocess.Process, patience: float) -> None:
        """Ask the worker to land what it has and end; kill it when it takes longer than `patience` seconds."""
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), patience)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Kill a worker that says nothing for too long: it hangs, or somebody has stopped it. What it had not committed
        is read again, and what it might still commit later is fenced off by the watermark."""
        pause = min(LOOK_EVERY, self.worker_patience / 4)
        while process.returncode is None:
            await asyncio.sleep(pause)
            silent = self.clock() - self._alive
            limit = self.worker_patience if self._spoke else max(self.worker_patience, STARTING)
            if silent > limit and process.returncode is None:
                logger.error("worker %s is silent for %.0f s: it is replaced", process.pid, silent)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    async def _keep(self) -> None:
        pause = 0.2
        while not self._stopping:
            await self._free_to_run.wait()
            started = time.monotonic()
            self._alive, self._spoke = self.clock(), False
            async with self._launching:
                if not self._free_to_run.is_set():
                    continue
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "headrace.runtime.worker",
                    str(self.data_dir), str(self.commit_interval), str(self.commit_rows), self.egress_allow,
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                )  # fmt: skip
            watch = asyncio.create_task(self._watch(self._process))
            await self._listen(self._process)
            status = await self._process.wait()
            watch.cancel()
            if self._stopping:
                return
            self.ready = False
            if not self._free_to_run.is_set():
                pause = 0.2
                continue
            self.restarts += 1
            logger.error("worker ended with status %s: starting another", status)
            pause = 0.2 if time.monotonic() - started > 30 else min(10.0, pause * 2)
            await asyncio.sleep(pause)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._alive, self._spoke = self.clock(), True
            with contextlib.suppress(ValueError):
                self._hear(json.loads(line))
            while self._turned:
                await asyncio.to_thread(self.note, *self._turned.pop(0))

    def _hear(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "ready":
            self.ready = True
            self.trouble.clear()
            self.damage = []
        elif kind == "damage":
            self.damage = event["ranges"]
        elif kind == "retry":
            self.trouble[event["flow"]] = event["reason"]
            logger.warning(
                "flow %s: landing failed, will retry: %s", event["flow"], event["reason"]
            )
        elif kind == "upkeep":
            logger.warning(
                "upkeep of a table failed, will retry",
                extra=fields(table=".".join(event["table"]), reason=event["reason"]),
            )
        elif kind == "lag":
            lag = {id: Lag(*found) for id, found in event["partitions"].items()}
            self.know_lag(event["flow"], lag)
        elif kind == "flow":
            before = self.flows.get(event["flow"])
            if before is not None and event["sequence"] > before.sequence:
                logger.info(
                    "landed",
                    extra=fields(
                        flow=event["flow"], start=before.sequence, next=event["sequence"],
                        rows=event["landed"] - before.landed, failed=event["failed"] - before.failed,
                    ),
                )  # fmt: skip
            if event["flow"] not in self._heard or (before and before.stopped) != event["stopped"]:
                self._heard.add(event["flow"])
                self._turned.append((event["flow"], event["stopped"]))
            known = {name: event[name] for name in Progress.__slots__ if name in event}
            self.flows[event["flow"]] = Progress(**known)
            self._open_balances.see(event["flow"], self.flows[event["flow"]].balance())
            self.trouble.pop(event["flow"], None)
            if event["stopped"]:
                logger.error("flow %s stopped: %s", event["flow"], event["stopped"])

    def reasons(self, accepted: Mapping[str, int], patience: float) -> list[dict[str, str]]:
        """Why the data plane is not well. `accepted`: flow id → records in the log; `patience`: seconds that
        accepted records may wait without progress."""
        found = []
        if not self.ready:
            found.append({"reason": "worker", "detail": "the worker process is starting"})
        for each in self.damage:
            found.append({"reason": "log", "detail": each["detail"]})
        now = self.clock()
        for flow_id, age in self._open_balances.overdue(self.balance_patience).items():
            known = self.flows[flow_id].balance(accepted.get(flow_id, 0))
            text = f"flow {flow_id}: {known}, since {age:.0f} s"
            found.append({"reason": "balance", "detail": text})
        for flow_id, progress in self.flows.items():
            if progress.stopped and self.wanted(flow_id):
                found.append(
                    {"reason": "flow", "detail": f"flow {flow_id} stopped: {progress.stopped}"}
                )
        for flow_id, reason in self.trouble.items():
            found.append({"reason": "lake", "detail": f"flow {flow_id}: {reason}"})
        for flow_id, count in accepted.items():
            done = self.flows.get(flow_id, Progress()).sequence
            since, before = self._waiting_since.get(flow_id, (now, done))
            if count <= done:
                self._waiting_since.pop(flow_id, None)
                continue
            self._waiting_since[flow_id] = (since, before) if done == before else (now, done)
            if done == before and now - since > patience and self.wanted(flow_id):
                found.append({"reason": "lake", "detail": f"flow {flow_id}: nothing lands"})
        return found

    async def stop(self, patience: float = LAST_LANDING) -> None:
        """Ask the worker to land what is in the log and end; kill it when it takes longer than `patience` s."""
        self._stopping = True
        if self._process is not None:
            await self._end(self._process, patience)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
