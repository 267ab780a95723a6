"""The connectors that come with Headrace, by connection spec."""

from importlib import import_module

from headrace.errors import ConfigurationError
from headrace.sources.contract import Connector

_MODULES = {
    "86043421-563b-46ec-8e6c-e23184711bf6": ("kinesis", None),
    "bf9f5905-92b7-48bf-bf20-455bc6b60a4e": ("event_hubs", None),
    "70116022-a743-464a-bbfe-e226a7f8210c": ("pubsub", "pubsub"),
    "4d1f7c0a-93be-4a5e-8f5d-7b6a2c90e1d3": ("kafka", None),
}
"""Connection spec id → module of this package and the extra that its client library comes with."""


def known(spec_id: str) -> bool:
    """Whether a connection spec has a connector."""
    return spec_id in _MODULES


def connector(spec_id: str) -> Connector:
    """The connector of a spec; ConfigurationError names the extra that is missing, or says that there is none."""
    if spec_id not in _MODULES:
        raise ConfigurationError(f"there is no connector for the connection spec {spec_id}")
    module, extra = _MODULES[spec_id]
    try:
        found: Connector = import_module(f"headrace.sources.{module}").CONNECTOR
    except ImportError as error:
        hint = f": install headrace[{extra}]" if extra else ""
        raise ConfigurationError(
            f"the library {error.name} of this connector is not installed{hint}"
        ) from None
    return found
