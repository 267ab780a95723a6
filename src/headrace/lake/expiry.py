"""Expiry of old snapshots, so that commits stay fast, and the check that a table may be tended at all."""

from typing import Literal

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import ValidatableTableRequirement
from pyiceberg.table.update.snapshot import ExpireSnapshots

from headrace.errors import WatermarkConflict
from headrace.lake.transaction import CachedTransaction
from headrace.lake.watermark import PREFIX, Watermark, current
from headrace.testing.crashpoints import reach


class AssertExpirable(ValidatableTableRequirement):
    """The head must be the one that was read and the snapshots must be there: no rollback makes one needed."""

    type: Literal["assert-headrace-expirable"] = "assert-headrace-expirable"
    head: int | None
    ids: list[int]

    def validate(self, base_metadata: TableMetadata | None) -> None:  # type: ignore[override]
        have = {s.snapshot_id for s in base_metadata.snapshots} if base_metadata else set[int]()
        named = (
            {r.snapshot_id for r in base_metadata.refs.values()} if base_metadata else set[int]()
        )
        head = base_metadata.current_snapshot_id if base_metadata else None
        if head != self.head or not have.issuperset(self.ids) or named.intersection(self.ids):
            raise CommitFailedException("the table's snapshots have changed")


def ancestors(table: Table) -> list[Snapshot]:
    """The current snapshot and those before it, as far as they have not expired; newest first."""
    found = list[Snapshot]()
    snapshot = table.current_snapshot()
    while snapshot is not None:
        found.append(snapshot)
        parent = snapshot.parent_snapshot_id
        snapshot = table.metadata.snapshot_by_id(parent) if parent is not None else None
    return found


def expire(table: Table, keep: int) -> int:
    """Expire all but the newest snapshots; the number expired, 0 when another writer was faster.

    Heads of branches and tags stay. Watermarks stay too: each is also a table property.
    """
    snapshots = table.snapshots()
    if len(snapshots) <= keep:
        return 0
    chain = ancestors(table)
    kept = {s.snapshot_id for s in chain[:keep]}
    by_age = sorted(snapshots, key=lambda s: (s.timestamp_ms, s.sequence_number or 0), reverse=True)
    for snapshot in by_age:  # others than ancestors fill up what the chain lacks
        if len(kept) >= keep:
            break
        kept.add(snapshot.snapshot_id)
    kept |= {ref.snapshot_id for ref in table.metadata.refs.values()}
    ids = [s.snapshot_id for s in snapshots if s.snapshot_id not in kept]
    if not ids:
        return 0
    # on the loaded object only: the library's own retry would expire without looking again
    table.metadata.properties["commit.retry.num-retries"] = "0"
    fence = AssertExpirable(head=table.metadata.current_snapshot_id, ids=ids)
    try:
        with CachedTransaction(table) as transaction:
            transaction._apply((), (fence,))  # type: ignore[arg-type]
            ExpireSnapshots(transaction).by_ids(ids).commit()
            reach("expiry-before-commit")
    except CommitFailedException:
        return 0
    reach("expiry-after-commit")
    return len(ids)


def agrees(table: Table) -> bool:
    """Whether snapshots and properties say the same about every flow.

    A table that was rolled back or changed outside waits for an operator, who needs the history that it has:
    nothing may be expired, merged or removed.
    """
    chain = ancestors(table)
    summaries = [s.summary.additional_properties if s.summary else {} for s in chain]
    whole = not chain or chain[-1].sequence_number == 1
    properties = table.metadata.properties
    names = {n for p in (properties, *summaries) for n in p if n.startswith(PREFIX)}
    inside = {s.snapshot_id for s in chain}
    oldest = chain[-1].sequence_number or 0 if chain else 0
    # older ones are what tags have kept: they were current once and their rows still are
    outside = [
        snapshot.summary.additional_properties
        for snapshot in table.snapshots()
        if snapshot.snapshot_id not in inside
        and (snapshot.sequence_number or 0) > oldest
        and snapshot.summary
    ]
    try:
        for name in names:
            stored = current(name.removeprefix(PREFIX), properties, summaries, whole=whole)
            marks = (Watermark.from_text(summary[name]) for summary in outside if name in summary)
            if any(mark.commit_id == stored.rows_commit for mark in marks):
                return False  # the rows that it counts are in a snapshot that is no longer current
    except (WatermarkConflict, ValueError, TypeError):
        return False
    return True
