"""The page about parity, from the routes of a server; run as a module it writes `docs/parity.md`."""

import tempfile
from pathlib import Path

from headrace.app import Application
from headrace.http.parity import page
from headrace.services.inlet.endpoint import PREFIXES
from headrace.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"


def routes() -> list[tuple[str, str]]:
    """Method and path of everything that a server answers; inlets have no table of routes."""
    with tempfile.TemporaryDirectory() as directory:
        application = Application(Settings(data_dir=Path(directory)), "http://127.0.0.1:1")
        found = [
            (route.method, route.path)
            for route in (*application._routes(), *application._own_routes())
        ]
        application.store.close()
    found += [
        ("POST", f"{prefix}{form}{{inlet}}") for prefix in PREFIXES for form in ("", "batch/")
    ]
    return [*found, ("GET", "/openapi.json")]


if __name__ == "__main__":
    PAGE.write_text(page(routes()), "utf-8")
