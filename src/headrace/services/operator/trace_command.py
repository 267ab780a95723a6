"""`headrace trace`: what became of a receipt, asked of the running server."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from headrace.errors import ConfigurationError
from headrace.services.operator.command import ask
from headrace.settings import load

SHOWN = 20


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace trace`; 0 when all records have landed or are about to."""
    parser = argparse.ArgumentParser(prog="headrace trace", description="What became of a receipt.")
    parser.add_argument("receipt", metavar="RECEIPT", help="xactionId that the inlet answered")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds to wait until it is visible"
    )
    parser.add_argument("--sandbox", default=None, help="sandbox name (default: the first one)")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--data-dir", type=Path, help="directory of all data")
    options = parser.parse_args(words)
    data_dir = load({"data_dir": options.data_dir}).data_dir
    path = f"/headrace/receipts/{quote(options.receipt, safe='')}?wait={options.wait:g}"
    try:
        found = ask(data_dir, path, options.sandbox)
    except ConfigurationError as error:
        if "the server answered 404" not in str(error):
            raise
        print(f"unknown: {str(error).partition(': ')[2]}", file=sys.stderr)
        return 1
    if options.format == "json":
        print(json.dumps(found, indent=2))
    else:
        show(found, sys.stdout)
    return 0 if found["state"] in ("landed", "pending") else 1


def show(found: dict[str, Any], out: TextIO) -> None:
    """A line for the receipt and some for each record."""
    counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items())
    print(f"{found['receipt']}  {found['state']}  ({counts or 'nothing found'})", file=out)
    if not found["complete"]:
        print("  not everything was searched, or there are more records than are listed", file=out)
    for entry in found["entries"][:SHOWN]:
        _show_entry(entry, out)
    more = len(found["entries"]) - SHOWN
    if more > 0:
        print(f"… and {more} more: --format json lists them", file=out)


def _show_entry(entry: dict[str, Any], out: TextIO) -> None:
    flow, mapping, schema = entry["flow"], entry["mapping"], entry["schema"]
    print(f"{entry['receipt']}  {entry['state']}", file=out)
    lines = {
        "flow": f"{flow['id']} {flow['name'] or ''} revision {_known(flow['revision'])}",
        "mapping": f"{mapping['id']} version {mapping['version']}"
        if mapping
        else "none or unknown",
        "schema": f"{schema['id']} version {schema['version']}" if schema else "unknown",
        "data set": entry["dataSetId"],
        "place": f"{entry['partition']} offset {entry['offset']}",
    }
    if entry["batchId"]:
        lines["batch"] = f"{entry['batchId']} snapshot {_known(entry['snapshotId'])}"
    if entry["failure"]:
        reason = entry["failure"]
        where = f" at {reason['path']}" if reason["path"] else ""
        lines["failure"] = f"{reason['stage']} {reason['code']}{where}: {reason['message']}"
    if entry.get("note"):
        lines["note"] = entry["note"]
    if entry.get("copyOf"):
        origin = entry["copyOf"]
        lines["copy of"] = f"{origin['receipt']} in flow {origin['flow']}"
    for name, text in lines.items():
        print(f"  {name:<9} {text}", file=out)
    for copy in entry.get("copies", ()):
        print(f"  {'copied to':<9} flow {copy['flow']} as {copy['receipt']}", file=out)


def _known(value: Any) -> str:
    return "unknown" if value is None else str(value)
