"""`headrace flow`: how flows stand, asked of the running server."""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from headrace.errors import ConfigurationError, Transient
from headrace.settings import load

TIMEOUT = 30.0
LONG_TIMEOUT = 180.0


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace flow`."""
    parser = argparse.ArgumentParser(prog="headrace flow", description="How flows stand.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    status = actions.add_parser("status", help="counts, trouble, and how far sources are behind")
    status.add_argument("id", nargs="?", metavar="FLOW", help="one flow (default: all)")
    status.add_argument("--sandbox", default=None, help="sandbox name (default: the first one)")
    status.add_argument("--format", choices=("table", "json"), default="table")
    status.add_argument("--data-dir", type=Path, help="directory of all data")
    options = parser.parse_args(words)
    data_dir = load({"data_dir": options.data_dir}).data_dir
    path = f"/headrace/flows/{quote(options.id, safe='')}" if options.id else "/headrace/flows"
    found = ask(data_dir, path, options.sandbox)
    show(found.get("flows", [found]), options.format, sys.stdout)
    return 0


def ask(
    data_dir: Path,
    path: str,
    sandbox: str | None = None,
    body: Mapping[str, Any] | None = None,
    method: str = "GET",
) -> dict[str, Any]:
    """What the server of a data directory answers, called with the credentials that lie there; POST with a body."""
    try:
        own = json.loads((data_dir / "credentials.json").read_text())
    except (OSError, ValueError):
        raise ConfigurationError(f"there are no credentials in {data_dir}") from None
    form = {
        "grant_type": "client_credentials", "client_id": own["client_id"],
        "client_secret": own["client_secret"], "scope": own["scopes"],
    }  # fmt: skip
    token = _json(Request(own["base_url"] + "/ims/token/v3", urlencode(form).encode()))
    headers = {
        "authorization": f"Bearer {token['access_token']}", "x-api-key": own["client_id"],
        "x-gw-ims-org-id": own["org_id"], "x-sandbox-name": sandbox or own["sandbox"],
    }  # fmt: skip
    if body is None:
        return _json(Request(own["base_url"] + path, headers=headers, method=method))
    headers["content-type"] = "application/json"
    sent = json.dumps(body).encode()
    # a flow is moved between two commits of the worker, the last of which may take its time
    return _json(Request(own["base_url"] + path, sent, headers=headers), LONG_TIMEOUT)


def _json(request: Request, timeout: float = TIMEOUT) -> dict[str, Any]:
    try:
        with urlopen(request, timeout=timeout) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except HTTPError as error:
        text = error.read(10_000).decode(errors="replace")
        with contextlib.suppress(ValueError, AttributeError):
            text = json.loads(text).get("detail", text)
        raise ConfigurationError(f"the server answered {error.code}: {text}") from None
    except (URLError, TimeoutError, OSError) as error:
        raise Transient(f"the server does not answer: {getattr(error, 'reason', error)}") from None


def show(flows: list[dict[str, Any]], format: str, out: TextIO) -> None:
    """Flows as a table with a line for each partition that is behind, or as JSON."""
    if format == "json":
        print(json.dumps(flows, indent=2), file=out)
        return
    for flow in flows:
        state = f"stopped: {flow['stopped']}" if flow["stopped"] else flow["state"]
        counts = ", ".join(f"{flow[n]} {n}" for n in ("accepted", "landed", "failed", "pending"))
        print(f"{flow['id']}  {flow['name']}  {state}  {counts}", file=out)
        if flow["trouble"]:
            print(f"  trouble: {flow['trouble']}", file=out)
        for id, lag in flow["partitions"].items():
            records = "?" if lag["behindRecords"] is None else lag["behindRecords"]
            time = "?" if lag["behindMs"] is None else f"{lag['behindMs'] / 1000:.1f} s"
            print(f"  partition {id}: {records} records, {time} behind", file=out)
