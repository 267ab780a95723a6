"""`headrace rewind`: move a flow to another position, or deliver its records to another flow, through the running
server."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from headrace.services.operator.command import ask
from headrace.settings import load


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace rewind`; ConfigurationError with the server's text when refused."""
    parser = argparse.ArgumentParser(
        prog="headrace rewind",
        description="Move a flow to another position, or with --into deliver its records from there on to another flow."
        " Without --yes it only says what would happen.",
    )
    parser.add_argument("flow", metavar="FLOW", help="id of the flow")
    parser.add_argument(
        "--to", metavar="POSITION",
        help="offset, offset@mark, earliest, latest, table (as far as the table has rows), ended",
    )  # fmt: skip
    parser.add_argument("--partition", metavar="P", help="one partition (default: all)")
    parser.add_argument(
        "--into", metavar="FLOW",
        help="deliver the records in the log to this flow, which has a mapping and data set of its own",
    )  # fmt: skip
    parser.add_argument("--until", metavar="POSITION", help="with --into: up to there (default: as the log stands now)")  # fmt: skip
    parser.add_argument("--cancel", metavar="ID", help="end this delivery to another flow")
    parser.add_argument("--yes", action="store_true", help="do it")
    parser.add_argument("--sandbox", default=None, help="sandbox name (default: the first one)")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--data-dir", type=Path, help="directory of all data")
    options = parser.parse_args(words)
    data_dir = load({"data_dir": options.data_dir}).data_dir
    if (options.to is None) == (options.cancel is None):
        parser.error("--to or --cancel is needed")
    body = {"to": options.to, "confirm": options.yes}
    for name in ("partition", "into", "until"):
        if getattr(options, name) is not None:
            body[name] = getattr(options, name)
    path = f"/headrace/flows/{quote(options.flow, safe='')}/rewinds"
    if options.cancel is not None:
        one = f"{path}/{quote(options.cancel, safe='')}"
        found = ask(data_dir, one, options.sandbox, method="DELETE")
    else:
        found = ask(data_dir, path, options.sandbox, body)
    if options.format == "json":
        print(json.dumps(found, indent=2))
    elif "into" not in found:
        print(f"{found['detail']} Done.")
    else:
        show(found, sys.stdout)
    return int(found.get("state") == "failed")


def show(found: dict[str, Any], out: TextIO) -> None:
    """How far a rewind into another flow is."""
    print(found["detail"], file=out)
    print(f"rewind {found['id']}  {found['state']}  {found['copied']} of {found['records']} records delivered", file=out)  # fmt: skip
    for text in filter(None, (found["error"], found["trouble"])):
        print(f"  {text}", file=out)
