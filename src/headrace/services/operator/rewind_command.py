"""`headrace rewind`: move a flow to another position, through the running server."""

import argparse
import json
from pathlib import Path
from urllib.parse import quote

from headrace.services.operator.command import ask
from headrace.settings import load


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace rewind`; ConfigurationError with the server's text when refused."""
    parser = argparse.ArgumentParser(
        prog="headrace rewind",
        description="Move a flow to another position. Without --yes it only says what would happen.",
    )
    parser.add_argument("flow", metavar="FLOW", help="id of the flow")
    parser.add_argument(
        "--to", required=True, metavar="POSITION",
        help="offset, offset@mark, earliest, latest, table (as far as the table has rows), ended",
    )  # fmt: skip
    parser.add_argument("--partition", metavar="P", help="one partition (default: all)")
    parser.add_argument("--yes", action="store_true", help="do it")
    parser.add_argument("--sandbox", default=None, help="sandbox name (default: the first one)")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--data-dir", type=Path, help="directory of all data")
    options = parser.parse_args(words)
    data_dir = load({"data_dir": options.data_dir}).data_dir
    body = {"to": options.to, "confirm": options.yes}
    if options.partition is not None:
        body["partition"] = options.partition
    path = f"/headrace/flows/{quote(options.flow, safe='')}/rewinds"
    found = ask(data_dir, path, options.sandbox, body)
    if options.format == "json":
        print(json.dumps(found, indent=2))
    else:
        print(f"{found['detail']} Done.")
    return 0
