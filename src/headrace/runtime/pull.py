"""Reading a source ahead of the pipeline: one thread a flow, a bounded hand-over, positions kept by the caller.

The thread begins where the watermark says. What it has read and nobody landed is simply read again after a restart,
so it keeps nothing durable; it only never reads a partition before its parents, and never gets ahead of the pipeline
by more than `MOST_BYTES`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace.errors import Terminal, Transient
from headrace.sources.contract import EARLIEST, Chunk, Lag, Position, Source

MOST_BYTES = 32 * 2**20
MOST_MESSAGES = 5_000
"""Messages asked for at once."""
LIST_EVERY = 5.0
"""Seconds between looks for new partitions."""
IDLE_WAIT = 0.25
LONGEST_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class Begun:
    """Where a flow that has no watermark begins; to be made durable before anything that follows."""

    positions: Mapping[str, Position]


@dataclass(frozen=True, slots=True)
class Read:
    """A chunk and the position from which it was read."""

    partition: str
    start: Position
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Stopped:
    """Reading cannot go on."""

    reason: str


Event = Begun | Read | Stopped


@dataclass
class Puller:
    """`open_source` connects; `positions` come from the watermark, `first` says that there is none."""

    open_source: Callable[[], Source]
    positions: dict[str, Position]
    reset: str
    first: bool
    report: Callable[[str], None] = lambda reason: None
    lag: dict[str, Lag] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._ending = False
        self._source: Source | None = None
        self._failures = 0
        self.recovered = False
        """Set when reading goes on after a failure that was reported; whoever has seen it sets it back."""
        self._thread = threading.Thread(target=self._run, name="puller", daemon=True)

    def start(self) -> "Puller":
        self._thread.start()
        return self

    def take(self) -> Event | None:
        """The next event, or None when there is none now."""
        with self._changed:
            if not self._events:
                return None
            event = self._events.popleft()
            if isinstance(event, Read):
                self._bytes -= _size(event.chunk)
            self._changed.notify_all()
            return event

    def stop(self, patience: float = 10.0) -> None:
        """End the thread; what it has read and nobody took is forgotten."""
        with self._changed:
            self._ending = True
            self._events.clear()
            self._changed.notify_all()
        self._thread.join(patience)

    def _put(self, event: Event) -> None:
        with self._changed:
            while self._bytes > MOST_BYTES and not self._ending:
                self._changed.wait(1.0)
            if not self._ending:
                self._events.append(event)
                if isinstance(event, Read):
                    self._bytes += _size(event.chunk)

    def _run(self) -> None:
        while not self._ending:
            try:
                if self._source is None:
                    self._source = self.open_source()
                moved = self._round(self._source)
                self._well()
                if not moved:
                    self._pause(IDLE_WAIT / 5)
            except Transient as error:
                self._fail(str(error))
            except Terminal as error:
                self._put(Stopped(str(error)))
                break
            except Exception as error:  # a defect of a connector must not end in silence
                self._fail(f"the source failed unexpectedly: {type(error).__name__}")
        self._drop_source()

    def _well(self) -> None:
        self.recovered |= self._failures > 0
        self._failures = 0

    def _fail(self, reason: str) -> None:
        self.recovered = False
        self._failures += 1
        self.lag.clear()  # nobody knows how it grows
        self.report(reason)
        self._drop_source()
        self._pause(min(LONGEST_PAUSE, 0.2 * 2 ** min(self._failures, 10)))

    def _round(self, source: Source) -> bool:
        """Read every partition that may be read, once over; whether anything came."""
        readable = self._eligible(source)
        until = time.monotonic() + LIST_EVERY
        moved = False
        while readable and time.monotonic() < until and not self._ending:
            came = False
            for partition in list(readable):
                start = self.positions[partition]
                wait = IDLE_WAIT / len(readable)
                chunk = source.read(partition, start, MOST_MESSAGES, wait)
                self.lag[partition] = chunk.lag
                if chunk.messages or chunk.next != start:
                    self.positions[partition] = chunk.next
                    self._put(Read(partition, start, chunk))
                    came = True
                if chunk.next.ended:
                    self.lag.pop(partition, None)
                    return True  # its children may be read now
                if self._ending:
                    return True
            self._well()
            moved |= came
        return moved

    def _eligible(self, source: Source) -> list[str]:
        listed = {partition.id: partition for partition in source.partitions()}
        if self.first:
            begin = {
                id: source.start(id, self.reset)
                for id, partition in listed.items()
                if self.reset != EARLIEST or not set(partition.parents) & set(listed)
            }
            self._put(Begun(dict(begin)))
            self.positions |= begin
            self.first = False
        for id, position in self.positions.items():
            if id not in listed and not position.ended:
                # what came after the position, if anything, went with it: that must not pass in silence
                raise Terminal(
                    f"the source no longer has partition {id}, which was read up to {position.offset}"
                    " and not to its end"
                )
        for id, partition in listed.items():
            if id not in self.positions and self._drained(partition.parents, listed):
                self.positions[id] = source.start(id, EARLIEST)
        return [id for id in listed if id in self.positions and not self.positions[id].ended]

    def _drained(self, parents: tuple[str, ...], listed: Mapping[str, object]) -> bool:
        return all(
            self.positions[p].ended if p in self.positions else p not in listed for p in parents
        )

    def _drop_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            try:
                source.close()
            except Exception:
                self.report("the source did not close cleanly")

    def _pause(self, seconds: float) -> None:
        with self._changed:
            if not self._ending:
                self._changed.wait(seconds)


def _size(chunk: Chunk) -> int:
    return sum(len(message.body) + 200 for message in chunk.messages)
