"""Keeping messages of Pub/Sub that wait for our log, so that they are not delivered a second time meanwhile."""

import threading
import time
from collections.abc import Callable, Sequence

from headrace.errors import HeadraceError, Terminal, Transient

FIRST_AFTER = 3.0
"""Seconds until the first extension: the shortest deadline a subscription can have is 10 s."""
LEASE = 60
"""Seconds that one extension is good for."""
AGAIN_AFTER = 25.0
_RETRY = 1.0
Extend = Callable[[Sequence[str], int], None]


class Leases:
    """Extends the deadline of every handle until it is dropped. `extend(handles, seconds)` may fail: a transient
    failure is tried again, after a terminal one the handles are left alone."""

    def __init__(self, extend: Extend) -> None:
        self._extend = extend
        self._due: dict[str, float] = {}
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="pubsub-leases", daemon=True)
        self._thread.start()

    def add(self, handles: Sequence[str]) -> None:
        if not handles:
            return
        with self._changed:
            due = time.monotonic() + FIRST_AFTER
            self._due.update(dict.fromkeys(handles, due))
            self._changed.notify()

    def drop(self, handles: Sequence[str]) -> None:
        with self._changed:
            for handle in handles:
                self._due.pop(handle, None)

    def close(self) -> None:
        """Give back what is still held."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(10.0)
        held = list(self._due)
        self._due.clear()
        if held:
            try:
                self._extend(held, 0)
            except HeadraceError:
                return  # they come back by themselves when their deadline is over

    def _run(self) -> None:
        while due := self._wait():
            pause = AGAIN_AFTER
            try:
                self._extend(due, LEASE)
            except Transient:
                pause = _RETRY
            except Terminal:
                self.drop(due)
            with self._changed:
                again = time.monotonic() + pause
                self._due.update((handle, again) for handle in due if handle in self._due)

    def _wait(self) -> list[str]:
        """The handles that are due, or none when it is time to end."""
        with self._changed:
            while not self._ending:
                now = time.monotonic()
                due = [handle for handle, at in self._due.items() if at <= now]
                if due:
                    return due
                soonest = min(self._due.values(), default=None)
                self._changed.wait(None if soonest is None else soonest - now)
            return []
