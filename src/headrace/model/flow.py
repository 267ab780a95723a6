"""What the control plane hands to the data plane: an immutable revision of a dataflow."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """One mapping rule. `source_type` is ATTRIBUTE, EXPRESSION or STATIC."""

    source_type: str
    source: str
    destination: str


@dataclass(frozen=True, slots=True)
class FlowRevision:
    """Everything that decides what happens to a record, pinned.

    Replaying a range of the log under its revision gives the same rows. `schema` is the JSON form of the
    target's field tree (`headrace.xdm.fields`). Without `rules` the records are XDM already.
    `payload` is `raw` or `xdm`; `format` is `json` or `delimited`. `source_params` and `connection` are what a
    pull source's reader needs (the connection's id; its secrets stay in the vault).
    """

    flow_id: str
    revision: int
    org_id: str
    sandbox: str
    dataset_id: str
    schema_id: str
    schema_version: str
    schema: dict[str, Any]
    rules: tuple[Rule, ...] | None
    mapping_id: str | None = None
    mapping_version: int | None = None
    allow_null_values: bool = False
    format: str = "json"
    payload: str = "raw"
    source: str = "http"
    source_params: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        out = {name: getattr(self, name) for name in self.__slots__}
        if self.rules is not None:
            out["rules"] = [[r.source_type, r.source, r.destination] for r in self.rules]
        return json.dumps(out, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> "FlowRevision":
        data = json.loads(text)
        if data["rules"] is not None:
            data["rules"] = tuple(Rule(*rule) for rule in data["rules"])
        return cls(**data)
