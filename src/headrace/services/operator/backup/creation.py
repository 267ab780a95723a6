"""`headrace backup`: a copy of a data directory from which it can be started, taken while the server runs.

The order makes the parts fit, though each is of a different moment:

1. The log's segments are opened, so that freeing cannot take them from us; then it is read how far rewinds into other
   flows are, which holds for what these segments have.
2. The catalog: from here on it is settled what has landed in the copy.
3. The tables' metadata files: commits remove old ones soon. If one has gone already, 2 is done again.
4. The log, which is therefore never older than the lake: what the catalog lacks is in it.
5. The store: it has every revision that the log names. What it says about later commits than those of 2 is taken
   out, and what it remembers of messages that came after 1; rewinds are put back to where they were at 1.
6. Keys and other files; then the lake's files, which are never changed and stay for an hour after they were replaced.
"""

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError, Terminal, Transient
from headrace.runtime.backfills import put_back, remembered
from headrace.services.operator.backup.copying import (
    CONTENT,
    Listing,
    copy,
    copy_database,
    settled,
)
from headrace.services.operator.backup.copying import MANIFEST as FINISHED
from headrace.services.operator.backup.log_copy import HeldLog
from headrace.services.operator.backup.references import DATA, LIST, MANIFEST, METADATA, references
from headrace.services.operator.inspection import (
    CATALOG,
    LOCKS,
    STORE,
    TableEntry,
    held,
    reading,
    tables,
)
from headrace.services.operator.sealed_values import unopened
from headrace.settings import load

if TYPE_CHECKING:
    from pyiceberg.table import Table

ATTEMPTS = 10
KEYS = "the backup holds keys and credentials: whoever reads it can call the APIs and open stored secrets"
_APART = {"log", "lake", STORE, *LOCKS}


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace backup`."""
    parser = argparse.ArgumentParser(
        prog="headrace backup", description="Copy a data directory, also while its server runs."
    )
    parser.add_argument("target", type=Path, metavar="DIR", help="new or empty directory")
    parser.add_argument("--data-dir", type=Path, help="directory of all data")
    options = parser.parse_args(words)
    listing = back_up(load({"data_dir": options.data_dir}).data_dir, options.target)
    size = f"{listing.bytes / 2**20:.1f} MiB in {len(listing.files)} files"
    print(f"{options.target}: {size}; what was acknowledged before it began is in it")
    print(f"headrace: {KEYS}", file=sys.stderr)
    return 0


def back_up(
    data_dir: Path, target: Path, reached: Callable[[str], None] = lambda step: None
) -> Listing:
    """Copy `data_dir` into `target`, which must be new or empty; what was copied.

    `reached` hears of each step when it is done. Terminal or Transient when the copy would not be whole: it has no
    manifest then and nothing will restore it.
    """
    if not (data_dir / STORE).is_file():
        raise ConfigurationError(
            f"there is no data in {data_dir}: name the directory with --data-dir"
        )
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise ConfigurationError(
            f"{target} lies in the data directory: a backup must lie outside of it"
        )
    prepare(target)
    lake = (data_dir / "lake").resolve()
    running = held(data_dir / LOCKS[0]) or held(data_dir / LOCKS[1])
    listing = Listing(taken=int(time.time() * 1000), lake=lake.as_uri())
    content = target / CONTENT
    log = HeldLog(data_dir / "log")
    try:
        with reading(data_dir / STORE) as db:
            rewinds = remembered(db)
        reached("held")
        found = _copy_catalog(data_dir, content, lake, listing)
        reached("catalog")
        entries, listing.log_end = log.copy_to(content / "log", running=running)
        listing.files |= {f"log/{name}": entry for name, entry in entries.items()}
        reached("log")
    finally:
        log.close()
    copy_database(data_dir / STORE, content / STORE)
    _take_out(content / STORE, found, listing.taken)
    with closing(sqlite3.connect(content / STORE)) as db, db:
        put_back(db, rewinds)
    listing.files[STORE] = settled(content / STORE)
    reached("store")
    _copy_others(data_dir, content, listing)
    reason = unopened(content)
    if reason:
        raise Transient(f"the key does not fit the copy of the store: {reason}; try again")
    for _, table in found:
        _copy_files(table, content, lake, listing)
    listing.finished = int(time.time() * 1000)
    listing.write(target)
    return listing


def prepare(target: Path) -> None:
    """Make a directory that only its owner may read; ConfigurationError when it is not empty."""
    try:
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(target.iterdir()):
            left = (target / CONTENT).is_dir() and not (target / FINISHED).exists()
            what = "holds a backup that was not finished" if left else "is not empty"
            raise ConfigurationError(f"{target} {what}: name a new or an empty directory")
    except OSError as error:
        raise ConfigurationError(f"{target}: {error.strerror}") from None


Found = list[tuple[TableEntry, "Table"]]


def _copy_catalog(data_dir: Path, content: Path, lake: Path, listing: Listing) -> Found:
    """Catalog and metadata of one moment; the tables as they were then."""
    target = content / CATALOG
    if not (data_dir / CATALOG).exists():
        return []
    for _ in range(ATTEMPTS):
        copy_database(data_dir / CATALOG, target)
        try:
            found = [_copy_metadata(entry, content, lake, listing) for entry in tables(target)]
        except FileNotFoundError:
            target.unlink()  # commits have removed a metadata file before we had it
            continue
        listing.files[CATALOG.as_posix()] = settled(target)
        return found
    raise Transient("tables are changed faster than their metadata can be copied: try again")


def _copy_metadata(
    entry: TableEntry, content: Path, lake: Path, listing: Listing
) -> "tuple[TableEntry, Table]":
    from pyiceberg.table import StaticTable

    from headrace.disk import local_path

    name = _inside(local_path(entry.location), lake)
    if name not in listing.files:
        listing.files[name] = copy(local_path(entry.location), content / name)
    return entry, StaticTable.from_metadata((content / name).resolve().as_uri())


def _inside(path: Path, lake: Path) -> str:
    """A file's path below the data directory."""
    if not path.is_relative_to(lake):
        raise Terminal(f"{path} lies outside of {lake}: back it up by other means")
    return (Path("lake") / path.relative_to(lake)).as_posix()


def _copy_files(table: "Table", content: Path, lake: Path, listing: Listing) -> None:
    """All files that a table keeps, but its metadata."""
    try:
        for reference in references(table, history=True):
            listing.deletes |= reference.deletes
            if reference.kind == METADATA:
                continue
            name = _inside(reference.path, lake)
            if name in listing.files:
                continue
            entry = copy(reference.path, content / name)
            if reference.kind == DATA and reference.size not in (None, entry["bytes"]):
                raise Terminal(f"{reference.path} is damaged: `headrace doctor` says more")
            listing.files[name] = entry
            if reference.kind in (MANIFEST, LIST):
                (listing.manifests if reference.kind == MANIFEST else listing.lists).append(name)
    except FileNotFoundError as error:
        raise Transient(
            f"{error.filename or error} is gone: it was lost (ask `headrace doctor`), or replaced more than an"
            " hour ago, while this backup ran"
        ) from None


def _copy_others(data_dir: Path, content: Path, listing: Listing) -> None:
    """Keys, credentials, imported components: whatever else lies there, but files being written."""
    for directory, names, files in os.walk(data_dir):
        place = Path(directory)
        if place == data_dir:
            names[:] = [name for name in names if name not in _APART]
            files = [f for f in files if f not in _APART and not f.startswith((".", f"{STORE}-"))]
        for file in files:
            path = place / file
            name = path.relative_to(data_dir).as_posix()
            if path.is_file() and not path.is_symlink():
                listing.files[name] = copy(path, content / name)


def _take_out(store: Path, found: Found, taken: int) -> None:
    """Remove from a copied store what is of a later moment than the copied lake and log.

    Commits that the copied tables do not have: their records come from the log again. Messages that the log may not
    have: their queue may send them again. `taken`: milliseconds since the epoch at which segments were opened.
    """
    from headrace.lake.trace import watermark_of

    known = {entry.dataset_id: table for entry, table in found if not entry.failed}
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        alive = {row[0] for row in db.execute("SELECT id FROM documents WHERE kind='dataSets'")}
        later = []
        rows = db.execute(
            "SELECT commit_id, flow_id, dataset_id, json_extract(body, '$.sequence') FROM commits"
        )
        for commit_id, flow_id, dataset_id, sequence in rows.fetchall():
            if dataset_id in known:
                mark = watermark_of(known[dataset_id], flow_id)
                if sequence > (mark.sequence if mark else 0):
                    later.append((commit_id,))
            elif dataset_id in alive:  # its table was made since
                later.append((commit_id,))
        db.execute("BEGIN IMMEDIATE")
        db.executemany("DELETE FROM commits WHERE commit_id=?", later)
        db.execute("DELETE FROM delivered WHERE remembered>=?", (taken,))
        db.execute("COMMIT")
