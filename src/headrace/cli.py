"""The command line. Thin: every command parses its options and calls one function."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from headrace import __version__
from headrace.errors import ConfigurationError, HeadraceError

_OWN_PARSERS = {
    "client": ("headrace.services.ims.command", "clients that may call the APIs"),
    "mappings": ("headrace.services.conversion.command", "move mapping sets between sandboxes"),
    "flow": ("headrace.services.operator.command", "how flows stand"),
    "rewind": ("headrace.services.operator.rewind.command", "move a flow to another position"),
    "trace": ("headrace.services.operator.trace_command", "what became of a receipt"),
    "doctor": ("headrace.services.operator.doctor.examination", "whether all is there and adds up"),
    "backup": (
        "headrace.services.operator.backup.creation",
        "copy a data directory, also while it is served",
    ),
    "restore": ("headrace.services.operator.backup.restore", "make a data directory of a backup"),
    "replay": ("headrace.services.operator.replay_command", "run failed records again"),
    "rehearse": ("headrace.services.operator.rehearsal_command", "try a mapping on real records"),
    "demo": ("headrace.demo", "run the main job on real data"),
}
"""Commands with options of their own, loaded when they are called."""

_MAP_FILES = {
    "mapping": "mapping set, as the API takes it; without one records are XDM already",
    "schema": "schema, resolved or authored, or an export",
    "flow": "flow revision, in place of mapping and schema",
    "parquet": "write landed rows here too",
    "failed": "write failed records here, with their reasons",
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="headrace",
        description="Self-hosted streaming sources with the Experience Platform APIs.",
    )
    top.add_argument("--version", action="version", version=f"headrace {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run everything in the foreground")
    serve.add_argument(
        "--data-dir", type=Path, help="directory of all data (default ./headrace-data)"
    )
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serve.add_argument(
        "--port", type=int, help="port to listen on (default 8080; 0 takes a free one)"
    )
    serve.add_argument("--public-url", help="base URL by which clients reach the server")
    serve.add_argument(
        "--auth", choices=("on", "off"), help="off: no Authorization needed (loopback only)"
    )
    serve.add_argument("--config", type=Path, metavar="FILE.toml", help="settings file")

    sql = commands.add_parser("sql", help="query the landed tables with DuckDB")
    sql.add_argument("query", metavar="SQL")
    sql.add_argument(
        "--data-dir", type=Path, help="directory of all data (default ./headrace-data)"
    )
    sql.add_argument("--format", choices=("table", "json", "csv"), default="table")

    run = commands.add_parser(
        "map", help="run newline-delimited JSON through a mapping, without a server"
    )
    for name in ("mapping", "schema", "flow", "parquet", "failed"):
        run.add_argument(f"--{name}", type=Path, metavar="FILE", help=_MAP_FILES[name])
    run.add_argument("--tenant", help="tenant id that an exported schema leaves open")

    xdm = commands.add_parser("xdm", help="the standard library of XDM components")
    actions = xdm.add_subparsers(dest="action", required=True, metavar="ACTION")
    load = actions.add_parser("import", help="load a checkout of the public XDM repository")
    load.add_argument("path", type=Path, metavar="PATH", help="directory that holds components/")
    load.add_argument(
        "--data-dir", type=Path, help="directory of all data (default ./headrace-data)"
    )

    vault = commands.add_parser("vault", help="the key that seals stored credentials")
    keys = vault.add_subparsers(dest="action", required=True, metavar="ACTION")
    rotate = keys.add_parser("rotate", help="replace the key; the server must be stopped")
    rotate.add_argument(
        "--data-dir", type=Path, help="directory of all data (default ./headrace-data)"
    )

    for name, (_, text) in _OWN_PARSERS.items():
        commands.add_parser(name, help=text, add_help=False)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given and given[0] in _OWN_PARSERS:
            module, _ = _OWN_PARSERS[given[0]]
            return int(import_module(module).main(given[1:]))
        options = parser().parse_args(given)
        if options.command == "vault":
            return _rotate(options)
        if options.command == "sql":
            return _sql(options)
        if options.command == "xdm":
            return _import(options)
        if options.command == "map":
            return _map(options)
        return _serve(options)
    except HeadraceError as error:
        print(f"headrace: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1


def _serve(options: argparse.Namespace) -> int:
    from headrace.server import serve
    from headrace.settings import load

    names = ("data_dir", "host", "port", "public_url", "auth")
    return serve(load({name: getattr(options, name) for name in names}, options.config))


def _sql(options: argparse.Namespace) -> int:
    from headrace.lake.query import run
    from headrace.settings import load

    settings = load({"data_dir": options.data_dir})
    if not settings.data_dir.is_dir():
        raise ConfigurationError(f"there is no data directory {settings.data_dir}")
    return run(settings.data_dir, options.query, options.format, sys.stdout)


def _map(options: argparse.Namespace) -> int:
    from headrace.runtime.offline import run

    names = ("mapping", "schema", "flow", "tenant", "parquet", "failed")
    return run(
        records=sys.stdin.buffer,
        rows=sys.stdout.buffer,
        report=sys.stderr,
        **{name: getattr(options, name) for name in names},
    )


def _rotate(options: argparse.Namespace) -> int:
    from headrace.security.vault import rotate
    from headrace.server import owned
    from headrace.settings import load
    from headrace.store.documents import Store

    data_dir = load({"data_dir": options.data_dir}).data_dir
    if not (data_dir / "vault.key").is_file():
        raise ConfigurationError(f"there is no data in {data_dir}; start the server there once")
    with owned(data_dir):
        done = rotate(data_dir / "vault.key", Store(data_dir / "headrace.db"))
    print(f"the key is new; {done.renewed} secrets sealed anew, {done.unopened} did not open")
    return 0


def _import(options: argparse.Namespace) -> int:
    from headrace.settings import load
    from headrace.xdm.importing import import_repository

    settings = load({"data_dir": options.data_dir})
    return import_repository(options.path, settings.data_dir, sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
