"""The watermark: how far a flow has landed in a table, kept with the rows themselves.

It is written twice in one commit: into the snapshot's summary, where it is tied to the rows, and into a table
property, which outlives the expiry of snapshots.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headrace.errors import WatermarkConflict

PREFIX = "headrace.watermark."


@dataclass(frozen=True, slots=True)
class Watermark:
    """`offsets`: partition → next offset; `tokens`: partition → the source's own mark for going on there, where it has
    one. `sequence`: records of the flow up to there; `landed`, `failed` and
    `warnings` count them by what became of them. `commit_id` is new for every commit; `rows_commit` is that of the
    newest commit that brought rows, whose snapshot carries this watermark's key. `batch_id` and `failed_batch_id`
    name the batches that the commit's rows carry.

    An operator may move a flow. `again`: records that were read once more for that, so that
    sequence + again = landed + failed + lost; `lost`: records that were passed over. `gone`: rows that it counts and
    the table no longer has, since it was rolled back or dropped. `epoch`: how often the flow was moved; a failed table
    of an earlier epoch covers nothing."""

    offsets: Mapping[str, int] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    sequence: int = 0
    landed: int = 0
    failed: int = 0
    warnings: int = 0
    commit_id: str = ""
    rows_commit: str = ""
    batch_id: str = ""
    failed_batch_id: str = ""
    again: int = 0
    lost: int = 0
    gone: int = 0
    epoch: int = 0

    def to_text(self) -> str:
        values = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(
            values | {"offsets": dict(self.offsets), "tokens": dict(self.tokens)},
            separators=(",", ":"),
            sort_keys=True,
        )

    @classmethod
    def from_text(cls, text: str) -> "Watermark":
        return cls(**json.loads(text))


def key(flow_id: str) -> str:
    """The name of a flow's watermark in summaries and properties."""
    return PREFIX + flow_id


def current(
    flow_id: str,
    properties: Mapping[str, str],
    summaries: Iterable[Mapping[str, str]],
    *,
    whole: bool,
) -> Watermark:
    """A flow's watermark from a table's properties and its snapshots' summaries, newest first.

    Snapshots of others (compaction, other flows) do not carry the key and are passed over. `whole` says that the
    summaries reach the table's first snapshot: otherwise older ones have expired and the property alone counts.
    WatermarkConflict when property and snapshots belong to different commits: the table was rolled back or
    changed outside.
    """
    name = key(flow_id)
    text = properties.get(name)
    stored = Watermark.from_text(text) if text else Watermark()
    found = next((Watermark.from_text(s[name]) for s in summaries if name in s), None)
    if found is None and not whole:
        return stored
    if (found.commit_id if found else "") != stored.rows_commit:
        says = dict(found.offsets) if found else "nothing"
        raise WatermarkConflict(
            f"the table's snapshots say {says} for flow {flow_id}, its property says {dict(stored.offsets)}"
        )
    return stored
