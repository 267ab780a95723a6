"""A data directory of every older schema opens in this version; a migration that is cut short leaves the old one."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import ConfigurationError
from headrace.store import documents
from headrace.store.documents import MIGRATIONS, Scope, Store

SCOPE = Scope("o", "s")
VERSIONS = range(1, len(MIGRATIONS) + 1)


def old(path: Path, version: int) -> None:
    """A store as `version` left it: with documents, a revision, a commit and a setting."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    for script in MIGRATIONS[:version]:
        db.executescript(script)
    for n in range(3):
        row = ("o", "s", "things", f"id{n}", n, 1, 2, f'{{"title": "t{n}"}}')
        db.execute(
            "INSERT INTO documents (org, sandbox, kind, id, version, created, updated, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
    db.execute("INSERT INTO flow_revisions VALUES ('f', 1, 1, '{}')")
    db.execute("INSERT INTO commits VALUES ('c', 'b', 'f', 'd', 'good', 1, '{}')")
    db.execute("INSERT INTO settings VALUES ('name', 'value')")
    db.execute(f"PRAGMA user_version={version}")
    db.commit()
    db.close()


def shape(path: Path) -> list[tuple[str, str]]:
    db = sqlite3.connect(path)
    found = db.execute(
        "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2"
    ).fetchall()
    db.close()
    return found


def whole(path: Path) -> None:
    """All that the old store held is there, and what is new in the schema works."""
    store = Store(path)
    found = [(d.id, d.version, d.body) for d in store.list(SCOPE, "things")]
    assert found == [(f"id{n}", n, {"title": f"t{n}"}) for n in range(3)]
    assert store.setting("name") == "value"
    assert store.titled(SCOPE, ["things"], "t1") == ["id1"]
    before = store.changes(SCOPE, "things")
    store.replace(SCOPE, "things", "id1", {"title": "new"}, 1)
    assert store.changes(SCOPE, "things") > before
    assert "id1" in store.changed_since(SCOPE, "things", before)
    for table in ("flow_revisions", "commits"):
        assert store.connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
    assert store.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_p11_a_store_of_every_older_version_opens_with_all_that_it_held(
    tmp_path: Path, version: int
) -> None:
    old(tmp_path / "old.db", version)
    whole(tmp_path / "old.db")
    Store(tmp_path / "new.db").close()
    assert shape(tmp_path / "old.db") == shape(tmp_path / "new.db")


def test_p11_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    old(path, len(MIGRATIONS))
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(ConfigurationError, match="newer version"):
        Store(path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    db.close()


DIE = """
import os, sys
from pathlib import Path
from headrace.store import documents

real, left = documents._statements, [int(sys.argv[2])]
def statements(script):
    for statement in real(script):
        left[0] -= 1
        if left[0] == 0:
            os._exit(137)
        yield statement
documents._statements = statements
documents.Store(Path(sys.argv[1]))
"""


def test_p11_a_migration_that_is_killed_at_any_statement_leaves_the_old_schema_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    real = documents._statements
    total = sum(len(list(real(script))) for script in MIGRATIONS[1:])
    before = tmp_path / "before.db"
    old(before, 1)
    for number in range(1, total + 1):
        path, left = tmp_path / f"{number}.db", [number]
        old(path, 1)

        def statements(script: str, left: list[int] = left) -> object:
            for statement in real(script):
                left[0] -= 1
                if left[0] == 0:
                    raise Died
                yield statement

        with monkeypatch.context() as patch:
            patch.setattr(documents, "_statements", statements)
            with pytest.raises(Died):
                Store(path)
        assert shape(path) == shape(before)
        whole(path)
    assert total > 8


@pytest.mark.parametrize("statement", [1, 5])
def test_p11_a_process_killed_in_the_midst_of_a_migration_is_followed_by_one_that_finishes_it(
    tmp_path: Path, statement: int
) -> None:
    path = tmp_path / "store.db"
    old(path, 1)
    done = subprocess.run([sys.executable, "-c", DIE, str(path), str(statement)], check=False)
    assert done.returncode == 137
    whole(path)
