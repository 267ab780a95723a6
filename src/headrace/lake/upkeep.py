"""Upkeep of tables while flows run: old snapshots are expired, so that commits stay fast."""

from datetime import UTC, datetime, timedelta

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

KEEP_SNAPSHOTS = 10


def tend(table: Table, keep: int = KEEP_SNAPSHOTS) -> int:
    """Expire all but the newest snapshots; the number expired. Losing a race to a writer is no error.

    Watermarks are kept: each is also a table property, which expiry does not touch.
    """
    snapshots = sorted(table.snapshots(), key=lambda snapshot: snapshot.timestamp_ms)
    if len(snapshots) <= keep:
        return 0
    edge = datetime.fromtimestamp(snapshots[-keep].timestamp_ms / 1000, UTC) - timedelta(
        milliseconds=1
    )
    try:
        table.maintenance.expire_snapshots().older_than(edge.replace(tzinfo=None)).commit()
    except CommitFailedException:
        return 0
    return len(snapshots) - keep
