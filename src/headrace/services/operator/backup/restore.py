"""`headrace restore`: a backup becomes a data directory, at any place."""

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from headrace.disk import sync_directory
from headrace.errors import ConfigurationError
from headrace.services.operator.backup.copying import (
    CONTENT,
    Altered,
    Listing,
    pieces,
    put,
    settled,
)
from headrace.services.operator.backup.relocation import Move, relocate
from headrace.services.operator.backup.restored import NAME, time_text
from headrace.settings import load


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace restore`."""
    parser = argparse.ArgumentParser(
        prog="headrace restore", description="Make a data directory of a backup."
    )
    parser.add_argument("source", type=Path, metavar="DIR", help="directory of a backup")
    parser.add_argument(
        "--data-dir", type=Path, required=True, metavar="NEW", help="new or empty directory"
    )
    options = parser.parse_args(words)
    target = load({"data_dir": options.data_dir}).data_dir
    listing = restore(options.source, target)
    print(
        f"{target}: restored from {time_text(listing.taken)}; what was acknowledged later may not be in it\n"
        f"look at it with `headrace doctor --data-dir {target}`; stop the old server, if it still runs, before\n"
        f"`headrace serve --data-dir {target}`: two would read the same sources"
    )
    return 0


def restore(source: Path, target: Path) -> Listing:
    """Copy a backup to `target`, which must be new or empty, and make its lake work there.

    Altered, and no `target`, when a file is missing, superfluous or other than it was; ConfigurationError when the
    target is not empty or the lake cannot be moved.
    """
    listing = Listing.read(source)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(f"{target} is not empty: nothing was restored")
    place = target.resolve()
    move = Move(listing.lake, (place / "lake").as_uri())
    if listing.deletes and move.old != move.new:
        text = "rows are deleted by files that name others: restore to the place where the lake was"
        raise ConfigurationError(f"{text} ({listing.lake})")
    partial = place.with_name(f".{place.name}.restoring")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(mode=0o750)
    except FileExistsError:
        text = f"{partial} is left from a restore that was interrupted: remove it"
        raise ConfigurationError(text) from None
    except OSError as error:
        raise ConfigurationError(f"{target}: {error.strerror}") from None
    try:
        _copy(source / CONTENT, partial, listing)
        (partial / "lake" / "warehouse").mkdir(parents=True, exist_ok=True)
        if move.old != move.new:
            manifests, lists = (
                [partial / name for name in names] for names in (listing.manifests, listing.lists)
            )
            relocate(partial, move, manifests, lists)
            for path in _moved(partial):
                settled(path)
        note = {"taken": listing.taken, "restored": int(time.time() * 1000)}
        (partial / NAME).unlink(missing_ok=True)  # that of an earlier restore came with the backup
        put(partial / NAME, [json.dumps(note).encode()], 0o640)
        os.replace(partial, place)
        sync_directory(place.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return listing


def _copy(content: Path, target: Path, listing: Listing) -> None:
    for path in content.rglob("*"):
        if path.is_file() and path.relative_to(content).as_posix() not in listing.files:
            raise Altered(f"{path} is not of this backup")
    for name, entry in listing.files.items():
        path = content / name
        if not path.resolve().is_relative_to(content.resolve()):
            raise Altered(f"{name} is no name of a file in a backup")
        try:
            copied = put(target / name, pieces(path), int(entry["mode"]))
        except FileNotFoundError:
            raise Altered(f"{path} is missing") from None
        if copied["sha256"] != entry["sha256"]:
            raise Altered(f"{path} is not what was backed up: its checksum differs")


def _moved(root: Path) -> Iterator[Path]:
    yield root / "headrace.db"
    yield from (p for p in (root / "lake").rglob("*") if p.suffix in (".db", ".avro", ".json"))
