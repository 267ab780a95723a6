"""Clients of HTTP that connect to the address that was checked, whatever the name says a moment later."""

from collections.abc import Callable
from typing import Any

Reach = Callable[[str, int], str]


def pin(client: Any, reach: Reach) -> None:
    """Each connection of a boto client goes to the address that `reach` gives for its host and port, and fails with
    what that raises. Names of hosts in requests and certificates stay as they are."""
    manager = client._endpoint.http_session._manager
    manager.pool_classes_by_scheme = {
        scheme: _pool(pool, reach) for scheme, pool in manager.pool_classes_by_scheme.items()
    }


def _pool(pool: Any, reach: Reach) -> type:
    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        _dns_host: str
        port: int

        def _new_conn(self) -> Any:
            name = self._dns_host
            self._dns_host = reach(name, self.port)
            try:
                return super()._new_conn()
            finally:
                self._dns_host = name

    class Pool(pool):  # type: ignore[misc]
        ConnectionCls = Connection

    return Pool
