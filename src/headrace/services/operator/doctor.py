"""`headrace doctor`: whether everything in a data directory is there and adds up. It never writes."""

import argparse
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from headrace.errors import ConfigurationError
from headrace.services.operator import restored
from headrace.services.operator.accounts import (
    Books,
    as_json,
    collect,
    missing_revisions,
    unopened,
)
from headrace.services.operator.inspection import (
    CATALOG,
    LOCKS,
    STORE,
    health,
    held,
    integrity,
    tables,
)
from headrace.services.operator.references import absent
from headrace.settings import Settings, load

OK, NOTE, BAD = "ok", "note", "BAD"
LOOKS = 4
"""Times that the account is taken beside a running server before a fault is believed."""
BETWEEN_LOOKS = 1.5
MOST_LISTED = 5
RESTORE = "put the file back from a backup, or restore one elsewhere with `headrace restore`"
STOPPED = (
    "stop sending to it; compare `headrace trace` of its receipts; keep the directory as it is"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One line. `state`: ok, note (nothing to worry about) or BAD; `action`: what to do."""

    name: str
    state: str
    detail: str
    action: str = ""


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace doctor`; 1 when a check is bad."""
    parser = argparse.ArgumentParser(
        prog="headrace doctor", description="Whether all is there and adds up. Never writes."
    )
    parser.add_argument("--data-dir", type=Path, help="directory of all data")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args(words)
    settings = load({"data_dir": options.data_dir})
    checks, books = examine(settings)
    show(checks, books, options.format, sys.stdout)
    return 1 if any(check.state == BAD for check in checks) else 0


def show(checks: list[Check], books: Books | None, format: str, out: TextIO) -> None:
    """A line for each check, or everything as JSON with the terms of every flow's account."""
    if format == "json":
        accounts = [as_json(account) for account in books.accounts.values()] if books else []
        found = {"checks": [asdict(check) for check in checks], "flows": accounts}
        print(json.dumps(found, indent=2), file=out)
        return
    for check in checks:
        action = f" — {check.action}" if check.action else ""
        print(f"{check.state:<4}  {check.name}: {check.detail}{action}", file=out)


def examine(
    settings: Settings, sleep: Callable[[float], None] = time.sleep
) -> tuple[list[Check], Books | None]:
    """All checks of a data directory; ConfigurationError when there is none."""
    data_dir = settings.data_dir
    if not (data_dir / STORE).is_file():
        raise ConfigurationError(f"there is no data in {data_dir}")
    running = held(data_dir / LOCKS[0])
    checks = [*_surroundings(settings, running=running), *_databases(data_dir)]
    if any(check.state == BAD for check in checks if check.name in ("store", "catalog")):
        return checks, None
    checks.append(_vault(data_dir))
    books = _books(data_dir, running=running, sleep=sleep)
    checks += [*_log(data_dir, books), *_tables(data_dir), *_flows(books, running=running)]
    return checks, books


def _surroundings(settings: Settings, *, running: bool) -> Iterator[Check]:
    data_dir = settings.data_dir
    if running:
        reasons = health(data_dir)
        if reasons is None:
            text = "a process holds the data directory and does not answer"
            yield Check("server", BAD, text, "look at its log; stop and start it")
        elif reasons:
            yield Check("server", BAD, "; ".join(reasons), "see docs/operating.md for each reason")
        else:
            yield Check("server", OK, "running and well")
    else:
        yield Check("server", NOTE, "not running")
        if held(data_dir / LOCKS[1]):
            text = "a worker without a server still holds worker.lock"
            yield Check("locks", BAD, text, "wait some seconds; else end the worker process")
    left = [p.name for p in data_dir.glob("*.next")]
    left += [p.name for p in data_dir.glob(".credentials.json.*")]
    if left:
        text = f"left by an interrupted change: {', '.join(sorted(left))}"
        yield Check("files", NOTE, text, "the next start finishes or undoes it")
    free = shutil.disk_usage(data_dir).free
    text = f"{free / 2**30:.1f} GiB free, the log leaves {settings.log_keep_free / 2**30:.2f}"
    if free < settings.log_keep_free:
        yield Check("disk", BAD, text, "free space: the inlet refuses records until then")
    else:
        yield Check("disk", OK, text)
    note = restored.read(data_dir)
    if note is not None:
        yield Check("restored", NOTE, str(note), "`headrace trace` says so of each such receipt")


def _databases(data_dir: Path) -> Iterator[Check]:
    for name, file in (("store", STORE), ("catalog", CATALOG)):
        path = data_dir / file
        if not path.exists():
            # the first use of a table makes it
            yield Check(name, NOTE, f"{file} is not there yet")
            continue
        try:
            wrong = integrity(path)
        except sqlite3.Error as error:
            wrong = [str(error)]
        if wrong:
            yield Check(name, BAD, f"{file}: {_some(wrong)}", RESTORE)
        else:
            yield Check(name, OK, f"{file} is intact")


def _vault(data_dir: Path) -> Check:
    reason = unopened(data_dir)
    if reason:
        return Check(
            "vault", BAD, reason, "put the original key file back, for example from a backup"
        )
    return Check("vault", OK, "the key opens what was sealed")


def _books(data_dir: Path, *, running: bool, sleep: Callable[[float], None]) -> Books:
    for _ in range(LOOKS if running else 1):
        books = collect(data_dir, running=running)
        wrong = [a for a in books.accounts.values() if a.faults(running=running)]
        if not (wrong or books.strays or books.damage):
            break
        if running:
            sleep(BETWEEN_LOOKS)  # the parts were of different moments, perhaps
    return books


def _log(data_dir: Path, books: Books) -> Iterator[Check]:
    if books.damage:
        text = f"{_some(books.damage)}: bytes fail their checksum"
        yield Check("log", BAD, text, "nothing behind it lands; restore a backup elsewhere")
    else:
        torn = f"; {books.torn} bytes at its end were never acknowledged" if books.torn else ""
        text = f"{books.frames} frames in {books.segments} segments fit their checksums{torn}"
        yield Check("log", OK, text)
    lost = missing_revisions(data_dir, books)
    if lost:
        text = f"waiting records need revisions that the store lacks: {_some(lost)}"
        yield Check("revisions", BAD, text, "the store is older than the log: restore a newer one")


def _tables(data_dir: Path) -> Iterator[Check]:
    found = tables(data_dir / CATALOG)
    wrong = 0
    for entry in found:
        try:
            faults = absent(entry.load())
        except (OSError, ValueError) as error:
            faults = [f"its metadata cannot be read: {error}"]
        if faults:
            # a commit may have replaced what was looked at: only the present state counts
            now = {t.name: t for t in tables(data_dir / CATALOG)}.get(entry.name)
            if now is None:
                continue
            try:
                faults = absent(now.load())
            except (OSError, ValueError) as error:
                faults = [f"its metadata cannot be read: {error}"]
        if faults:
            wrong += 1
            yield Check(f"table {entry.sandbox}.{entry.name}", BAD, _some(faults), RESTORE)
    if not wrong:
        yield Check("tables", OK, f"the files of {len(found)} tables are all there")


def _flows(books: Books, *, running: bool) -> Iterator[Check]:
    for account in sorted(books.accounts.values(), key=lambda a: a.flow_id):
        name = f"flow {account.flow_id}" + (f" ({account.name})" if account.name else "")
        faults = account.faults(running=running)
        if faults:
            yield Check(name, BAD, "; ".join(faults), STOPPED)
            continue
        again = f" + {account.again} again" if account.again else ""
        lost = f" + {account.lost} lost" if account.lost else ""
        text = (
            f"{account.accepted} accepted{again} = {account.landed} landed + {account.failed} failed{lost}"
            f" + {account.waiting} pending; "
        )
        if account.dropped:
            yield Check(name, NOTE, text + "its data set was deleted, and the rows with it")
        elif account.noted != (account.landed, account.failed):
            text += "the last commit is not written down yet: the next start does that"
            yield Check(name, NOTE, text)
        else:
            yield Check(name, OK, text + "rows and commits agree")
    for text in books.strays:
        yield Check("rows", BAD, text, "find out who wrote or changed them")
    if books.foreign:
        yield Check("rows", NOTE, f"{books.foreign} rows were appended by others than flows")


def _some(texts: list[str]) -> str:
    more = len(texts) - MOST_LISTED
    return "; ".join(texts[:MOST_LISTED]) + (f"; and {more} more" if more > 0 else "")
