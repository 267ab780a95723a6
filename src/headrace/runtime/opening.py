"""Opening a flow's source: what its base connection and its revision say."""

from pathlib import Path
from typing import Any

from headrace.errors import Terminal
from headrace.model.flow import FlowRevision
from headrace.security.vault import SEALED, Vault
from headrace.sources.contract import Settings
from headrace.store.documents import Store


def source_of(flow: dict[str, Any]) -> str:
    """The connection spec of a stored flow's source."""
    sources = flow.get("inheritedAttributes", {}).get("sourceConnections") or [{}]
    return str(sources[0].get("connectionSpec", {}).get("id", ""))


def settings_of(store: Store, data_dir: Path, revision: FlowRevision) -> Settings:
    """What the source of a revision is opened with, its secrets unsealed; Terminal when its connection is gone."""
    row = store.find("connections", str(revision.source_params.get("connectionId")))
    if row is None:
        raise Terminal("the flow's base connection does not exist any more")
    auth = row[1].body["auth"]
    vault = Vault.at(data_dir / "vault.key", store)
    params = {
        key: vault.open(value[SEALED], row[1].id)
        if isinstance(value, dict) and SEALED in value
        else value
        for key, value in auth["params"].items()
    }
    return Settings(auth["specName"], params, revision.source_params["params"], revision.flow_id)
