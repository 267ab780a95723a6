"""Sandbox management."""

from collections.abc import Callable

from headrace.http.contract import Route
from headrace.services.sandbox.routes import routes as _table
from headrace.services.sandbox.service import SandboxService
from headrace.store.bootstrap import Installation
from headrace.store.documents import Store


def routes(store: Store, installation: Installation, on_change: Callable[[], None]) -> list[Route]:
    """Sandbox management over a store; `on_change` follows every dropped sandbox."""
    return _table(SandboxService(store, on_change))
