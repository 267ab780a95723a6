"""`headrace mappings`: mapping sets move between sandboxes and installations, with a look at the difference first."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, TextIO

from headrace.errors import ApiError, ConfigurationError
from headrace.services.conversion.exchange import export_sets, import_sets
from headrace.services.conversion.service import ConversionService
from headrace.services.conversion.transfer import described
from headrace.services.registry import RegistryService
from headrace.settings import load
from headrace.store.documents import Scope, Store
from headrace.xdm.library import IMPORTED, Library


def main(words: list[str]) -> int:
    """Entry point for the words after `headrace mappings`."""
    parser = argparse.ArgumentParser(
        prog="headrace mappings", description="Move mapping sets between sandboxes."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    give = actions.add_parser("export", help="write mapping sets as JSON to standard output")
    give.add_argument("names", nargs="*", metavar="NAME", help="names or ids (default: all)")
    take = actions.add_parser("import", help="create and change mapping sets as a file says")
    take.add_argument("file", type=Path, metavar="FILE", help="an export; - reads standard input")
    take.add_argument("--dry-run", action="store_true", help="only show what would change")
    for action in (give, take):
        action.add_argument("--sandbox", default="prod", help="sandbox name (default prod)")
        action.add_argument("--data-dir", type=Path, help="directory of all data")
    return run(parser.parse_args(words), sys.stdout)


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Do what the options say; the exit status. ConfigurationError when it cannot be done."""
    data_dir = load({"data_dir": options.data_dir}).data_dir
    path = data_dir / "headrace.db"
    if not path.is_file():
        raise ConfigurationError(f"there is no data in {data_dir}; start the server there once")
    store = Store(path)
    try:
        _, organisation = store.everywhere("organisations")[0]
        scope = Scope(organisation.id, options.sandbox)
        _check_sandbox(store, scope)
        tenant = str(organisation.body["tenantId"])
        registry = RegistryService(store, Library(data_dir / IMPORTED))
        service = ConversionService(
            store, schema_tree=registry.schema_tree, full_schema=registry.full_schema,
            columns=lambda scope, dataset: [],
        )  # fmt: skip
        if options.action == "export":
            document = export_sets(service, scope, tenant, options.names)
            print(json.dumps(document, indent=2, ensure_ascii=False), file=out)
            return 0
        changes = import_sets(
            service, scope, tenant, _document(options.file), "headrace", dry_run=options.dry_run
        )
        for line in described(changes):
            print(line, file=out)
        return 0
    except ApiError as error:
        raise ConfigurationError(error.detail) from None
    finally:
        store.close()


def _check_sandbox(store: Store, scope: Scope) -> None:
    known = [d.id for s, d in store.everywhere("sandboxes") if s.org == scope.org]
    if scope.sandbox not in known:
        raise ConfigurationError(
            f"there is no sandbox {scope.sandbox}; there are {', '.join(sorted(known))}"
        )


def _document(path: Path) -> Any:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        return json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
