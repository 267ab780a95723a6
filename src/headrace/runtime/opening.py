"""Flows that read a source: which there are, and what their connection and revision say of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import Terminal
from headrace.model.flow import FlowRevision
from headrace.security.egress import Egress
from headrace.security.vault import Vault
from headrace.sources.contract import Settings
from headrace.store.documents import Scope, Store

Wanted = tuple[int, int, int]
"""Revision of a flow, version of its base connection, and of itself: one that stopped is tried again when it changed,
which to be disabled and enabled does even if nobody looked in between."""


def source_of(flow: dict[str, Any]) -> str:
    """The connection spec of a stored flow's source."""
    sources = flow.get("inheritedAttributes", {}).get("sourceConnections") or [{}]
    return str(sources[0].get("connectionSpec", {}).get("id", ""))


@dataclass
class Watch:
    """Enabled flows of the sources that `accepts` takes, looked for again only when a flow or connection changed."""

    store: Store
    accepts: Callable[[str], bool]

    def __post_init__(self) -> None:
        self._seen: Any = None

    def look(self) -> dict[str, Wanted] | None:
        """What is wanted now, by flow; None when nothing changed since the last look."""
        scopes = [Scope(s.org, d.id) for s, d in self.store.everywhere("sandboxes")]
        state = [self.store.fingerprint(scope, ("flows", "connections")) for scope in scopes]
        if state == self._seen:
            return None
        wanted: dict[str, Wanted] = {}
        for scope, document in self.store.everywhere("flows"):
            body = document.body
            if body.get("state") == "enabled" and self.accepts(source_of(body)):
                base = self.store.get(scope, "connections", str(body.get("baseConnectionId")))
                wanted[document.id] = (
                    int(body["revision"]), base.version if base else -1, document.version,
                )  # fmt: skip
        self._seen = state
        return wanted

    def forget(self) -> None:
        """Let the next look find everything again: what is wanted could not all be done."""
        self._seen = None


def settings_of(store: Store, data_dir: Path, revision: FlowRevision, egress: Egress) -> Settings:
    """What the source of a revision is opened with, its secrets unsealed; Terminal when its connection is gone."""
    row = store.find("connections", str(revision.source_params.get("connectionId")))
    if row is None:
        raise Terminal("the flow's base connection does not exist any more")
    auth = row[1].body["auth"]
    vault = Vault.at(data_dir / "vault.key", store)
    params = vault.reveal(auth["params"], row[1].id)
    return Settings(
        auth["specName"], params, revision.source_params["params"], revision.flow_id, egress.check
    )
