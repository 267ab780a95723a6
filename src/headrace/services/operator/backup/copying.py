"""Copies whose checksums are known, and the manifest that lists them."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.disk import make_directories, sync_directory
from headrace.errors import Terminal
from headrace.services.operator.inspection import reading

MANIFEST = "manifest.json"
CONTENT = "data"
VERSION = 1
_CHUNK = 4 * 1024 * 1024


class Altered(Terminal):
    """A copy is not what the manifest says."""


@dataclass(slots=True)
class Listing:
    """What a backup holds. `taken`, `finished`: milliseconds since the epoch; `lake`: location of the lake that its
    files name; `files`: path below the content → SHA-256, bytes and mode; `manifests` and `lists`: which of them are
    Iceberg's, for a move; `deletes`: whether rows are deleted by files that name others."""

    taken: int
    lake: str
    finished: int = 0
    log_end: int = 0
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    manifests: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    deletes: bool = False

    @property
    def bytes(self) -> int:
        return sum(int(file["bytes"]) for file in self.files.values())

    def write(self, directory: Path) -> None:
        """The last thing that a backup writes: without it there is none."""
        values = {name: getattr(self, name) for name in self.__slots__} | {"version": VERSION}
        put(directory / MANIFEST, [json.dumps(values, indent=1).encode()], 0o600)

    @classmethod
    def read(cls, directory: Path) -> "Listing":
        """Altered when the directory holds no finished backup of a known form."""
        try:
            values = json.loads((directory / MANIFEST).read_bytes())
            if values.pop("version") != VERSION:
                raise Altered(
                    f"the backup {directory} is of a form that this version does not know"
                )
            return cls(**values)
        except FileNotFoundError:
            if not directory.exists():
                raise Altered(f"there is no directory {directory}") from None
            text = f"there is no finished backup in {directory}: it has no {MANIFEST}"
            raise Altered(text) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Altered(f"the manifest of {directory} cannot be read: {error}") from None


def put(path: Path, parts: Iterable[bytes], mode: int) -> dict[str, Any]:
    """Write a new file durably; its entry for the manifest."""
    make_directories(path.parent)
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        for part in parts:
            digest.update(part)
            size += len(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)
    return {"sha256": digest.hexdigest(), "bytes": size, "mode": mode}


def pieces(path: Path) -> Iterator[bytes]:
    """A file's bytes, a bounded number at a time."""
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            yield part


def copy(source: Path, target: Path) -> dict[str, Any]:
    """Copy a file with its permissions; its entry for the manifest."""
    return put(target, pieces(source), source.stat().st_mode & 0o777)


def copy_database(source: Path, target: Path) -> None:
    """A database as of one moment, by SQLite's own means: also while others write to it."""
    make_directories(target.parent)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o600))
    with reading(source) as have, closing(sqlite3.connect(target, isolation_level=None)) as db:
        have.backup(db)
        db.execute("PRAGMA journal_mode=DELETE")


def settled(path: Path) -> dict[str, Any]:
    """Make a database that was changed here durable; its entry for the manifest."""
    digest, size = hashlib.sha256(), 0
    for part in pieces(path):
        digest.update(part)
        size += len(part)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)
    return {"sha256": digest.hexdigest(), "bytes": size, "mode": path.stat().st_mode & 0o777}
