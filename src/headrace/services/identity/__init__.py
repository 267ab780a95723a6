"""Identity namespaces."""

from headrace.http.contract import Route
from headrace.services.identity.routes import routes as _table
from headrace.services.identity.service import Namespaces
from headrace.store.documents import Store

__all__ = ["Namespaces", "routes"]


def routes(store: Store) -> list[Route]:
    """The namespace calls of Identity Service over a store."""
    return _table(Namespaces(store))
