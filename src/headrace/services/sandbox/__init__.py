"""Sandbox management."""

from collections.abc import Callable

from headrace.http.contract import Route
from headrace.services.sandbox.routes import routes as _table
from headrace.services.sandbox.service import DropData, SandboxService
from headrace.store.documents import Store


def routes(store: Store, on_change: Callable[[], None], drop_data: DropData) -> list[Route]:
    """Sandbox management over a store; `on_change` follows every dropped sandbox, `drop_data` each of its data sets."""
    return _table(SandboxService(store, on_change, drop_data))
