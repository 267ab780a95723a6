"""Backfills in the server: frames of one flow are read from the log and appended to it again for another flow.

A copy has a place, a sequence and a receipt of its own, so that it is a record of the other flow as any other; it keeps
the time at which the original was received. Each frame says of what it is a copy, and what the store says of progress
is written after the log has the frames: after a crash, the log tells what has been copied since.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import Any

from headrace.errors import Overloaded, Terminal
from headrace.log.writer import LogWriter
from headrace.logs import fields
from headrace.model.flow import FlowRevision
from headrace.runtime.backfill_frames import Copying, append, resumed
from headrace.runtime.backfills import CANCELLED, DONE, FAILED, KIND, running
from headrace.runtime.supervisor import Progress, Supervisor
from headrace.store.documents import Conflict, Document, Scope, Store
from headrace.store.revisions import Revisions
from headrace.testing.crashpoints import reach

MOST_WAITING, MOST_BYTES_WAITING = 50_000, 16 * 2**20
"""Records of the other flow, and bytes of copies, that may wait to land before more is copied: all flows share one log,
and live records would wait behind them."""
LOOK_EVERY = 0.5
GIVE_UP = 60.0
"""Seconds of refusals by the log after which a backfill ends, so that what it holds can be freed."""
PATIENCE = 20.0
logger = logging.getLogger("headrace.rewind")


@dataclass
class Backfills:
    """Carries out what the store asks for, in a thread of its own. `supervisor` knows how far the other flows land;
    `loop` is the one on which the log is appended to."""

    store: Store
    log: LogWriter
    supervisor: Supervisor
    loop: asyncio.AbstractEventLoop

    def __post_init__(self) -> None:
        self._revisions = Revisions(self.store)
        self._at_hand: dict[str, Copying] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backfills", daemon=True)

    async def start(self) -> None:
        """To be awaited before the log is appended to."""
        await asyncio.to_thread(self.examine)
        self._thread.start()

    async def stop(self) -> None:
        """To be awaited before the log is closed."""
        self._ending.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, PATIENCE)

    def _run(self) -> None:
        while not self._ending.is_set():
            if not self.step():
                self._ending.wait(LOOK_EVERY)
        self.store.close()

    def examine(self) -> None:
        """End those of which it cannot be told what was copied: the log is older than what the store or tables say."""
        end = self.log.next_offset - self.log.skipped
        for scope, document in running(self.store):
            landed = self.supervisor.flows.get(document.body["into"], Progress()).position
            if max(landed, document.body["settled"]) > end:
                text = (
                    f"The log was put back and ends at {end} now; what had been delivered behind that cannot be told."
                    f" Receipts with @{document.id} in them say what has landed of it."
                )  # fmt: skip
                self._end(scope, document, {"state": FAILED, "error": text, "uncertain": True})

    def step(self) -> bool:
        """Copy some frames of every backfill that may go on; whether there were any."""
        try:
            wanted = {document.id: (scope, document) for scope, document in running(self.store)}
        except sqlite3.Error as error:
            logger.warning("looking for rewinds failed: %s", error)
            return False
        for id in self._at_hand.keys() - wanted.keys():
            self._drop(id)
        advanced = [self._advance(id, *found) for id, found in wanted.items()]
        return True in advanced

    def _advance(self, id: str, scope: Scope, document: Document) -> bool:
        try:
            copying = self._at_hand.get(id)
            if copying is None:
                copying = self._at_hand[id] = resumed(self.log, scope, document)
            copying.document = document
            return self._copy(copying)
        except Terminal as error:
            self._end(scope, document, {"state": FAILED, "error": f"{error}."})
        except Conflict:  # it was deleted, or is to be cancelled: then the log tells where it was
            self._drop(id)
        except (sqlite3.Error, OSError) as error:
            # what is in memory may lack frames that were taken: the log tells where it was
            self._drop(id)
            logger.warning("a rewind is tried again: %s", error, extra=fields(rewind=id))
        except Exception as error:
            self._drop(id)
            logger.exception("a rewind failed", extra=fields(rewind=id))
            self._give_up(scope, document, f"A defect stopped it: {type(error).__name__}.")
        return False

    def _drop(self, id: str) -> None:
        copying = self._at_hand.pop(id, None)
        if copying is not None:
            copying.reader.close()

    def _give_up(self, scope: Scope, document: Document, text: str) -> None:
        try:
            self._at_hand[document.id] = resumed(self.log, scope, document)
        except Exception:
            return  # where it was cannot be told now: it is tried again
        self._end(scope, document, {"state": FAILED, "error": text})

    def _copy(self, copying: Copying) -> bool:
        """One append to the log; whether it was tried."""
        body = copying.document.body
        if body.get("cancel"):
            self._end(copying.scope, copying.document, {"state": CANCELLED})
            return False
        target = self._target(copying)
        if time.monotonic() < copying.not_before or self._must_wait(copying, body["into"]):
            return False
        frames = copying.take()
        if not frames:
            self._finish(copying)
            return False
        reach("backfill-before-append")
        task = append(self.log, frames, target, copying.document.id)
        done, settled, refusal = asyncio.run_coroutine_threadsafe(task, self.loop).result()
        reach("backfill-after-append")
        copying.frames.extendleft(reversed(frames[done:]))
        if done:
            copying.count(frames[:done], settled)
            size = sum(frame.size for frame in frames[:done])
            copying.waiting.append((self.log.sequences[body["into"]], size))
            copying.refused = None
        if refusal is not None:
            self._refused(copying, refusal)
        self._write(copying, {"trouble": str(refusal) if refusal else None})
        reach("backfill-after-progress")
        return True

    def _target(self, copying: Copying) -> FlowRevision:
        """The revision under which copies are read; Terminal when the other flow takes them no more."""
        scope, body = copying.scope, copying.document.body
        document = self.store.get(scope, "flows", body["into"])
        latest = self._revisions.latest(body["into"])
        if document is None or latest is None or document.body.get("state") != "enabled":
            raise Terminal(f"Flow {body['into']} is not enabled any more")
        if self.store.get(scope, "dataSets", latest.dataset_id) is None:
            raise Terminal(f"Data set {latest.dataset_id} does not exist any more")
        mapped = latest.rules is not None
        if mapped != body["mapped"] or (not mapped and latest.schema_id != body["schema"]):
            raise Terminal(f"Flow {body['into']} was changed: the records do not fit it any more")
        return latest

    def _must_wait(self, copying: Copying, into: str) -> bool:
        progress = self.supervisor.flows.get(into, Progress())
        trouble = f"flow {into} has stopped: {progress.stopped}" if progress.stopped else None
        if trouble != copying.document.body["trouble"] and copying.refused is None:
            self._write(copying, {"trouble": trouble})
        waiting = copying.waiting
        while waiting and waiting[0][0] <= progress.sequence:
            waiting.popleft()
        behind = self.log.sequences.get(into, 0) - progress.sequence
        size = sum(size for _, size in waiting)
        waits = trouble is not None or behind > MOST_WAITING or size > MOST_BYTES_WAITING
        if self.log.problem is None:
            copying.refused = None
        elif waits:  # others are refused, and what is held for this one may be why
            self._refused(copying, Overloaded(self.log.problem))
        return waits

    def _refused(self, copying: Copying, refusal: Overloaded) -> None:
        now = time.monotonic()
        copying.refused = copying.refused or now
        copying.not_before = now + refusal.retry_after
        if now - copying.refused > GIVE_UP:
            raise Terminal(
                f"The log takes no more ({refusal}), and what it keeps for this rewind could not be freed either. Give"
                " the same command again when there is space: it goes on where this one ended"
            )  # fmt: skip

    def _finish(self, copying: Copying) -> None:
        missing = copying.document.body["records"] - copying.copied
        text = f"{missing} records could not be read from the log." if missing else None
        state = FAILED if missing else DONE
        changes = {"state": state, "error": text, "done": not missing}
        self._end(copying.scope, copying.document, changes)

    def _write(self, copying: Copying, changes: dict[str, Any]) -> None:
        document = copying.document
        copying.document = self.store.replace(
            copying.scope, KIND, document.id, document.body | copying.place | changes,
            document.version,
        )  # fmt: skip

    def _end(self, scope: Scope, document: Document, changes: dict[str, Any]) -> None:
        copying, body = self._at_hand.get(document.id), document.body
        place = copying.place if copying else {}
        over = {"ended": int(time.time() * 1000), "trouble": None}
        self._drop(document.id)
        with contextlib.suppress(Conflict, sqlite3.Error):  # then it is done again
            self.store.replace(scope, KIND, document.id, body | place | over | changes)
        about = fields(rewind=document.id, flow=body["flowId"], into=body["into"])
        logger.info("rewind %s: %s", changes["state"], changes.get("error") or "all", extra=about)
