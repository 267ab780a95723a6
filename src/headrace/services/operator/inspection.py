"""Looking at a data directory from outside: nothing here writes, whether a server runs there or not."""

import fcntl
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

if TYPE_CHECKING:
    from pyiceberg.table import Table

STORE = "headrace.db"
CATALOG = Path("lake") / "catalog.db"
LOCKS = ("serve.lock", "worker.lock")


def held(path: Path) -> bool:
    """Whether a process holds a lock file. It is asked for a moment only, and shared."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that is only read; sqlite3.Error when it is none.

    When nobody has it open it is read as it lies: opening it otherwise would leave files beside it.
    """
    places = (path.parent / lock for lock in LOCKS), (path.parents[1] / lock for lock in LOCKS)
    served = any(held(lock) for locks in places for lock in locks)
    alone = not served and not path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    connection = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A table as the catalog names it."""

    sandbox: str
    name: str
    location: str

    @property
    def dataset_id(self) -> str:
        return self.name.removesuffix("_failed")

    @property
    def failed(self) -> bool:
        """Whether it is the table of a data set's failed records."""
        return self.name.endswith("_failed")

    def load(self) -> "Table":
        """The table at this moment's metadata; OSError or ValueError when that cannot be read."""
        from pyiceberg.table import StaticTable

        return StaticTable.from_metadata(self.location)


def tables(catalog: Path) -> list[TableEntry]:
    """Every table of a catalog, those of failed records after all others.

    Failed rows are committed first: whoever loads in this order has the failed rows of every good row.
    """
    if not catalog.exists():
        return []
    with reading(catalog) as db:
        rows = db.execute(
            "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables"
            " WHERE metadata_location IS NOT NULL ORDER BY table_namespace, table_name"
        ).fetchall()
    return sorted((TableEntry(*row) for row in rows), key=lambda t: t.failed)


def integrity(path: Path) -> list[str]:
    """What SQLite finds wrong with a database; empty when nothing is."""
    with reading(path) as db:
        found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(20)")]
    return [] if found == ["ok"] else found


def health(data_dir: Path) -> list[str] | None:
    """What the running server complains of; None when it does not answer."""
    try:
        url = json.loads((data_dir / "credentials.json").read_text())["base_url"]
        with urlopen(f"{url}/health", timeout=5):
            return []
    except HTTPError as error:
        try:
            reasons = json.load(error).get("reasons", [])
        except ValueError:
            return [f"it answers {error.code}"]
        return [f"{r.get('reason')}: {r.get('detail')}" for r in reasons]
    except (URLError, OSError, ValueError, KeyError):
        return None
