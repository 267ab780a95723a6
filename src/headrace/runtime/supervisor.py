"""Keeps one worker process running and knows what it reports."""

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.logs import fields

logger = logging.getLogger("headrace.worker")

BALANCE_PATIENCE = 60.0


@dataclass(slots=True)
class Progress:
    """What has landed of one flow, as of its last commit."""

    position: int = 0
    landed: int = 0
    failed: int = 0
    sequence: int = 0
    warnings: int = 0
    stopped: str | None = None

    @property
    def unexplained(self) -> int:
        """Records below the watermark that are neither landed nor failed; anything but 0 is a defect."""
        return self.sequence - self.landed - self.failed


@dataclass
class Supervisor:
    data_dir: Path
    commit_interval: float
    commit_rows: int
    ready: bool = False
    restarts: int = 0
    flows: dict[str, Progress] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)
    lag: dict[str, dict[str, tuple[int | None, int | None]]] = field(default_factory=dict)
    """Flow → partition of its source → records and milliseconds behind, where the source says."""

    def __post_init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._unbalanced_since: dict[str, float] = {}
        self._waiting_since: dict[str, tuple[float, int]] = {}

    def know(self, totals: Mapping[str, Mapping[str, int]]) -> None:
        """What had landed before this start; the worker corrects it for each flow that it opens."""
        self.flows = {
            flow_id: Progress(
                position=values["position"], landed=values["landed"], failed=values["failed"],
                sequence=values["sequence"], warnings=values["warnings"],
            )
            for flow_id, values in totals.items()
        }  # fmt: skip

    async def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        pause = 0.2
        while not self._stopping:
            started = time.monotonic()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "headrace.runtime.worker",
                str(self.data_dir), str(self.commit_interval), str(self.commit_rows),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            await self._listen(self._process)
            status = await self._process.wait()
            if self._stopping:
                return
            self.ready = False
            self.restarts += 1
            logger.error("worker ended with status %s: starting another", status)
            pause = 0.2 if time.monotonic() - started > 30 else min(10.0, pause * 2)
            await asyncio.sleep(pause)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            with contextlib.suppress(ValueError):
                self._hear(json.loads(line))

    def _hear(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "ready":
            self.ready = True
            self.trouble.clear()
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
            partitions = event["partitions"]
            self.lag[event["flow"]] = {id: (lag[0], lag[1]) for id, lag in partitions.items()}
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
            known = {name: event[name] for name in Progress.__slots__}
            self.flows[event["flow"]] = Progress(**known)
            self.trouble.pop(event["flow"], None)
            if event["stopped"]:
                logger.error("flow %s stopped: %s", event["flow"], event["stopped"])

    def reasons(self, accepted: Mapping[str, int], patience: float) -> list[dict[str, str]]:
        """Why the data plane is not well. `accepted`: flow id → records in the log; `patience`: seconds that
        accepted records may wait without progress."""
        found = []
        if not self.ready:
            found.append({"reason": "worker", "detail": "the worker process is starting"})
        now = time.monotonic()
        for flow_id, progress in self.flows.items():
            if progress.stopped:
                found.append(
                    {"reason": "flow", "detail": f"flow {flow_id} stopped: {progress.stopped}"}
                )
            since = self._unbalanced_since.setdefault(flow_id, now)
            if progress.unexplained == 0:
                del self._unbalanced_since[flow_id]
            elif now - since > BALANCE_PATIENCE:
                text = f"flow {flow_id}: {progress.unexplained} records are unexplained"
                found.append({"reason": "balance", "detail": text})
        for flow_id, reason in self.trouble.items():
            found.append({"reason": "lake", "detail": f"flow {flow_id}: {reason}"})
        for flow_id, count in accepted.items():
            done = self.flows.get(flow_id, Progress()).sequence
            since, before = self._waiting_since.get(flow_id, (now, done))
            if count <= done:
                self._waiting_since.pop(flow_id, None)
                continue
            self._waiting_since[flow_id] = (since, before) if done == before else (now, done)
            if done == before and now - since > patience:
                found.append({"reason": "lake", "detail": f"flow {flow_id}: nothing lands"})
        return found

    async def stop(self, patience: float = 60.0) -> None:
        """Ask the worker to land what is in the log and end; kill it when it takes longer than `patience` s."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), patience)
            except TimeoutError:
                process.kill()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
