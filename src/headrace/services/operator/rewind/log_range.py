"""A range of the log, looked at before its records are delivered to another flow: what is in it, and what is not."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from headrace.errors import Transient
from headrace.log.frames import Frame
from headrace.log.reader import LogReader
from headrace.log.segments import segments
from headrace.model.flow import FlowRevision
from headrace.services.operator.rewind.places import refused
from headrace.store.revisions import Revisions

TRIES = 5
"""Segments may be freed while they are looked at."""
Form = tuple[int, bool]
"""Revision under which records were accepted, and whether they carry the streaming envelope."""


@dataclass(slots=True)
class Range:
    """The flow's records from `first` to before `end`, as far as the log has them. `oldest`: the first of the flow's
    records that the log has, and how many came before; `durable`: how far the log is synced at least; `twice`: of the
    records, those that were delivered before; `missing`: those that cannot be read; `needed`: first offsets of the
    segments that hold the range; `sequence`: the flow's records before it; `gone`: those
    that came since an earlier rewind and that the log has no more."""

    first: int
    end: int = 0
    records: int = 0
    requests: int = 0
    twice: int = 0
    missing: int = 0
    oldest: tuple[int, int] | None = None
    durable: int = 0
    sequence: int = 0
    gone: int = 0
    forms: Counter[Form] = field(default_factory=Counter)
    needed: tuple[int, ...] = ()


def look(
    directory: Path, flow_id: str, start: int, until: int | None, stop: int, before: Sequence[range]
) -> Range:
    """What the log has of a flow from an offset on, up to `until` and to where the log stood at `stop`. `before`: what
    has been delivered already. ApiError 409 when a bound lies inside a request; Transient when the log is freed too
    fast."""
    for _ in range(TRIES):
        bases = {base for base, _ in segments(directory)}
        try:
            found = _look(directory, flow_id, start, until, stop, before)
        except FileNotFoundError:
            continue
        bases |= {base for base, _ in segments(directory)}
        from_ = max((base for base in bases if base <= found.first), default=0)
        found.needed = tuple(sorted(base for base in bases if from_ <= base < found.end))
        return found
    raise Transient("the log is being freed: try again")


def _look(
    directory: Path, flow_id: str, start: int, until: int | None, stop: int, before: Sequence[range]
) -> Range:
    found = Range(start)
    expected: int | None = None
    with closing(LogReader(directory)) as reader:
        while frames := reader.read():
            for frame in frames:
                if frame.offset >= stop:
                    return found
                found.durable = frame.end
                if frame.meta.flow_id != flow_id:
                    continue
                found.oldest = found.oldest or (frame.offset, frame.meta.sequence)
                if frame.end <= start or (until is not None and frame.offset >= until):
                    continue
                _whole(frame, start, until)
                if not found.records:
                    found.first, found.sequence = frame.offset, frame.meta.sequence
                else:
                    found.missing += frame.meta.sequence - (expected or 0)
                expected = frame.meta.sequence + frame.count
                found.end = frame.end
                found.records += frame.count
                found.requests += 1
                found.forms[frame.meta.revision, frame.meta.envelope] += frame.count
                if any(frame.offset in done for done in before):
                    found.twice += frame.count
    return found


def _whole(frame: Frame, start: int, until: int | None) -> None:
    """ApiError 409 unless a request lies within the bounds as a whole."""
    for bound in (start, until):
        if bound is not None and frame.offset < bound < frame.end:
            raise refused(
                f"Position {bound} lies inside a request of {frame.count} records: it can be {frame.offset} or"
                f" {frame.end}."
            )


def misfit(found: Range, source_id: str, target: FlowRevision, revisions: Revisions) -> str | None:
    """Why records of a range cannot be delivered to a flow; None when they can."""
    for (number, envelope), count in found.forms.items():
        source = revisions.get(source_id, number)
        if source is None:
            return f"The store lacks revision {number} of flow {source_id}, under which {count} of the records came."
        if target.rules is not None:
            if envelope:
                return (
                    f"{count} of the records come in the XDM envelope and are no input of a mapping, which flow"
                    f" {target.flow_id} has: name a flow without one, for schema {source.schema_id}."
                )  # fmt: skip
        elif not envelope and source.rules is not None:
            return (
                f"{count} of the records are raw, and flow {target.flow_id} has no mapping: it takes XDM only. Name a"
                " flow with a mapping."
            )  # fmt: skip
        elif source.schema_id != target.schema_id:
            return (
                f"{count} of the records are XDM of schema {source.schema_id}, and flow {target.flow_id} takes XDM of"
                f" schema {target.schema_id}."
            )  # fmt: skip
    return None
