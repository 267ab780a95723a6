"""Moving a flow: an operator's command writes a watermark that says another position than the last commit did.

One commit of the good table moves it, so that a process which dies at any moment leaves the flow at the old place or
at the new one. The epoch grows with it: a batch that was read before it is refused, and what the failed table said it
covers counts no longer.
"""

import uuid
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.table import Table
from sqlalchemy.exc import SQLAlchemyError

from headrace.errors import Transient
from headrace.lake.commit import AssertWatermark
from headrace.lake.expiry import ancestors
from headrace.lake.transaction import CachedTransaction
from headrace.lake.watermark import Watermark, key
from headrace.testing.crashpoints import reach


@dataclass(frozen=True, slots=True)
class Standing:
    """What a table says of a flow: by its property, and by the rows that are in it (None when snapshots that would tell
    have expired). `agrees`: both belong to the same commit."""

    stored: Watermark
    rows: Watermark | None
    agrees: bool

    @property
    def truth(self) -> Watermark:
        """How far the rows that are there reach."""
        return self.stored if self.agrees or self.rows is None else self.rows


def standing(table: Table, flow_id: str) -> Standing:
    """The same as the commit protocol goes by, without refusing a table that was rolled back."""
    name = key(flow_id)
    text = table.metadata.properties.get(name)
    stored = Watermark.from_text(text) if text else Watermark()
    chain = ancestors(table)
    summaries = (s.summary.additional_properties for s in chain if s.summary)
    found = next((Watermark.from_text(s[name]) for s in summaries if name in s), None)
    if found is None and chain and chain[-1].sequence_number != 1:
        return Standing(stored, None, agrees=True)
    rows = found or Watermark()
    return Standing(stored, rows, agrees=rows.commit_id == stored.rows_commit)


def vanished(counts: Mapping[str, int]) -> Standing:
    """A flow whose table is a new one: `counts` say what had landed in the one that is gone."""
    stored = Watermark(
        sequence=counts["reached"], landed=counts["landed"], failed=counts["failed"],
        warnings=counts["warnings"], again=counts["again"], lost=counts["lost"],
    )  # fmt: skip
    return Standing(stored, Watermark(), agrees=False)


def rewound(
    before: Standing,
    offsets: Mapping[str, tuple[int, str]],
    sequence: int | None,
    forgotten: Set[str] = frozenset(),
) -> Watermark:
    """The watermark after the move. `offsets`: partition → offset and token; `sequence`: the flow's records before the
    new position, None when only the distance of offsets tells; `forgotten`: partitions without a position."""
    stored, truth = before.stored, before.truth
    if sequence is None:
        back = sum(max(0, stored.offsets.get(id, 0) - at) for id, (at, _) in offsets.items())
        back += sum(stored.offsets.get(id, 0) for id in forgotten)
        sequence = max(0, stored.sequence - back)
    moved = {id: at for id, (at, _) in offsets.items()}
    kept = {id: at for id, at in stored.offsets.items() if id not in forgotten}
    tokens = {id: token for id, token in stored.tokens.items() if id in kept and id not in moved}
    return replace(
        stored, offsets=kept | moved,
        tokens=tokens | {id: token for id, (_, token) in offsets.items() if token},
        sequence=sequence, again=stored.again + max(0, stored.sequence - sequence),
        lost=stored.lost + max(0, sequence - stored.sequence),
        gone=_gone(before, stored.landed, truth.landed), epoch=stored.epoch + 1,
        commit_id=str(uuid.uuid4()), batch_id="", failed_batch_id="",
        rows_commit=stored.rows_commit if before.agrees else truth.commit_id,
    )  # fmt: skip


def repaired(before: Standing, failed: int) -> Watermark:
    """The mark of a failed table that was rolled back or is new; it covers nothing. `failed`: rows ever committed."""
    truth = before.truth
    return Watermark(
        failed=failed, gone=_gone(before, failed, truth.failed), commit_id=str(uuid.uuid4()),
        rows_commit=truth.commit_id, epoch=before.stored.epoch,
    )  # fmt: skip


def _gone(before: Standing, ever: int, reached: int) -> int:
    return before.stored.gone if before.agrees else ever - (reached - before.truth.gone)


def write(table: Table, flow_id: str, mark: Watermark) -> None:
    """Make a mark the table's property, if it has not changed since the table was loaded; Transient otherwise."""
    name = key(flow_id)
    # on the loaded object only: the library's own retry would write over what another has written
    table.metadata.properties["commit.retry.num-retries"] = "0"
    fence = AssertWatermark(name=name, text=table.metadata.properties.get(name))
    reach("rewind-before-commit")
    try:
        with CachedTransaction(table) as transaction:
            transaction._apply((), (fence,))  # type: ignore[arg-type]
            transaction.set_properties({name: mark.to_text()})
    except CommitFailedException:
        raise Transient("the table has just been committed to by another") from None
    except (CommitStateUnknownException, SQLAlchemyError, TimeoutError) as error:
        raise Transient(
            f"the outcome is unknown: {type(error).__name__}; look and repeat"
        ) from None
    reach("rewind-after-commit")
