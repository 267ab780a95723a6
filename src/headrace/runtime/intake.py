"""One queue into our log: received, appended, remembered, acknowledged, in this order and by one thread.

A message that is not acknowledged comes back, so whatever fails leaves it at the queue. One that the log has already
is acknowledged and dropped. While the log takes no more, nothing is received and what is held stays ours.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import Overloaded, Terminal, Transient
from headrace.log.writer import LogWriter
from headrace.model.flow import FlowRevision
from headrace.runtime.delivered import Delivered, Key, key_of
from headrace.runtime.queued import Entry, entry_of
from headrace.sources.contract import Delivery, Lag, Message, Queue
from headrace.testing.crashpoints import reach

MOST_MESSAGES = 500
"""Messages asked for at once; their frames are appended in one turn of the event loop, some milliseconds."""
WAIT = 1.0
"""Seconds to wait for the first."""
LONGEST_PAUSE = 30.0
LAG_EVERY = 2.0
SUBSCRIPTION = "subscription"
"""What a queue has in the place of partitions."""
Report = Callable[[dict[str, Any]], None]
TellLag = Callable[[str, Mapping[str, Lag]], None]
"""Hears of a flow and how far its partitions are behind."""


@dataclass(slots=True)
class Counts:
    """Since the intake began: messages that were logged, and those that came again. `lag`: as far as is known."""

    logged: int = 0
    again: int = 0
    lag: Lag = Lag()


@dataclass
class Intake:
    """`open_queue` connects. `revision` may be replaced at any time by one that reads the same queue. After `start`,
    `stopped` says why it ended by itself, `trouble` what it is trying again."""

    open_queue: Callable[[], Queue]
    revision: FlowRevision
    log: LogWriter
    loop: asyncio.AbstractEventLoop
    delivered: Delivered
    report: Report
    finished: Callable[[], None] = lambda: None
    tell_lag: TellLag = lambda flow_id, lag: None
    counts: Counts = field(default_factory=Counts)
    stopped: str | None = None
    trouble: str | None = None

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self._queue: Queue | None = None
        self._asked = 0.0
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> "Intake":
        self._thread.start()
        return self

    def end(self) -> None:
        """Ask the thread to end; what it holds and the log has not goes back to the queue."""
        self._ending.set()

    def join(self, patience: float = 15.0) -> bool:
        """Wait for the end; whether it came within `patience` seconds."""
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while not self._ending.is_set():
            try:
                if self._queue is None:
                    self._queue = self.open_queue()
                self._round(self._queue)
                failures, self.trouble = 0, None
                continue
            except Terminal as error:
                self.stopped = str(error)
                self._tell("stopped", self.stopped)
                break
            except Transient as error:
                reason = str(error)
            except sqlite3.Error as error:
                reason = f"store: {error}"
            except Exception as error:  # a defect of a connector must not end in silence
                reason = f"the source failed unexpectedly: {type(error).__name__}"
            failures += 1
            self._try_again(reason)
            self._drop_queue()
            self._ending.wait(min(LONGEST_PAUSE, 0.2 * 2 ** min(failures, 10)))
        self._drop_queue()
        self._tell_lag({})
        self.finished()

    def _round(self, queue: Queue) -> None:
        deliveries = queue.receive(MOST_MESSAGES, WAIT)
        # those that come first were sent first, or about so: the newest of them is as old as the whole rest at most
        newest = max((delivery.message.at for delivery in deliveries), default=None)
        behind = 0 if newest is None else max(0, int(time.time() * 1000) - newest)
        if deliveries:
            self._take(queue, deliveries)
        now = time.monotonic()
        if now - self._asked > LAG_EVERY:
            self._asked = now
            self._tell_lag({SUBSCRIPTION: Lag(queue.behind(), behind)})

    def _take(self, queue: Queue, deliveries: Sequence[Delivery]) -> None:
        revision = self.revision
        handles: dict[Key, list[str]] = {}
        for delivery in deliveries:
            handles.setdefault(key_of(delivery.message), []).append(delivery.handle)
        waiting = list(
            self.delivered.fresh(revision.flow_id, [delivery.message for delivery in deliveries])
        )
        again = handles.keys() - set(map(key_of, waiting))
        if again:
            self.counts.again += len(again)
            queue.acknowledge([handle for key in again for handle in handles[key]])
        entries = [entry_of(message, revision) for message in waiting]
        failures = 0
        while waiting and not self._ending.is_set():
            done, refusal = self._append(entries, revision)
            if done:
                self._settle(queue, waiting[:done], handles)
                del waiting[:done], entries[:done]
                failures = 0
            if refusal is not None:
                failures += 1
                self._try_again(str(refusal))
                pause = refusal.retry_after * 2 ** min(failures - 1, 5)
                self._ending.wait(min(LONGEST_PAUSE, pause))

    def _settle(
        self, queue: Queue, logged: Sequence[Message], handles: Mapping[Key, Sequence[str]]
    ) -> None:
        """Remember and acknowledge what the log has; it must never be appended again, whatever fails here."""
        reach("queue-after-append")
        self.counts.logged += len(logged)
        self.delivered.add(self.revision.flow_id, logged)
        reach("queue-after-remember")
        queue.acknowledge([handle for message in logged for handle in handles[key_of(message)]])
        reach("queue-after-acknowledge")

    def _append(
        self, entries: Sequence[Entry | None], revision: FlowRevision
    ) -> tuple[int, Overloaded | None]:
        """How many of the messages are durable in the log, from the first on, and why not all."""
        reach("queue-before-append")
        task = append(self.log, entries, revision)
        return asyncio.run_coroutine_threadsafe(task, self.loop).result()

    def _tell_lag(self, partitions: Mapping[str, Lag]) -> None:
        self.counts.lag = partitions.get(SUBSCRIPTION, Lag())
        self.tell_lag(self.revision.flow_id, partitions)

    def _drop_queue(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            try:
                queue.close()
            except Exception as error:
                self._tell("retry", f"the source did not close cleanly: {type(error).__name__}")

    def _try_again(self, reason: str) -> None:
        self.trouble = reason
        self._tell("retry", reason)

    def _tell(self, event: str, reason: str) -> None:
        self.report({"event": event, "flow": self.revision.flow_id, "reason": reason})


async def append(
    log: LogWriter, entries: Sequence[Entry | None], revision: FlowRevision
) -> tuple[int, Overloaded | None]:
    """Append in order; how many are durable, from the first on, and the refusal that ended it. None is a message
    without records: there is nothing of it to log."""
    # without a pause in between: a commit that fails then fails for all that were appended after it, and no later
    # message can be in the log without an earlier one
    waiting: list[asyncio.Future[None] | None] = []
    refusal: Overloaded | None = None
    for entry in entries:
        if entry is None:
            waiting.append(None)
            continue
        message = entry.message
        try:
            future = log.append(
                entry.layout, revision.flow_id, revision.revision, message.id, entry.count, entry.body,
                message.at, envelope=entry.envelope,
            )  # fmt: skip
        except Exception as error:
            # whatever it was: what was appended before it must be accounted for
            refusal = refusal_of(error)
            break
        waiting.append(future)
    done = 0
    for number, found in enumerate(waiting):
        try:
            if found is not None:
                await found
            if done == number:
                done += 1
        except Exception as error:
            refusal = refusal or refusal_of(error)
    return done, refusal


def refusal_of(error: Exception) -> Overloaded:
    """What an append that failed means to who appended: it can be tried again."""
    if isinstance(error, Overloaded):
        return error
    return Overloaded(f"the log failed unexpectedly: {type(error).__name__}", retry_after=5)
