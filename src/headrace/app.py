"""Composition: settings → adapters → services → one ASGI application. No logic of its own."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterator
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from headrace import __version__
from headrace.disk import local_path
from headrace.http.application import build
from headrace.http.contract import Answer, Call, Route
from headrace.http.gateway import Gateway
from headrace.log.writer import LogWriter
from headrace.logs import fields
from headrace.model.flow import FlowRevision
from headrace.runtime.backfilling import Backfills
from headrace.runtime.commits import totals
from headrace.runtime.metrics import DataPlane, exposition
from headrace.runtime.pipeline import Pipeline
from headrace.runtime.queues import Queues
from headrace.runtime.stops import Standing, Stops
from headrace.runtime.supervisor import Supervisor
from headrace.security.clients import may_write
from headrace.security.egress import Egress
from headrace.security.keys import load_or_create_key
from headrace.security.tokens import TokenInvalid, Tokens
from headrace.security.vault import Vault
from headrace.services import (
    catalog,
    conversion,
    export,
    flow,
    identity,
    ims,
    observability,
    operator,
    registry,
    sandbox,
)
from headrace.services.inlet.directory import Directory
from headrace.services.inlet.endpoint import PREFIXES, InletEndpoint
from headrace.services.operator.receipts import receipt_routes
from headrace.services.operator.rehearsals import rehearsal_routes
from headrace.services.operator.replays import replay_routes
from headrace.services.operator.rewind.requests import Rewinds
from headrace.services.operator.routes import LogOf
from headrace.settings import Settings
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions
from headrace.xdm.check import Violation
from headrace.xdm.fields import Field
from headrace.xdm.library import IMPORTED, Library

if TYPE_CHECKING:
    from headrace.lake.catalog import Lake

Message = dict[str, Any]
logger = logging.getLogger("headrace")
PIPELINES_KEPT = 64
"""Compiled revisions kept for synchronous validation."""
KEEP_COUNTS_EVERY = 60.0
"""Seconds between writings of what inlets counted; a crash loses no more than the counts of that time."""
WARM_AFTER = 5.0
"""Seconds after the start: until then the processors have better things to do."""


class Application:
    """The server of one data directory as an ASGI application; its lifespan starts and stops the data plane."""

    def __init__(self, settings: Settings, base_url: str) -> None:
        self.settings = settings
        data_dir = settings.data_dir
        self.store = Store(data_dir / "headrace.db")
        self.installation = bootstrap(self.store, data_dir, base_url)
        self.tokens = Tokens(load_or_create_key(data_dir / "tokens.key"))
        self.revisions = Revisions(self.store)
        self.standing = Standing(Stops(self.store))
        self.supervisor = Supervisor(
            data_dir, settings.commit_interval, settings.commit_rows,
            note=self.standing.teller("landing"),
            wanted=self._lands_somewhere, balance_patience=settings.balance_patience,
            worker_patience=settings.worker_patience, egress_allow=settings.egress_allow,
        )  # fmt: skip
        self.log_of = LogOf()
        self._wire_services(base_url)
        self.inlet: InletEndpoint | None = None
        self.inlet_calls = observability.InletCalls(
            self.store,
            lambda: {id: (counts[2], counts[3]) for id, counts in self._inlet_counts().items()},
            lambda id: (found.scope, found.id) if (found := self.directory.inlet(id)) else None,
        )
        gateway = Gateway(
            self.store, self.tokens, "off" if settings.auth == "off" else "on", self.installation
        )
        self.control = build([*self._routes(), *self._own_routes()], gateway, title="Headrace")

    @cached_property
    def lake(self) -> "Lake":
        """Loaded when first used: its libraries take longer to import than all else."""
        from headrace.lake.catalog import Lake

        return Lake(self.settings.data_dir)

    def _warm(self) -> None:
        """Load the lake before somebody waits for it."""
        asyncio.get_running_loop().run_in_executor(None, lambda: self.lake)

    def _wire_services(self, base_url: str) -> None:
        settings, store = self.settings, self.store
        self.registry = registry.RegistryService(store, Library(settings.data_dir / IMPORTED))
        self.authoring = registry.Authoring(
            self.registry,
            in_use=lambda scope, id: self.catalog.uses_schema(scope, id),
            changed=lambda scope, id: self.flow.refresh_schema(scope, id),
        )
        self.descriptors = registry.Descriptors(
            self.registry, namespace_known=identity.Namespaces(store).known
        )
        self.catalog = catalog.CatalogService(
            store,
            schema_tree=self.registry.schema_tree,
            behavior=self.registry.behavior,
            full_schema=self.registry.full_schema,
            observed=self._observed,
            on_dataset=self._create_tables,
            on_delete=lambda scope, id: self.lake.drop(scope.sandbox, id),
            on_change=lambda: self.directory.changed(),
        )
        self.conversion = conversion.ConversionService(
            store, schema_tree=self.registry.schema_tree, full_schema=self.registry.full_schema,
            columns=self._columns,
        )  # fmt: skip
        self.directory = Directory(
            store, self.revisions, self.registry.schema_tree, self.catalog.dataset
        )
        self.flow = flow.FlowService(
            store, self.revisions, Vault.at(settings.data_dir / "vault.key", store),
            Egress(settings.egress_allow), base_url, datasets=self.catalog.dataset,
            schema_tree=self.registry.schema_tree, mapping_set=self.conversion.mapping_set,
            run_window=settings.run_window, on_change=self.directory.changed,
        )  # fmt: skip

    def _routes(self) -> list[Route]:
        return [
            *ims.routes(self.store, self.tokens, self.installation),
            *sandbox.routes(
                self.store,
                self.directory.changed,
                lambda scope, id: self.lake.drop(scope.sandbox, id),
            ),
            *registry.routes(self.registry, self.authoring, self.descriptors),
            *catalog.routes(self.catalog),
            *export.routes(self.catalog.batches, local_path, self._file_rows, self._preview),
            *identity.routes(self.store),
            *observability.routes(self.store, self.inlet_calls.keep),
            *operator.routes(self.store, self.supervisor, self.log_of),
            *receipt_routes(self.store, self.supervisor, self.log_of, lambda: self.lake),
            *replay_routes(self.store, lambda: self.lake),
            *rehearsal_routes(
                self.store,
                self.log_of,
                lambda: self.lake,
                self.conversion.mapping_set,
                self.registry.schema_tree,
            ),
            *Rewinds(
                self.store,
                self.supervisor,
                lambda: self.lake,
                Egress(self.settings.egress_allow),
                self.log_of,
            ).routes(),
            *conversion.routes(self.conversion),
            *flow.routes(self.flow),
        ]

    def _own_routes(self) -> list[Route]:
        return [
            Route(
                "GET", "/health", self._health, "plain", "Whether all is well, else why not", "none"
            ),
            Route("GET", "/metrics", self._metrics, "plain", "Prometheus metrics", "none"),
        ]

    # -- what services ask of the data plane ----------------------------------------------------------------

    def _create_tables(self, scope: Scope, dataset_id: str, tree: Field) -> None:
        self.lake.ensure(scope.sandbox, dataset_id, tree)

    def _observed(self, scope: Scope, dataset_id: str) -> set[tuple[str, ...]]:
        from headrace.lake.reading import observed

        return observed(self.lake.table(scope.sandbox, dataset_id))

    def _preview(self, scope: Scope, dataset_id: str, limit: int) -> list[dict[str, Any]]:
        from headrace.lake.reading import preview

        if self.catalog.dataset(scope, dataset_id) is None:
            raise catalog.unknown(dataset_id)
        return preview(self.lake.table(scope.sandbox, dataset_id), limit)

    @staticmethod
    def _file_rows(location: str) -> Iterator[list[dict[str, Any]]]:
        from headrace.lake.reading import file_rows

        return file_rows(location)

    def _columns(self, scope: Scope, dataset_id: str) -> list[str]:
        found = self.catalog.dataset(scope, dataset_id)
        if found is None:
            return []
        _, _, tree = self.registry.schema_tree(scope, found["schemaRef"]["id"])
        return leaves(tree)

    # -- the data plane -------------------------------------------------------------------------------------

    async def _start(self) -> None:
        settings = self.settings
        self.authoring.resume()
        known = totals(self.store)
        self.supervisor.know(known)
        landed = {id: (flow["position"], flow["sequence"]) for id, flow in known.items()}
        self.log = LogWriter(
            settings.data_dir / "log", segment_bytes=settings.log_segment_bytes,
            keep_free=settings.log_keep_free, max_bytes=settings.log_max_bytes, landed=landed,
        )  # fmt: skip
        if self.log.cut_bytes:
            logger.warning("cut a torn tail of %s bytes from the log", self.log.cut_bytes)
        for found in self.log.damage:
            logger.error("the log: %s", found)
        if self.log.skipped:
            logger.warning(
                "the log is %s records behind the lake: going on after it", self.log.skipped
            )
        pipelines: dict[tuple[str, int], Pipeline] = {}

        def check(revision: FlowRevision, record: bytes, envelope: bool) -> list[Violation]:
            key = (revision.flow_id, revision.revision)
            if key not in pipelines:
                if len(pipelines) >= PIPELINES_KEPT:
                    pipelines.clear()
                pipelines[key] = Pipeline(revision)
            return pipelines[key].check(record, envelope, int(time.time() * 1000))

        self.log_of.writer = self.log
        self.inlet = InletEndpoint(self.directory, self.log, check, self._may_send)
        self.plane = DataPlane(self.log, self.supervisor, self._inlet_counts)
        self.queues = Queues(
            self.store,
            self.revisions,
            settings.data_dir,
            self.log,
            _queue_event,
            tell_lag=self.supervisor.know_lag,
            egress=Egress(settings.egress_allow),
            note=self.standing.teller("intake"),
        )
        await self.queues.start()  # reads what the log holds before the worker may free it
        self.backfills = Backfills(
            self.store, self.log, self.supervisor, asyncio.get_running_loop()
        )
        await self.backfills.start()
        await self.supervisor.start()
        self._counting = asyncio.create_task(self._keep_counts())
        asyncio.get_running_loop().call_later(WARM_AFTER, self._warm)

    async def _stop(self) -> None:
        await self.queues.stop()
        await self.backfills.stop()
        await self.log.close()
        await self.supervisor.stop()
        self._counting.cancel()
        await asyncio.to_thread(self._keep_counts_now)

    def _may_send(self, token: str, org: str) -> bool:
        try:
            claims = self.tokens.verify(token)
            return claims.org_id == org and may_write(self.store, claims)
        except TokenInvalid:
            return False

    def _lands_somewhere(self, flow_id: str) -> bool:
        dataset = flow_id.removeprefix("dataset-")
        if dataset == flow_id:
            latest = self.revisions.latest(flow_id)
            if latest is None:
                return True  # the store has lost what its records were to become
            dataset = latest.dataset_id
        return self.store.find("dataSets", dataset) is not None

    def _inlet_counts(self) -> dict[str, tuple[int, int, int, int]]:
        counters = {} if self.inlet is None else dict(self.inlet.counters)
        return {id: (c.messages, c.bytes, c.success, c.failure) for id, c in counters.items()}

    async def _keep_counts(self) -> None:
        while True:
            await asyncio.sleep(KEEP_COUNTS_EVERY)
            await asyncio.to_thread(self._keep_counts_now)

    def _keep_counts_now(self) -> None:
        try:
            self.inlet_calls.keep()
        except sqlite3.Error as error:  # they are kept the next time
            logger.warning("counts of inlets were not kept: %s", error)

    def _health(self, call: Call) -> Answer:
        reasons = self.supervisor.reasons(self.log.sequences, self.settings.landing_delay_alert)
        if self.log.problem:
            kind, _, detail = self.log.problem.partition(": ")
            reasons.insert(0, {"reason": kind, "detail": detail})
        reasons += map(dict, self.queues.reasons())
        body = {"status": "ok" if not reasons else "degraded", "version": __version__}
        if reasons:
            return Answer(503, body | {"reasons": reasons})
        return Answer(200, body)

    def _metrics(self, call: Call) -> Answer:
        return Answer(200, exposition(self.plane), media_type="text/plain; version=0.0.4")

    # -- ASGI -----------------------------------------------------------------------------------------------

    def refusal(self, path: str, status: HTTPStatus, text: str) -> Answer:
        """What is answered to a request that was ended before it was here."""
        if self.inlet is not None and path.startswith(PREFIXES):
            return self.inlet.refusal(path, status, text)
        return self.control.refusal(path, status, text)

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if scope["path"].startswith(PREFIXES):
                assert self.inlet is not None
                await self.inlet(scope, receive, send)
            else:
                await self.control(scope, receive, send)
        elif scope["type"] == "lifespan":
            await receive()
            await self._start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._stop()
            await send({"type": "lifespan.shutdown.complete"})


def _queue_event(event: dict[str, Any]) -> None:
    logger.warning(
        "queue %s", event["event"], extra=fields(flow=event["flow"], reason=event.get("reason"))
    )


def leaves(tree: Field, prefix: str = "") -> list[str]:
    """Dotted paths of all scalar fields below objects."""
    found: list[str] = []
    for name, child in tree.properties.items():
        path = f"{prefix}{name}"
        found += leaves(child, f"{path}.") if child.kind == "object" else [path]
    return found
