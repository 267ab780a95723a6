"""The appending side of the log: group commit.

One writer a log, on the event loop. `append` gives a frame its offset and returns a future that is done when
the frame is synced to disk. All frames that arrive while a sync runs go into the next one, which starts as
soon as that ends: no timer, so an idle log answers at the speed of the disk and a busy one syncs large groups.

A failed write or sync is never repeated on the same bytes: the waiting appends fail, the segment is cut back to
its durable length and sealed, and the next append opens a new one.
"""

import asyncio
import contextlib
import errno
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from headrace.disk import sync_directory
from headrace.errors import LogCorrupt, Overloaded
from headrace.log.frames import CHECKPOINT, HEAD, Meta, Origin, encode, scan
from headrace.log.segments import (
    DurableMark,
    open_log,
    segment_name,
    segments,
)
from headrace.testing.crashpoints import reach

_IOV = 1024


class LogWriter:
    """`segment_bytes`: size at which a segment is sealed. `pending_bytes`: most bytes waiting for a sync.
    `keep_free`: bytes of the disk that are left free. `max_bytes`: most bytes of log not yet landed.
    `landed`: flow id → (next offset, sequence) that the lake has; a log that is behind it (restored from an
    older backup) goes on after it, so that no offset is given twice.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = 256 * 1024 * 1024,
        pending_bytes: int = 64 * 1024 * 1024,
        keep_free: int = 256 * 1024 * 1024,
        max_bytes: int = 32 * 1024 * 1024 * 1024,
        landed: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.problem: str | None = None
        self.cut_bytes = 0
        self.damage: list[str] = []
        self.syncs = 0
        self.bytes_written = 0
        self._segment_bytes = segment_bytes
        self._pending_limit = pending_bytes
        self._keep_free = keep_free
        self._max_bytes = max_bytes
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._buffers: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._pending = 0
        self._running = False
        self._space_checked = 0.0
        self._broken = False
        self._landed = dict(landed or {})
        self._mark = DurableMark(directory, writable=True)
        opened = open_log(directory)
        if opened is None:
            self.next_offset, self.sequences = 0, {}
            self._open_segment(0, {})
        else:
            self.next_offset, self.sequences = opened.next_offset, opened.sequences
            self.cut_bytes = opened.cut_bytes
            self.damage = opened.damage
            self._base = int(opened.path.stem)
            self._file = os.open(opened.path, os.O_WRONLY | os.O_APPEND)
            self._length = opened.length
            self._mark.set(self._base, self._length)
        self.skipped = self._go_on_after_landed()
        if self.skipped:
            self._close_file()  # the next append opens a segment at the new offset

    def _go_on_after_landed(self) -> int:
        """Give no offset that the lake has already; the number of offsets passed over."""
        for flow_id, (_, sequence) in self._landed.items():
            self.sequences[flow_id] = max(sequence, self.sequences.get(flow_id, 0))
        floor = max((offset for offset, _ in self._landed.values()), default=0)
        skipped = max(0, floor - self.next_offset)
        self.next_offset += skipped
        return skipped

    def _close_file(self) -> None:
        descriptor, self._file = self._file, -1
        if descriptor >= 0:
            os.close(descriptor)

    def append(
        self,
        layout: int,
        flow_id: str,
        revision: int,
        receipt: str,
        count: int,
        body: bytes,
        received: int,
        *,
        envelope: bool = False,
        indexes: list[int] | None = None,
        origin: Origin | None = None,
    ) -> "asyncio.Future[None]":
        """Queue one frame of `count` records; done when durable. Overloaded when it may not be accepted now."""
        if self._broken:
            self._recover()
        self._admit(len(body))
        sequence = self.sequences.get(flow_id, 0)
        meta = Meta(layout, flow_id, revision, sequence, receipt, envelope, indexes, origin)
        self._buffers += encode(self.next_offset, count, received, meta, body)
        self.sequences[flow_id] = sequence + count
        self.next_offset += count
        self._pending += len(body)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        if not self._running:
            self._running = True
            loop.call_soon(self._start_commit)
        return future

    def _admit(self, size: int) -> None:
        if self._pending + size > self._pending_limit:
            raise Overloaded("the log cannot keep up with what arrives")
        now = time.monotonic()
        if self.problem is None and now - self._space_checked < 1.0:
            return
        self._space_checked = now
        if shutil.disk_usage(self.directory).free < self._keep_free:
            self.problem = "disk: too little free space for the log"
            raise Overloaded(self.problem, retry_after=5)
        if sum(_size(path) for _, path in segments(self.directory)) > self._max_bytes:
            self.problem = "log: more waits to land than the log may hold"
            raise Overloaded(self.problem, retry_after=5)
        self.problem = None

    def _start_commit(self) -> None:
        buffers, waiting = self._buffers, self._waiting
        self._buffers, self._waiting, self._pending = [], [], 0
        rotate = self._file < 0 or self._length >= self._segment_bytes
        before = _before(self.sequences, buffers) if rotate else None
        loop = asyncio.get_running_loop()
        task = loop.run_in_executor(self._pool, self._commit, buffers, before)
        task.add_done_callback(lambda done: self._finish(done, waiting))

    def _finish(self, done: "asyncio.Future[None]", waiting: list["asyncio.Future[None]"]) -> None:
        error = done.exception()
        if error is not None:
            self._abandon(error, waiting)
        for future in waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(Overloaded(self.problem or "the log cannot be written", 5))
        if self._buffers:
            self._start_commit()
        else:
            self._running = False

    def _abandon(self, error: BaseException, waiting: list["asyncio.Future[None]"]) -> None:
        """Nothing queued behind a failed commit may be written: its offsets assumed that the commit succeeded."""
        self.problem = _described(error)
        waiting += self._waiting
        self._buffers, self._waiting, self._pending = [], [], 0
        self._space_checked = 0.0
        self._broken = True
        with contextlib.suppress(Overloaded):
            self._recover()

    def _recover(self) -> None:
        """Cut the segment back to what is durable, so that the next append opens another. Overloaded while the
        disk does not allow even that: until then no offset may be given."""
        try:
            self._close_file()
            path = self.directory / segment_name(self._base)
            if path.exists():
                os.truncate(path, self._length)
            opened = open_log(self.directory)
        except (OSError, LogCorrupt) as error:
            self.problem = _described(error)
            raise Overloaded(self.problem, retry_after=5) from None
        if opened is not None:
            self.sequences, self.next_offset = opened.sequences, opened.next_offset
            self._base, self._length = int(opened.path.stem), opened.length
        self._go_on_after_landed()
        self._broken = False

    def _commit(self, buffers: Sequence[bytes], before: dict[str, int] | None) -> None:
        """Write a group and sync it; with `before` (every flow's sequence), into a new segment."""
        if before is None:
            self._write(buffers)
            return
        self._close_file()
        first = HEAD.size
        self._open_segment(int.from_bytes(buffers[0][first : first + 8], "little"), before, buffers)

    def _write(self, buffers: Sequence[bytes]) -> None:
        size = sum(map(len, buffers))
        reach("log-before-write")
        for start in range(0, len(buffers), _IOV):
            part = buffers[start : start + _IOV]
            wanted = sum(map(len, part))
            written = os.writev(self._file, part)
            if written < wanted:
                rest = memoryview(b"".join(part))[written:]
                while rest:
                    rest = rest[os.write(self._file, rest) :]
        reach("log-after-write")
        os.fdatasync(self._file)
        reach("log-after-sync")
        self._length += size
        self._mark.set(self._base, self._length)
        self.syncs += 1
        self.bytes_written += size

    def _open_segment(
        self, base: int, sequences: dict[str, int], buffers: Sequence[bytes] = ()
    ) -> None:
        meta = Meta(CHECKPOINT, "", 0, 0, "")
        checkpoint = msgspec.json.encode(sequences)
        path = self.directory / segment_name(base)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        self._base, self._length = base, path.stat().st_size
        sync_directory(self.directory)
        reach("log-rotated")
        self._write([*encode(base, 0, int(time.time() * 1000), meta, checkpoint), *buffers])

    async def close(self) -> None:
        """Wait for what is queued, then release the file."""
        while self._running:
            await asyncio.sleep(0.005)
        self._pool.shutdown()
        self._close_file()
        self._mark.close()


def _described(error: BaseException) -> str:
    if isinstance(error, LogCorrupt):
        return f"log: {error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk: full"
    return f"disk: {os.strerror(getattr(error, 'errno', 0) or errno.EIO)}"


def _before(sequences: dict[str, int], buffers: Sequence[bytes]) -> dict[str, int]:
    """Every flow's sequence before the frames in `buffers` (head and body alternate)."""
    result = dict(sequences)
    seen: set[str] = set()
    for head, body in zip(buffers[::2], buffers[1::2], strict=True):
        for frame, _ in scan(head + body):
            if frame.meta.flow_id not in seen:
                seen.add(frame.meta.flow_id)
                result[frame.meta.flow_id] = frame.meta.sequence
    return result


def _size(segment: Path) -> int:
    try:
        return segment.stat().st_size
    except FileNotFoundError:  # freed by the worker meanwhile
        return 0
