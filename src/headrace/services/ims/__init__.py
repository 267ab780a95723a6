"""Access tokens for clients, at the host's root."""

from headrace.http.contract import Route
from headrace.security.tokens import Tokens
from headrace.services.ims.routes import routes as _table
from headrace.services.ims.service import ImsService
from headrace.store.bootstrap import Installation
from headrace.store.documents import Store


def routes(store: Store, tokens: Tokens, installation: Installation) -> list[Route]:
    """The token endpoints of an installation."""
    return _table(ImsService(store, tokens))
