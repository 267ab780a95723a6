"""`headrace replay`: run a flow's failed records again, asked of the running server."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from headrace.runtime.replay_requests import CANCELLING, OPEN
from headrace.services.operator.command import ask
from headrace.settings import load

PAUSE = 0.3
SHOWN = 10


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace replay`; 0 unless the replay failed, or one waited for left failed
    records."""
    parser = argparse.ArgumentParser(
        prog="headrace replay",
        description="Run failed records again under the flow's current mapping and schema. Those that are good now"
        " land, the others stay as they are.",
    )
    parser.add_argument("flow", metavar="FLOW", help="id of the flow")
    parser.add_argument("--batch", help="records that failed in this batch")
    parser.add_argument("--code", help="records that failed for this reason")
    parser.add_argument("--path", help="records that failed at this field")
    parser.add_argument("--since", help="received at this time or later, as 2026-01-31T12:00:00Z")
    parser.add_argument("--until", help="received before this time")
    parser.add_argument(
        "--receipt", action="append", help="this record or request; may be repeated"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would land, do nothing")
    parser.add_argument(
        "--cancel",
        metavar="ID",
        help="end this replay: what has landed stays, the rest stays failed",
    )
    parser.add_argument("--wait", action="store_true", help="come back when it is done")
    parser.add_argument("--sandbox", default=None, help="sandbox name (default: the first one)")
    parser.add_argument("--data-dir", type=Path, help="directory of all data")
    options = parser.parse_args(words)
    data_dir = load({"data_dir": options.data_dir}).data_dir
    given = {
        "batchId": options.batch, "code": options.code, "path": options.path, "since": options.since,
        "until": options.until, "receipts": options.receipt,
    }  # fmt: skip
    body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    path = f"/headrace/flows/{quote(options.flow, safe='')}/replays"
    if options.cancel is not None and (body or options.dry_run):
        parser.error("--cancel ends a replay as a whole and goes with --wait alone")
    if options.dry_run:
        show_preview(ask(data_dir, path, options.sandbox, body | {"dryRun": True}), sys.stdout)
        return 0
    if options.cancel is not None:
        one = f"{path}/{quote(options.cancel, safe='')}"
        found = ask(data_dir, one, options.sandbox, method="DELETE")
    else:
        found = ask(data_dir, path, options.sandbox, body)
    while options.wait and found["state"] in OPEN:
        time.sleep(PAUSE)
        found = ask(data_dir, f"{path}/{found['id']}", options.sandbox)
    show(found, sys.stdout)
    left = options.wait and options.cancel is None and found["stillFailed"] > 0
    return int(found["state"] == "failed" or left)


def show(found: dict[str, Any], out: TextIO) -> None:
    """A replay: its counts, and why records failed again."""
    print(f"replay {found['id']}  {found['state']}", file=out)
    if found["error"]:
        print(f"  {found['error']}", file=out)
    if found["selected"] is not None:
        rest = "stay failed" if found["state"] in (CANCELLING, "cancelled") else "failed again"
        print(
            f"  {found['selected']} failed records: {found['landed']} landed, {found['stillFailed']} {rest}",
            file=out,
        )
    show_reasons(found["reasons"], out)


def show_preview(found: dict[str, Any], out: TextIO) -> None:
    """What a replay would do, with some of what changes."""
    print(
        f"{found['selected']} failed records, {found['examined']} tried: {found['wouldLand']} would land,"
        f" {found['wouldFail']} would fail again",
        file=out,
    )
    if found["alreadyLanded"]:
        print(f"  {found['alreadyLanded']} have landed otherwise and stay as they are", file=out)
    show_reasons(found["reasons"], out)
    for example in found["examples"][:SHOWN]:
        before, after = example["before"], example["after"]
        print(f"{example['receipt']}", file=out)
        print(f"  was  {_reason(before)}", file=out)
        print(
            f"  now  {_reason(after['failure']) if 'failure' in after else after['row']}", file=out
        )


def show_reasons(reasons: list[dict[str, Any]], out: TextIO) -> None:
    """Why records fail, the most frequent first."""
    for reason in reasons[:SHOWN]:
        print(f"  {reason['count']} × {_reason(reason)}", file=out)


def _reason(reason: dict[str, Any]) -> str:
    where = f" at {reason['path']}" if reason["path"] else ""
    return f"{reason['code']}{where}: {reason['message']}"
