"""Removal of a table's files that no snapshot needs: replaced and expired ones, and those of failed commits.

A reader may still be using a file that a moment ago was live, and a commit under way has files that no snapshot
names yet. So a file goes only when it is older than the grace period *and* has been found unneeded for that long.
When it was found so is kept in a ledger beside the table's data, which survives restarts; a lost ledger only
delays removals. Only names that this project and Iceberg libraries give to their files are considered.
"""

import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from pyiceberg.table import Table

from headrace.disk import local_path, sync_directory
from headrace.lake.files import DurableStream
from headrace.testing.crashpoints import reach

LEDGER = "unneeded.json"
FOLDERS = {"data": (".parquet",), "metadata": (".avro", ".metadata.json")}
LISTED_AT_ONCE = 5_000
REMOVED_AT_ONCE = 200
WORK_AT_ONCE = 1_000
FILE_READ = 100
"""What it costs to open a manifest, in names read."""


@dataclass(slots=True)
class Swept:
    """What a sweep found so far: files unneeded, and of those the removed ones and their bytes."""

    unneeded: int = 0
    removed: int = 0
    bytes: int = 0


def sweep(
    load: Callable[[], Table], now: float, grace: float, clock_set: float = 0.0
) -> Generator[Swept, None, None]:
    """Find and remove unneeded files, a bounded piece of work between yields.

    `now` is in seconds since the epoch, `grace` in seconds; `clock_set`: when the clock was last known to jump, so that
    the grace period of what was unneeded before begins again. Memory is about 100 bytes a file of the table and one
    manifest. Fails, before it removes anything, when a manifest cannot be read.
    """
    found = Swept()
    first = load()
    if urlsplit(first.location()).scheme not in ("", "file"):
        return
    directory = local_path(first.location())
    candidates: dict[str, str] = {}
    listing = _old_files(directory, now - grace)
    while part := list(islice(listing, LISTED_AT_ONCE)):
        candidates.update(part)
        yield found
    # the table as it is after the listing: what a commit has named since is in it
    work = 0
    for names in needed(load()):
        for name in names:
            candidates.pop(name, None)
        work += FILE_READ + len(names)
        if work >= WORK_AT_ONCE:
            work = 0
            yield found
    ledger = directory / LEDGER
    known = _read(ledger)
    # a time to come is that of a clock that was put back since
    paths = sorted(f"{folder}/{name}" for name, folder in candidates.items())
    since = {path: min(max(known.get(path, now), clock_set), now) for path in paths}
    if since != known:
        _write(ledger, since)
    reach("orphans-after-ledger")
    found.unneeded = len(since)
    due = iter([str(directory / path) for path, seen in since.items() if seen <= now - grace])
    while paths := list(islice(due, REMOVED_AT_ONCE)):
        _remove(paths, found)
        yield found


def needed(table: Table) -> Iterator[list[str]]:
    """Names of the files that the table's snapshots and its metadata need, a list for each file that was read.

    Names, not paths: they are unique, and one path can be written in many ways.
    """
    metadata = table.metadata
    statistics = [*metadata.statistics, *metadata.partition_statistics]
    yield _names(
        [
            table.metadata_location,
            *(entry.metadata_file for entry in metadata.metadata_log),
            *(entry.statistics_path for entry in statistics),
        ]
    )
    seen = set[str]()
    for snapshot in metadata.snapshots:
        manifests = snapshot.manifests(table.io)
        new = [m for m in manifests if m.manifest_path not in seen]
        yield _names([snapshot.manifest_list, *(m.manifest_path for m in new)])
        for manifest in new:
            seen.add(manifest.manifest_path)
            entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
            yield _names([entry.data_file.file_path for entry in entries])


def _names(locations: list[str]) -> list[str]:
    return [local_path(location).name for location in locations]


def _old_files(directory: Path, before: float) -> Iterator[tuple[str, str]]:
    """Name and folder of every file that was last written before a time and has a name like ours."""
    for folder, endings in FOLDERS.items():
        try:
            entries = os.scandir(directory / folder)
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                if entry.name.endswith(endings) and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):  # removed by a commit meanwhile
                        if entry.stat(follow_symlinks=False).st_mtime <= before:
                            yield entry.name, folder


def _read(ledger: Path) -> dict[str, float]:
    try:
        known = json.loads(ledger.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(ledger: Path, since: dict[str, float]) -> None:
    partial = ledger.with_suffix(".partial")
    with DurableStream(partial, overwrite=True) as stream:
        stream.write(json.dumps(since).encode())
    partial.replace(ledger)
    sync_directory(ledger.parent)


def _remove(paths: list[str], found: Swept) -> None:
    for path in paths:
        reach("orphans-before-removal")
        try:
            size = os.stat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            continue
        found.removed += 1
        found.bytes += size
    for parent in {os.path.dirname(path) for path in paths}:
        sync_directory(Path(parent))
