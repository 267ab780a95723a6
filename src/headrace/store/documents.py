"""Platform resources as JSON documents in SQLite.

One file, WAL mode, FULL synchronous: a committed write survives power loss. Any number of processes may read;
writers wait for one another (10 s). Each document belongs to an organisation and a sandbox and an id never
resolves in another one.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import ConfigurationError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE documents (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        org TEXT NOT NULL, sandbox TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
        version INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (org, sandbox, kind, id)
    );
    CREATE INDEX documents_by_id ON documents (kind, id);
    CREATE TABLE flow_revisions (
        flow_id TEXT NOT NULL, revision INTEGER NOT NULL, created INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (flow_id, revision)
    );
    CREATE TABLE commits (
        commit_id TEXT PRIMARY KEY, batch_id TEXT NOT NULL, flow_id TEXT NOT NULL, dataset_id TEXT NOT NULL,
        kind TEXT NOT NULL, committed INTEGER NOT NULL, body TEXT NOT NULL
    );
    CREATE INDEX commits_by_flow ON commits (flow_id, committed);
    CREATE INDEX commits_by_dataset ON commits (dataset_id, committed);
    CREATE INDEX commits_by_batch ON commits (batch_id);
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    """,
    """
    CREATE INDEX documents_by_title ON documents (org, sandbox, json_extract(body, '$.title'), kind);
    CREATE INDEX audit_by_resource ON documents (json_extract(body, '$.resource')) WHERE kind='audit';
    """,
    """
    CREATE INDEX commits_by_time ON commits (committed, flow_id);
    CREATE TABLE changes (
        org TEXT NOT NULL, sandbox TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL,
        PRIMARY KEY (org, sandbox, kind, id)
    ) WITHOUT ROWID;
    CREATE INDEX changes_by_number ON changes (org, sandbox, kind, number);
    CREATE TRIGGER documents_inserted AFTER INSERT ON documents BEGIN
        INSERT OR REPLACE INTO changes SELECT NEW.org, NEW.sandbox, NEW.kind, NEW.id,
            coalesce(max(number), 0) + 1 FROM changes
            WHERE org=NEW.org AND sandbox=NEW.sandbox AND kind=NEW.kind;
    END;
    CREATE TRIGGER documents_updated AFTER UPDATE ON documents BEGIN
        INSERT OR REPLACE INTO changes SELECT NEW.org, NEW.sandbox, NEW.kind, NEW.id,
            coalesce(max(number), 0) + 1 FROM changes
            WHERE org=NEW.org AND sandbox=NEW.sandbox AND kind=NEW.kind;
    END;
    CREATE TRIGGER documents_deleted AFTER DELETE ON documents BEGIN
        INSERT OR REPLACE INTO changes SELECT OLD.org, OLD.sandbox, OLD.kind, OLD.id,
            coalesce(max(number), 0) + 1 FROM changes
            WHERE org=OLD.org AND sandbox=OLD.sandbox AND kind=OLD.kind;
    END;
    """,
    """
    CREATE TABLE delivered (
        flow_id TEXT NOT NULL, id TEXT NOT NULL, sent INTEGER NOT NULL, remembered INTEGER NOT NULL,
        PRIMARY KEY (flow_id, id, sent)
    ) WITHOUT ROWID;
    """,
)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a document lives."""

    org: str
    sandbox: str


@dataclass(frozen=True, slots=True)
class Document:
    """A stored resource; `created` and `updated` are milliseconds since the epoch, `version` counts writes from 0."""

    id: str
    version: int
    created: int
    updated: int
    body: dict[str, Any]


class Conflict(Exception):
    """The id exists already, or the document changed since it was read."""


class Store:
    """Thread-safe; one connection a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._migrate()

    @property
    def connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self.path, timeout=10, isolation_level=None)
            found.execute("PRAGMA journal_mode=WAL")
            found.execute("PRAGMA synchronous=FULL")
            self._local.connection = found
        return found

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; nests into the running transaction of the same thread."""
        db = self.connection
        if db.in_transaction:
            yield db
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _migrate(self) -> None:
        with self.transaction() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise ConfigurationError(
                    f"{self.path} was written by a newer version of Headrace (schema {version}, this one knows"
                    f" {len(MIGRATIONS)}): start that version, or restore a backup of this one"
                )
            for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
                for statement in _statements(script):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version={number}")

    def create(self, scope: Scope, kind: str, id: str, body: dict[str, Any]) -> Document:
        """Store a new document; Conflict when the id is taken."""
        now = int(time.time() * 1000)
        try:
            with self.transaction() as db:
                db.execute(
                    "INSERT INTO documents (org, sandbox, kind, id, version, created, updated, body)"
                    " VALUES (?, ?, ?, ?, 0, ?, ?, ?)",
                    (scope.org, scope.sandbox, kind, id, now, now, _text(body)),
                )
        except sqlite3.IntegrityError:
            raise Conflict(id) from None
        return Document(id, 0, now, now, body)

    def get(self, scope: Scope, kind: str, id: str) -> Document | None:
        row = self.connection.execute(
            "SELECT id, version, created, updated, body FROM documents"
            " WHERE org=? AND sandbox=? AND kind=? AND id=?",
            (scope.org, scope.sandbox, kind, id),
        ).fetchone()
        return _document(row) if row else None

    def find(self, kind: str, id: str) -> tuple[Scope, Document] | None:
        """A document by id alone, for ids that travel without their sandbox (inlets, receipts)."""
        row = self.connection.execute(
            "SELECT id, version, created, updated, body, org, sandbox FROM documents WHERE kind=? AND id=?",
            (kind, id),
        ).fetchone()
        return (Scope(row[5], row[6]), _document(row)) if row else None

    def replace(
        self,
        scope: Scope,
        kind: str,
        id: str,
        body: dict[str, Any],
        expected_version: int | None = None,
    ) -> Document:
        """Overwrite; Conflict when it does not exist or its version is not the expected one."""
        now = int(time.time() * 1000)
        with self.transaction() as db:
            found = self.get(scope, kind, id)
            if found is None or expected_version not in (None, found.version):
                raise Conflict(id)
            db.execute(
                "UPDATE documents SET version=version+1, updated=?, body=?"
                " WHERE org=? AND sandbox=? AND kind=? AND id=?",
                (now, _text(body), scope.org, scope.sandbox, kind, id),
            )
        return Document(id, found.version + 1, found.created, now, body)

    def delete(self, scope: Scope, kind: str, id: str) -> bool:
        with self.transaction() as db:
            cursor = db.execute(
                "DELETE FROM documents WHERE org=? AND sandbox=? AND kind=? AND id=?",
                (scope.org, scope.sandbox, kind, id),
            )
            return cursor.rowcount > 0

    def list(self, scope: Scope, kind: str) -> list[Document]:
        """All of a kind in order of creation."""
        rows = self.connection.execute(
            "SELECT id, version, created, updated, body FROM documents"
            " WHERE org=? AND sandbox=? AND kind=? ORDER BY seq",
            (scope.org, scope.sandbox, kind),
        )
        return [_document(row) for row in rows]

    def titled(self, scope: Scope, kinds: Sequence[str], title: str) -> Sequence[str]:
        """Ids of the documents with a title."""
        marks = ",".join("?" * len(kinds))
        rows = self.connection.execute(
            "SELECT id FROM documents WHERE org=? AND sandbox=? AND json_extract(body, '$.title')=?"
            f" AND kind IN ({marks})",
            (scope.org, scope.sandbox, title, *kinds),
        )
        return [row[0] for row in rows]

    def fingerprint(self, scope: Scope, kinds: Sequence[str]) -> tuple[int, ...]:
        """`changes` of several kinds."""
        return tuple(self.changes(scope, kind) for kind in kinds)

    def changes(self, scope: Scope, kind: str) -> int:
        """A number that grows with every creation, change and deletion of the kind, whoever made it.

        Reading it costs the same however many documents there are. Inside a transaction that is rolled back
        the number falls again, so nothing may be remembered under a number read there.
        """
        row = self.connection.execute(
            "SELECT max(number) FROM changes WHERE org=? AND sandbox=? AND kind=?",
            (scope.org, scope.sandbox, kind),
        ).fetchone()
        return row[0] or 0

    def changed_since(self, scope: Scope, kind: str, number: int) -> Sequence[str]:
        """Ids of the documents created, changed or deleted after `changes` gave that number."""
        rows = self.connection.execute(
            "SELECT id FROM changes WHERE org=? AND sandbox=? AND kind=? AND number>?",
            (scope.org, scope.sandbox, kind, number),
        )
        return [row[0] for row in rows]

    def some(self, scope: Scope, kind: str, ids: Sequence[str]) -> Iterator[Document]:
        """The documents with these ids, in no particular order; those that do not exist are left out."""
        for at in range(0, len(ids), 500):
            part = ids[at : at + 500]
            rows = self.connection.execute(
                "SELECT id, version, created, updated, body FROM documents WHERE org=? AND sandbox=? AND kind=?"
                f" AND id IN ({','.join('?' * len(part))})",
                (scope.org, scope.sandbox, kind, *part),
            )
            yield from map(_document, rows)

    def first_with(self, scope: Scope, kind: str, path: str, value: str) -> str | None:
        """The id of one document that has the value at a JSON path (`$.name`), None when none has."""
        row = self.connection.execute(
            "SELECT id FROM documents WHERE org=? AND sandbox=? AND kind=? AND json_extract(body, ?)=? LIMIT 1",
            (scope.org, scope.sandbox, kind, path, value),
        ).fetchone()
        return None if row is None else str(row[0])

    def everywhere(self, kind: str) -> Sequence[tuple[Scope, Document]]:
        """All of a kind in every organisation and sandbox, in order of creation."""
        rows = self.connection.execute(
            "SELECT id, version, created, updated, body, org, sandbox FROM documents WHERE kind=? ORDER BY seq",
            (kind,),
        )
        return [(Scope(row[5], row[6]), _document(row)) for row in rows]

    def setting(self, name: str) -> str | None:
        row = self.connection.execute("SELECT value FROM settings WHERE name=?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_setting(self, name: str, value: str) -> None:
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def close(self) -> None:
        """Close this thread's connection."""
        found = getattr(self._local, "connection", None)
        if found is not None:
            found.close()
            del self._local.connection


def _statements(script: str) -> Iterator[str]:
    """A script's statements; those of a trigger stay together."""
    statement = ""
    for part in script.split(";")[:-1]:
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _document(row: Any) -> Document:
    return Document(row[0], row[1], row[2], row[3], json.loads(row[4]))
