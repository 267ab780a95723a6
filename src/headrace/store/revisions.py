"""Flow revisions: written by the control plane, read by the data plane, never changed."""

import time

from headrace.model.flow import FlowRevision
from headrace.store.documents import Store


class Revisions:
    """The table of revisions. A revision number is unique within its flow."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, revision: FlowRevision) -> None:
        """Store a revision; sqlite3.IntegrityError when its number is taken."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO flow_revisions (flow_id, revision, created, body) VALUES (?, ?, ?, ?)",
                (
                    revision.flow_id,
                    revision.revision,
                    int(time.time() * 1000),
                    revision.to_json(),
                ),
            )

    def get(self, flow_id: str, revision: int) -> FlowRevision | None:
        """One revision of a flow."""
        return self._one("WHERE flow_id=? AND revision=?", (flow_id, revision))

    def latest(self, flow_id: str) -> FlowRevision | None:
        """The newest revision of a flow."""
        return self._one("WHERE flow_id=? ORDER BY revision DESC LIMIT 1", (flow_id,))

    def _one(self, where: str, values: tuple[object, ...]) -> FlowRevision | None:
        row = self._store.connection.execute(
            f"SELECT body FROM flow_revisions {where}", values
        ).fetchone()
        return None if row is None else FlowRevision.from_json(row[0])
