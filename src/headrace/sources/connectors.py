"""The connectors that come with Headrace, by connection spec. Their client libraries are loaded when they connect."""

from importlib import import_module

from headrace.errors import ConfigurationError
from headrace.sources.contract import Connector

_MODULES = {
    "86043421-563b-46ec-8e6c-e23184711bf6": "kinesis",
    "bf9f5905-92b7-48bf-bf20-455bc6b60a4e": "event_hubs",
    "70116022-a743-464a-bbfe-e226a7f8210c": "pubsub",
    "4d1f7c0a-93be-4a5e-8f5d-7b6a2c90e1d3": "kafka",
}


def known(spec_id: str) -> bool:
    """Whether a connection spec has a connector."""
    return spec_id in _MODULES


def connector(spec_id: str) -> Connector:
    """The connector of a spec; ConfigurationError when there is none."""
    if spec_id not in _MODULES:
        raise ConfigurationError(f"there is no connector for the connection spec {spec_id}")
    found: Connector = import_module(f"headrace.sources.{_MODULES[spec_id]}").CONNECTOR
    return found
