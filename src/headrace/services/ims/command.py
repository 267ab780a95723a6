"""`headrace client`: the clients of a data directory, while the server runs or not."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from headrace.errors import ConfigurationError
from headrace.security.assertions import registered_key
from headrace.security.clients import SCOPES, Client, add_client, list_clients, revoke_client
from headrace.security.codes import LIFETIME_SECONDS, issue_code
from headrace.settings import load
from headrace.store.documents import Store

Action = Callable[[Store, dict[str, Any], argparse.Namespace, TextIO], None]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options on its parser."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="register a client; prints its secret, this once")
    add.add_argument("name", metavar="NAME", help="what the client is called in lists")
    add.add_argument("--scopes", default=SCOPES, help="scopes it may ask for (default %(default)s)")
    add.add_argument("--read-only", action="store_true", help="it may read and compute only")
    add.add_argument(
        "--public-key", type=Path, action="append", default=[], metavar="FILE",
        help="PEM certificate or public key that signs its assertions; may be repeated",
    )  # fmt: skip
    listing = actions.add_parser("list", help="list the clients, revoked ones too")
    listing.add_argument("--format", choices=("table", "json"), default="table")
    revoke = actions.add_parser("revoke", help="end a client and its tokens at once")
    revoke.add_argument("id", metavar="ID", help="client id")
    code = actions.add_parser("code", help="issue an authorization code; prints it, this once")
    code.add_argument("id", metavar="ID", help="client id")
    code.add_argument("--uses", type=int, default=1, help="tokens it is good for (default 1)")
    code.add_argument(
        "--lifetime", type=int, default=LIFETIME_SECONDS, metavar="SECONDS",
        help="how long it is good (default %(default)s)",
    )  # fmt: skip
    for action in (add, listing, revoke, code):
        action.add_argument(
            "--data-dir", type=Path, help="directory of all data (default ./headrace-data)"
        )


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace client`: the rest of the command line need not load what this does."""
    parser = argparse.ArgumentParser(
        prog="headrace client", description="Clients that may call the server's APIs."
    )
    arguments(parser)
    return run(parser.parse_args(words), sys.stdout)


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Do what the options say and print the outcome; the exit status. ConfigurationError when it cannot be done."""
    data_dir = load({"data_dir": options.data_dir}).data_dir
    options = argparse.Namespace(**{**vars(options), "data_dir": data_dir})
    store = _store(data_dir)
    try:
        organisation = store.everywhere("organisations")[0][1].body
        _ACTIONS[options.action](store, organisation, options, out)
    finally:
        store.close()
    return 0


def _store(data_dir: Path) -> Store:
    path = data_dir / "headrace.db"
    if not path.is_file():
        raise ConfigurationError(f"there is no data in {data_dir}; start the server there once")
    store = Store(path)
    if not store.everywhere("organisations"):
        store.close()
        raise ConfigurationError(f"{data_dir} is not set up; start the server there once")
    return store


def _add(
    store: Store, organisation: dict[str, Any], options: argparse.Namespace, out: TextIO
) -> None:
    keys = [registered_key(_read(path)) for path in options.public_key]
    client, secret = add_client(
        store,
        organisation["orgId"],
        options.name,
        scopes=options.scopes,
        read_only=options.read_only,
        keys=keys,
    )
    found = {
        "base_url": _base_url(options.data_dir),
        "org_id": client.org,
        "tenant_id": organisation["tenantId"],
        "client_id": client.id,
        "client_secret": secret,
        "technical_account_id": client.user_id,
        "scopes": ",".join(client.scopes),
        "sandbox": "prod",
    }
    print(json.dumps(found, indent=2), file=out)


def _list(
    store: Store, organisation: dict[str, Any], options: argparse.Namespace, out: TextIO
) -> None:
    rows = [_row(client) for client in list_clients(store, organisation["orgId"])]
    if options.format == "json":
        print(json.dumps(rows, indent=2), file=out)
        return
    names = list(rows[0])
    table = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(names))]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip(), file=out)


def _row(client: Client) -> dict[str, Any]:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(client.created / 1000))
    return {
        "client_id": client.id,
        "name": client.name,
        "state": "active" if client.revoked is None else "revoked",
        "rights": "read" if client.read_only else "all",
        "keys": len(client.keys),
        "created": created,
        "scopes": ",".join(client.scopes),
    }


def _revoke(
    store: Store, organisation: dict[str, Any], options: argparse.Namespace, out: TextIO
) -> None:
    client = revoke_client(store, organisation["orgId"], options.id)
    print(f"Client {client.id} ({client.name}) is revoked.", file=out)


def _code(
    store: Store, organisation: dict[str, Any], options: argparse.Namespace, out: TextIO
) -> None:
    code = issue_code(
        store, organisation["orgId"], options.id, lifetime=options.lifetime, uses=options.uses
    )
    print(code, file=out)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None


def _base_url(data_dir: Path) -> str:
    """Where the server was last reached; empty when that is not known."""
    try:
        return str(json.loads((data_dir / "credentials.json").read_text("utf-8"))["base_url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


_ACTIONS: dict[str, Action] = {
    "add": _add,
    "list": _list,
    "revoke": _revoke,
    "code": _code,
}
