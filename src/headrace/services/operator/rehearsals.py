"""`POST /headrace/flows/{id}/rehearsals`: another mapping or schema over a flow's newest records, before it is
published. It computes and writes nothing, so that clients which may only read may ask for it.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from headrace.errors import ApiError, Terminal, Transient
from headrace.http.contract import Answer, Call, Route
from headrace.logs import fields
from headrace.mapping.errors import MappingInvalid
from headrace.mapping.rules import rule_of
from headrace.model.flow import FlowRevision, Rule
from headrace.services.flow.flows import Mappings, SchemaTree
from headrace.services.operator.replays import own_flow, refused
from headrace.services.operator.routes import BASE, LogOf
from headrace.store.documents import Scope, Store

if TYPE_CHECKING:
    from headrace.lake.catalog import Lake

MOST_RECORDS = 10_000
USUAL_RECORDS = 1_000
PATIENCE = 20.0
"""Seconds after which a rehearsal answers with what it has."""
_KNOWN = ("mapping", "mappings", "schema", "last")
logger = logging.getLogger("headrace.rehearsal")


@dataclass(slots=True)
class Rehearsals:
    """`lake()` gives the tables, loaded when they are first asked for."""

    store: Store
    log: LogOf
    lake: Callable[[], "Lake"]
    mapping_set: Mappings
    schema_tree: SchemaTree
    running: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))

    def rehearse(self, call: Call) -> Answer:
        """200 with the differences; ApiError 400 for a mapping or schema that cannot be run, 404."""
        scope, revision = own_flow(self.store, call)
        body = call.object()
        unknown = sorted(set(body) - set(_KNOWN))
        if unknown:
            raise refused(f"'{unknown[0][:40]}' is unknown; known are {', '.join(_KNOWN)}.")
        last = body.get("last", USUAL_RECORDS)
        whole = isinstance(last, int) and not isinstance(last, bool)
        if not whole or not 1 <= last <= MOST_RECORDS:
            raise refused(f"last must be a number from 1 to {MOST_RECORDS}.")
        candidate = self._candidate(scope, revision, body)
        logger.info(
            "rehearsal",
            extra=fields(
                flow=revision.flow_id, client=call.who.client_id, request=call.request_id, last=last
            ),
        )
        if not self.running.acquire(timeout=20):
            raise ApiError(503, "busy", "Service Unavailable", "Other rehearsals are running.")
        try:
            return Answer(200, self._run(revision, candidate, last))
        finally:
            self.running.release()

    def _candidate(
        self, scope: Scope, revision: FlowRevision, body: Mapping[str, Any]
    ) -> FlowRevision:
        given = [name for name in ("mapping", "mappings", "schema") if body.get(name) is not None]
        if not given or {"mapping", "mappings"} <= set(given):
            text = "A rehearsal needs a mapping (a set's id), or mappings (rules), or a schema, or one with a schema."
            raise refused(text)
        if body.get("mappings") is not None:
            revision = replace(
                revision, rules=_rules(body["mappings"]), mapping_id=None, mapping_version=None
            )
        if body.get("mapping") is not None:
            revision = self._with_set(scope, revision, body["mapping"])
        if body.get("schema") is not None:
            if not isinstance(body["schema"], str):
                raise refused("schema must be the $id of a schema.")
            try:
                id, version, tree = self.schema_tree(scope, body["schema"])
            except ApiError as error:
                text = f"There is no schema {body['schema'][:200]}."
                raise ApiError(error.status, "not_found", "Resource not found", text) from None
            revision = replace(
                revision, schema_id=id, schema_version=version, schema=tree.to_json()
            )
        return revision

    def _with_set(self, scope: Scope, revision: FlowRevision, given: Any) -> FlowRevision:
        id = given.get("id") if isinstance(given, dict) else None
        version = given.get("version") if isinstance(given, dict) else None
        if not isinstance(id, str) or not isinstance(version, int | None):
            raise refused('mapping must be an object such as {"id": "…", "version": 2}.')
        found = self.mapping_set(scope, id, version)
        if found is None:
            text = f"There is no mapping set {id}" + (
                f" of version {version}." if version is not None else "."
            )
            raise ApiError(404, "not_found", "Resource not found", text)
        return replace(
            revision, rules=found.rules, mapping_id=id, mapping_version=found.version,
            allow_null_values=found.allow_null_values,
        )  # fmt: skip

    def _run(self, revision: FlowRevision, candidate: FlowRevision, last: int) -> dict[str, Any]:
        from headrace.runtime.pipeline import Pipeline
        from headrace.runtime.rehearsal import rehearse
        from headrace.services.operator.rehearsal_records import newest

        try:
            then = Pipeline(candidate)
        except MappingInvalid as error:
            raise refused(f"The mapping does not fit the schema: {error}") from None
        until = time.monotonic() + PATIENCE

        def going() -> bool:
            return time.monotonic() < until

        now = Pipeline(revision)
        try:
            found = newest(self.log().directory, self.lake(), now, last, going)
        except Terminal as error:
            raise ApiError(409, "table", "Conflict", str(error)) from None
        except (Transient, FileNotFoundError):
            text = "The tables could not be read just now: try again."
            raise ApiError(503, "lake", "Service Unavailable", text) from None
        differences, run = rehearse(now, then, found.frames, last, going)
        return {
            "flowId": revision.flow_id,
            "revision": revision.revision,
            "requested": last,
            "records": run,
            "sources": {"log": found.logged, "failedRecords": found.failed},
            "complete": found.complete and run == found.logged + found.failed,
            "mapping": {"id": candidate.mapping_id, "version": candidate.mapping_version},
            "schema": {"id": candidate.schema_id, "version": candidate.schema_version},
        } | differences.listed()


def rehearsal_routes(
    store: Store,
    log: LogOf,
    lake: Callable[[], "Lake"],
    mapping_set: Mappings,
    schema_tree: SchemaTree,
) -> list[Route]:
    """What other services give: versions of mapping sets, and the field trees of schemas."""
    rehearsals = Rehearsals(store, log, lake, mapping_set, schema_tree)
    path, text = f"{BASE}/flows/{{id}}/rehearsals", "Another mapping or schema over real records"
    return [Route("POST", path, rehearsals.rehearse, "plain", text, reads=True)]


def _rules(given: Any) -> tuple[Rule, ...]:
    if not isinstance(given, list) or not 1 <= len(given) <= 5_000:
        raise refused("mappings must be a list of rules, as a mapping set has them.")
    rules = []
    for number, entry in enumerate(given, 1):
        try:
            rules.append(rule_of(entry))
        except ValueError as error:
            raise refused(f"Mapping {number}: {error}") from None
    return tuple(rules)
