"""`headrace rehearse`: another mapping or schema over a flow's newest records, asked of the running server."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from headrace.errors import ConfigurationError
from headrace.services.operator.command import ask
from headrace.services.operator.replay_command import show_reasons
from headrace.settings import load

SHOWN = 10


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace rehearse`; 1 when records would fail that land now."""
    parser = argparse.ArgumentParser(
        prog="headrace rehearse",
        description="Run another mapping or schema over the newest records of a flow and show what comes out"
        " different. Nothing is written.",
    )
    parser.add_argument("flow", metavar="FLOW", help="id of the flow")
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--mapping", metavar="SET[@VERSION]", help="a mapping set, its latest version by default"
    )
    either.add_argument(
        "--mapping-file", type=Path, metavar="FILE", help="a mapping set, as the API takes it"
    )
    parser.add_argument("--schema", metavar="ID", help="$id of a schema")
    parser.add_argument(
        "--last", type=int, default=1000, metavar="N", help="records (default 1000, at most 10000)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--sandbox", default=None, help="sandbox name (default: the first one)")
    parser.add_argument("--data-dir", type=Path, help="directory of all data")
    options = parser.parse_args(words)
    body: dict[str, Any] = {"last": options.last}
    if options.mapping:
        body["mapping"] = _set_of(options.mapping)
    if options.mapping_file:
        body["mappings"] = _rules_of(options.mapping_file)
    if options.schema:
        body["schema"] = options.schema
    data_dir = load({"data_dir": options.data_dir}).data_dir
    path = f"/headrace/flows/{quote(options.flow, safe='')}/rehearsals"
    found = ask(data_dir, path, options.sandbox, body)
    if options.format == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show(found, sys.stdout)
    return int(found["counts"]["landedToFailed"] > 0)


def _set_of(text: str) -> dict[str, Any]:
    id, _, version = text.partition("@")
    if version and not version.isdecimal():
        raise ConfigurationError(f"--mapping {text}: the version must be a number")
    return {"id": id} | ({"version": int(version)} if version else {})


def _rules_of(path: Path) -> Any:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: it is not JSON: {error}") from None
    return found.get("mappings") if isinstance(found, dict) else found


def show(found: dict[str, Any], out: TextIO) -> None:
    """Where the records came from, what becomes of them, and the fields that change."""
    counts, sources = found["counts"], found["sources"]
    print(
        f"{found['records']} of {found['requested']} records: {sources['log']} from the log,"
        f" {sources['failedRecords']} failed ones from the lake"
        + ("" if found["complete"] else "; there was no time for more"),
        file=out,
    )
    print(f"land now {counts['landedBefore']}, would land {counts['landedAfter']}", file=out)
    print(
        f"  {counts['failedToLanded']} would land instead of failing, {counts['landedToFailed']} would fail instead"
        f" of landing, {counts['changed']} would be different, {counts['same']} the same",
        file=out,
    )
    show_reasons(found["reasons"], out)
    for field in found["fields"][:SHOWN]:
        print(f"  {field['path']}: {field['count']} records", file=out)
        for example in field["examples"]:
            before, after = (
                json.dumps(example[n], ensure_ascii=False) for n in ("before", "after")
            )
            print(f"    {example['receipt']}: {before} → {after}", file=out)
