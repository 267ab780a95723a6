"""`headrace doctor`: whether everything in a data directory is there and adds up. It never writes."""

import argparse
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from headrace.errors import ConfigurationError
from headrace.services.operator.backup import restored
from headrace.services.operator.doctor.accounts import Books, as_json
from headrace.services.operator.doctor.checks import BAD, NOTE, OK, Check, some
from headrace.services.operator.doctor.collection import collect
from headrace.services.operator.doctor.flow_checks import flow_checks, replay_checks
from headrace.services.operator.doctor.page_checks import PageReader
from headrace.services.operator.doctor.table_checks import RESTORE, table_checks
from headrace.services.operator.inspection import (
    CATALOG,
    LOCKS,
    STORE,
    health,
    held,
    integrity,
    reading,
)
from headrace.services.operator.sealed_values import broken, unopened
from headrace.settings import Settings, load

LOOKS = 4
"""Times that the account is taken beside a running server before a fault is believed."""
BETWEEN_LOOKS = 1.5
_UNREADABLE = (sqlite3.Error, OSError, ValueError, KeyError, TypeError)


@dataclass(slots=True)
class Report:
    """What was found. `books`: the account of every flow, None when store or catalog are damaged; `read`: how many
    data files and bytes, when they were read."""

    data_dir: Path
    running: bool
    checks: list[Check] = field(default_factory=list)
    books: Books | None = None
    read: tuple[int, int] | None = None

    @property
    def bad(self) -> bool:
        return any(check.state == BAD for check in self.checks)


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace doctor`; 1 when a check is bad. ConfigurationError when there is nothing
    to look at."""
    parser = argparse.ArgumentParser(
        prog="headrace doctor",
        description="Whether all is there and adds up. Never writes. The exit status is 0 when nothing is BAD, 1 when"
        " something is, 2 when there is no data to look at.",
    )
    parser.add_argument("--data-dir", type=Path, help="directory of all data")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--deep", action="store_true", help="read every data file and verify its page checksums"
    )
    options = parser.parse_args(words)
    report = examine(load({"data_dir": options.data_dir}), deep=options.deep)
    show(report, options.format, sys.stdout)
    return 1 if report.bad else 0


def show(report: Report, format: str, out: TextIO) -> None:
    """A line for each check, or everything as JSON with the terms of every flow's account."""
    if format == "json":
        print(json.dumps(_as_json(report), indent=2), file=out)
        return
    for check in report.checks:
        action = f" — {check.action}" if check.action else ""
        print(f"{check.state:<4}  {check.name}: {check.detail}{action}", file=out)


def _as_json(report: Report) -> dict[str, object]:
    books, flows = report.books, list[dict[str, object]]()
    if books is not None:
        faults = books.faults(running=report.running)
        accounts = sorted(books.accounts.values(), key=lambda account: account.flow_id)
        flows = [as_json(account, faults.get(account.flow_id, [])) for account in accounts]
    read = dict(zip(("files", "bytes"), report.read, strict=True)) if report.read else None
    return {
        "status": "bad" if report.bad else "ok", "dataDir": str(report.data_dir),
        "running": report.running, "checks": [asdict(check) for check in report.checks],
        "flows": flows, "read": read,
    }  # fmt: skip


def examine(
    settings: Settings, sleep: Callable[[float], None] = time.sleep, *, deep: bool = False
) -> Report:
    """All checks of a data directory, with `deep` of all bytes of its data files too; ConfigurationError when there is
    no data."""
    data_dir = settings.data_dir
    if not (data_dir / STORE).is_file():
        raise ConfigurationError(
            f"there is no data in {data_dir}: name the directory with --data-dir"
        )
    served = held(data_dir / LOCKS[0])
    left = not served and _worker_left(data_dir, sleep)
    report = Report(data_dir, running=served or left)
    report.checks += _seen("server", lambda: _surroundings(settings, sleep, served, left))
    databases = list(_databases(data_dir))
    report.checks += databases
    if any(check.state == BAD for check in databases):
        return report
    report.checks += _seen("vault", lambda: _vault(data_dir))
    report.checks += _seen("tables", lambda: _tables(report, deep=deep))
    report.checks += _seen("flows", lambda: _account(report, sleep))
    return report


def _seen(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks of a part; one that is bad when the part is in no form that could be looked at."""
    found: list[Check] = []
    try:
        for check in look():
            found.append(check)  # noqa: PERF402 what was found before an error counts
    except _UNREADABLE as error:
        text = f"it cannot be looked at: {type(error).__name__}: {error}"
        found.append(Check(name, BAD, text, RESTORE, "unreadable"))
    return found


def _complaints(data_dir: Path, sleep: Callable[[float], None]) -> list[str] | None:
    """What the running server complains of, None when it does not answer: a server that has just been started gets
    some time."""
    for _ in range(LOOKS):
        reasons = health(data_dir)
        starting = reasons is None or (reasons and all(r.startswith("worker:") for r in reasons))
        if not starting:
            break
        sleep(BETWEEN_LOOKS)
    return reasons


def _worker_left(data_dir: Path, sleep: Callable[[float], None]) -> bool:
    """Whether a worker goes on without its server: after a kill it takes some moments to notice."""
    for _ in range(LOOKS):
        if not held(data_dir / LOCKS[1]):
            return False
        sleep(BETWEEN_LOOKS)
    return held(data_dir / LOCKS[1])


def _surroundings(
    settings: Settings, sleep: Callable[[float], None], served: bool, left: bool
) -> Iterator[Check]:
    data_dir = settings.data_dir
    if served:
        reasons = _complaints(data_dir, sleep)
        if reasons is None:
            text = "a process holds the data directory and does not answer"
            yield Check("server", BAD, text, "look at its log; stop and start it", "silent")
        elif reasons:
            yield Check(
                "server", BAD, "; ".join(reasons), "docs/operating.md has each reason", "unwell"
            )
        else:
            yield Check("server", OK, "running and well")
    else:
        yield Check("server", NOTE, "not running")
        if left:
            text = "a worker without a server still holds worker.lock"
            yield Check("locks", BAD, text, "end the worker process", "worker")
    files = [p.name for p in data_dir.glob("*.next")]
    files += [p.name for p in data_dir.glob(".credentials.json.*")]
    if files:
        text = f"left by an interrupted change: {', '.join(sorted(files))}"
        yield Check("files", NOTE, text, "the next start finishes or undoes it", "interrupted")
    free = shutil.disk_usage(data_dir).free
    text = f"{free / 2**30:.1f} GiB free, the log leaves {settings.log_keep_free / 2**30:.2f}"
    if free < settings.log_keep_free:
        yield Check("disk", BAD, text, "free space: the inlet refuses records until then", "disk")
    else:
        yield Check("disk", OK, text)
    note = restored.read(data_dir)
    if note is not None:
        yield Check(
            "restored", NOTE, str(note), "`headrace trace` says so of each such receipt", "restored"
        )


def _databases(data_dir: Path) -> Iterator[Check]:
    for name, file in (("store", STORE), ("catalog", CATALOG)):
        path = data_dir / file
        if not path.exists():
            # the first use of a table makes it
            yield Check(name, NOTE, f"{file} is not there yet", code="no_tables")
            continue
        try:
            wrong = integrity(path)
        except sqlite3.Error as error:
            wrong = [str(error)]
        if wrong:
            yield Check(name, BAD, f"{file}: {some(wrong)}", RESTORE, "database")
        else:
            yield Check(name, OK, f"{file} is intact")


def _vault(data_dir: Path) -> Iterator[Check]:
    reason = unopened(data_dir)
    if reason:
        action = "put the original key file back, for example from a backup"
        yield Check("vault", BAD, reason, action, "vault_key")
        return
    lost = broken(data_dir)
    if lost:
        text = f"stored secrets were altered and do not open: {some(lost)}"
        yield Check("vault", BAD, text, "give these connections their credentials anew", "secret")
    else:
        yield Check("vault", OK, "the key opens what was sealed")


def _tables(report: Report, *, deep: bool) -> Iterator[Check]:
    if not deep:
        yield from table_checks(report.data_dir, None)
        return
    with closing(PageReader()) as reader:
        yield from table_checks(report.data_dir, reader)
        report.read = reader.files, reader.bytes


def _account(report: Report, sleep: Callable[[float], None]) -> Iterator[Check]:
    for left in range(LOOKS if report.running else 1, 0, -1):
        books = collect(report.data_dir, running=report.running)
        if left == 1 or books.well(running=report.running):
            break
        sleep(BETWEEN_LOOKS)  # the parts were of different moments, perhaps
    report.books = books
    yield from _log(report.data_dir, books)
    yield from flow_checks(books, running=report.running)
    yield from replay_checks(books, running=report.running)


def _log(data_dir: Path, books: Books) -> Iterator[Check]:
    action = "the flows whose records these were stop; restore a backup elsewhere for what it has of them"
    for fault in books.damage:
        yield Check("log", BAD, fault.detail, action, fault.code)
    if not books.damage:
        torn = f"; {books.torn} bytes at its end were never acknowledged" if books.torn else ""
        text = f"{books.frames} frames in {books.segments} segments fit their checksums{torn}"
        yield Check("log", OK, text)
    for text in books.passed:
        yield Check("log", NOTE, text, code="log_gap")
    lost = missing_revisions(data_dir, books)
    if lost:
        text = f"waiting records need revisions that the store lacks: {some(lost)}"
        action = "the store is older than the log: restore a newer one"
        yield Check("revisions", BAD, text, action, "revision_missing")


def missing_revisions(data_dir: Path, books: Books) -> list[str]:
    """Revisions that waiting records name and the store does not have."""
    with reading(data_dir / STORE) as db:
        known = set(db.execute("SELECT flow_id, revision FROM flow_revisions"))
    return [f"flow {id} revision {number}" for id, number in sorted(books.revisions - known)]
