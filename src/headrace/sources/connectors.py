"""The connectors that come with Headrace, by connection spec. Their client libraries are loaded when they connect."""

from importlib import import_module

from headrace.errors import ConfigurationError
from headrace.sources.contract import Connector
from headrace.sources.declared import DECLARED

_MODULES = {found.spec_id: found.module for found in DECLARED}


def known(spec_id: str) -> bool:
    """Whether a connection spec has a connector."""
    return spec_id in _MODULES


def connector(spec_id: str) -> Connector:
    """The connector of a spec; ConfigurationError when there is none."""
    if spec_id not in _MODULES:
        raise ConfigurationError(f"there is no connector for the connection spec {spec_id}")
    found: Connector = import_module(f"headrace.sources.{_MODULES[spec_id]}").CONNECTOR
    return found
