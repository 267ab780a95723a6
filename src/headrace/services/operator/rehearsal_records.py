"""The newest records of a flow that there still are: from the log as far as it reaches, else failed ones, of which the
failed table keeps the bytes. Of records that landed nothing else keeps what was sent.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.log.frames import CHECKPOINT, LOG_PARTITION, Frame
from headrace.services.operator.log_search import Scanned, frames, newest_first

if TYPE_CHECKING:
    from headrace.lake.catalog import Lake
    from headrace.runtime.pipeline import Pipeline

MOST_BYTES = 64 * 2**20
"""Bytes of records that are kept in memory."""
MOST_READ = 2 * 2**30
"""Bytes of log that are looked through for a flow's records."""


@dataclass(slots=True)
class Found:
    """Frames in their order, the oldest first; how many of the wanted records are from the log and from the failed
    table; whether all that there is was looked at."""

    frames: list[Frame] = field(default_factory=list)
    logged: int = 0
    failed: int = 0
    complete: bool = True


def newest(
    log: Path, lake: "Lake", pipeline: "Pipeline", most: int, going: Callable[[], bool]
) -> Found:
    """Up to `most` records of a flow; `going` says whether there is time left. Terminal without tables."""
    from headrace.lake.replay import Replayer
    from headrace.lake.replay_rows import Selection, newest_rows
    from headrace.runtime.replay_frames import frames as frames_of

    revision = pipeline.revision
    found, size = _logged(log, revision.flow_id, most, going)
    missing = most - found.logged
    if missing <= 0 or not going():
        return found
    replayer = Replayer(lake, revision.sandbox, revision.dataset_id, revision.flow_id)
    below = dict(replayer.position().offsets)
    if found.frames:
        below[LOG_PARTITION] = min(below.get(LOG_PARTITION, 0), found.frames[0].offset)
    rows = newest_rows(
        replayer.failed_table(), Selection(revision.flow_id, below), missing, MOST_BYTES - size
    )
    if rows is not None:
        found.failed = rows.num_rows
        found.frames = [*frames_of(rows, revision), *found.frames]
    return found


def _logged(log: Path, flow_id: str, most: int, going: Callable[[], bool]) -> tuple[Found, int]:
    found, size, read = Found(), 0, 0
    for _, descriptor, limit in newest_first(log):
        read += limit
        if read > MOST_READ or not going():
            found.complete = False
            break
        here = deque[Frame]()
        records = bytes_here = 0
        for frame in frames(descriptor, limit, Scanned()):
            if frame.meta.flow_id != flow_id or frame.meta.layout == CHECKPOINT:
                continue
            here.append(frame)
            records, bytes_here = records + frame.count, bytes_here + frame.size
            # as few as are needed: the older ones go
            while len(here) > 1 and (
                found.logged + records - here[0].count >= most or size + bytes_here > MOST_BYTES
            ):
                gone = here.popleft()
                records, bytes_here = records - gone.count, bytes_here - gone.size
        found.frames = [*here, *found.frames]
        found.logged, size = found.logged + records, size + bytes_here
        if found.logged >= most or size >= MOST_BYTES:
            found.complete = found.logged >= most
            break
    found.logged = min(found.logged, most)
    return found, size
