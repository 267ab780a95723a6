"""Positions that an operator names, resolved: against the log, or against the source that a flow reads."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ApiError
from headrace.log.frames import LOG_PARTITION
from headrace.log.reader import LogReader
from headrace.sources.contract import EARLIEST, ENDED, LATEST, Position, Source

if TYPE_CHECKING:
    from headrace.lake.rewind import Standing

TABLE = "table"
WORDS = (EARLIEST, LATEST, TABLE, ENDED)
TRIAL_WAIT = 0.5
"""Seconds that a trial read may wait for a record."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to: partition → offset and token, and the flow's records before it where that is known. `forgotten`:
    partitions that begin anew once their parents have been read."""

    offsets: Mapping[str, tuple[int, str]]
    sequence: int | None = None
    forgotten: frozenset[str] = frozenset()


def refused(detail: str, status: int = 409, code: str = "rewind_refused") -> ApiError:
    """The error of a rewind that cannot be done as asked."""
    title = "Conflict" if status == 409 else "Invalid request"
    return ApiError(status, code, title, detail)


def parsed(to: object) -> tuple[str, int | None, str]:
    """(word, offset, token) of a position as it is written; ApiError 400 when it is none."""
    text = str(to).strip() if isinstance(to, str | int) and not isinstance(to, bool) else ""
    if text in WORDS:
        return text, None, ""
    number, at, token = text.partition("@")
    counts = number.isdecimal() and len(number) < 19 and number.isascii()
    if (counts or (not number and token)) and (not at or token):
        return "", int(number) if number else None, token
    raise refused(
        "`to` must be an offset (1234), an offset with the source's own mark (1234@MARK), a mark alone (@MARK), or one"
        f" of {', '.join(WORDS)}.", 400, "body",
    )  # fmt: skip


def in_table(before: "Standing") -> Place:
    """Up to where the table has rows: what a rollback took away comes again, nothing comes twice."""
    truth = before.truth
    offsets = {id: (at, truth.tokens.get(id, "")) for id, at in truth.offsets.items()}
    if not offsets:
        raise refused("The table has no rows of the flow: name a position, such as `earliest`.")
    return Place(offsets, truth.sequence)


def in_log(directory: Path, flow_id: str, before: "Standing", to: object) -> Place:
    """A position in the log, as far back as it still has the flow's records."""
    word, wanted, token = parsed(to)
    if token or word == ENDED:
        raise refused("Positions in the log are offsets: 1234.", 400, "body")
    target = in_table(before) if word == TABLE else None
    if target is not None:
        wanted = target.offsets.get(LOG_PARTITION, (0, ""))[0]
    reader = LogReader(directory)
    oldest = last = chosen = None
    with closing(reader):
        while frames := reader.read():
            for frame in frames:
                if frame.meta.flow_id != flow_id:
                    continue
                oldest, last = oldest or frame, frame
                if chosen is None and wanted is not None and frame.end > wanted:
                    chosen = frame
    stored = before.stored
    here = stored.offsets.get(LOG_PARTITION, 0)
    end = (last.end, last.meta.sequence + last.count) if last else (here, stored.sequence)
    if word == EARLIEST:
        at, sequence = (oldest.offset, oldest.meta.sequence) if oldest else end
    elif word == LATEST:
        at, sequence = end
    elif chosen is None:
        at, sequence = max(wanted or 0, end[0]), end[1]
    elif wanted is not None and chosen.offset < wanted:
        raise refused(
            f"Position {wanted} lies inside a request of {chosen.count} records: it can be {chosen.offset} or"
            f" {chosen.end}."
        )  # fmt: skip
    else:
        at, sequence = chosen.offset, chosen.meta.sequence
    if target is not None and sequence > target.sequence:  # type: ignore[operator]
        raise _no_longer_held(wanted, oldest.offset if oldest else None)
    first = wanted is not None and wanted < here and (oldest is None or wanted < oldest.offset)
    if first and (oldest is None or oldest.meta.sequence > 0):
        raise _no_longer_held(wanted, oldest.offset if oldest else None)
    return Place({LOG_PARTITION: (at, "")}, sequence)


def _no_longer_held(wanted: int | None, oldest: int | None) -> ApiError:
    held = (
        "none of the flow's records" if oldest is None else f"the flow's records from {oldest} on"
    )
    return refused(
        f"The log no longer goes back to {wanted}: it holds {held}. Records are freed when they have landed; use"
        " `earliest` to go back as far as it can."
    )


def in_source(source: Source, before: "Standing", partition: str | None, to: object) -> Place:
    """Positions of a source's partitions: of one, or with a word of all. A trial read tells whether the source still
    keeps what is asked for; its errors are those of the source."""
    word, offset, token = parsed(to)
    if word == TABLE:
        if partition is not None:
            raise refused("`table` is for all partitions: leave `partition` out.", 400, "body")
        return in_table(before)
    stored = before.stored
    known = [id for id in stored.offsets if id != LOG_PARTITION]
    listed = {each.id: each for each in source.partitions()}
    if partition is not None and partition not in {*known, *listed}:
        names = ", ".join(sorted({*known, *listed})[:20])
        raise refused(f"The source has no partition '{partition}'; it has {names}.", 400, "body")
    chosen = [partition] if partition is not None else sorted({*known, *listed} & {*listed})
    if partition is None and (word not in (EARLIEST, LATEST)) and len(chosen) != 1:
        raise refused(
            f"The flow reads {len(chosen)} partitions: name one with `partition`, or go to {EARLIEST}, {LATEST} or"
            f" {TABLE}.", 400, "body",
        )  # fmt: skip
    offsets, forgotten = {}, set()
    for id in chosen:
        here = stored.offsets.get(id, 0)
        if word == ENDED:
            offsets[id] = (here, ENDED)
            continue
        position = Position(here if offset is None else offset, token)
        if word:
            if word == EARLIEST and set(listed[id].parents) & set(listed):
                forgotten.add(id)
                continue
            position = source.start(id, word)
        if word == LATEST:  # where a source's offsets only count, numbering goes on
            position = Position(max(position.offset, here), position.token)
        elif not word and stored.tokens.get(id) and not token:
            raise refused(
                f"Offsets of partition {id} are counts: the source goes by its own mark, so write OFFSET@MARK. The"
                f" flow stands at {here}@{stored.tokens[id]}.", 400, "body",
            )  # fmt: skip
        if word != LATEST:
            source.read(id, position, 1, TRIAL_WAIT)
        offsets[id] = (position.offset, position.token)
    fresh = word == EARLIEST and not known
    return Place(offsets, 0 if fresh else None, frozenset(forgotten))
