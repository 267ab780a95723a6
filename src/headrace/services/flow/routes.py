"""The table of Flow Service."""

from collections.abc import Callable

from headrace.errors import ApiError
from headrace.http.contract import Answer, Call, Route
from headrace.services.flow import flow_specs, query, specs
from headrace.services.flow.catalogue import Catalogue
from headrace.services.flow.service import FlowService

BASE = "/data/foundation/flowservice"


def about(kind: str, handler: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
    """The handler with refusals that name the entity they are about, unless they name one themselves."""

    def serve(call: Call) -> Answer:
        try:
            return handler(call)
        except ApiError as error:
            error.extra.setdefault("id", call.params["id"])
            error.extra.setdefault("type", kind)
            raise

    return serve


def routes(service: FlowService) -> list[Route]:
    """Every operation, with its handler."""
    table: list[Route] = []

    def add(
        method: str, path: str, handler: Callable[[Call], Answer], text: str, reads: bool | None = None
    ) -> None:  # fmt: skip
        kind = path.split("/")[1]
        served = about(kind, handler) if "{id}" in path else handler
        table.append(Route(method, BASE + path, served, "flow", text, reads=reads))

    for kind, catalogue in (
        ("connectionSpecs", Catalogue("connectionSpecs", specs.CONNECTION_SPECS, 1423)),
        ("flowSpecs", Catalogue("flowSpecs", flow_specs.FLOW_SPECS, 1449)),
    ):
        add("GET", f"/{kind}", catalogue.listed, f"List {kind}")
        add("POST", f"/{kind}", catalogue.refuse_writing, "Refused: specifications are given")
        add("POST", f"/{kind}/search", catalogue.search, f"Search {kind}", True)
        add("GET", f"/{kind}/{{id}}", catalogue.one, f"One of {kind}")
        add("PUT", f"/{kind}/{{id}}", catalogue.refuse_writing, "Refused: specifications are given")
        if kind == "connectionSpecs":
            add("GET", f"/{kind}/{{id}}/explore", catalogue.refuse_exploring, "Explore by a spec")
            add("GET", f"/{kind}/{{id}}/configs", catalogue.refuse_configs, "Configurations")

    for kind, owner in (
        ("connections", service.connections),
        ("sourceConnections", service.sources),
        ("targetConnections", service.targets),
        ("flows", service.flows),
    ):
        add("GET", f"/{kind}", service.listing(kind, query.of_call), f"List {kind}")
        search = service.listing(kind, query.of_search)
        add("POST", f"/{kind}/search", search, f"Search {kind}", True)
        add("POST", f"/{kind}", owner.create, f"Create one of {kind}")
        add("GET", f"/{kind}/{{id}}", service.reading(kind), f"One of {kind}")
        add("PATCH", f"/{kind}/{{id}}", owner.patch, f"Change one of {kind}")
        if kind != "flows":
            add("DELETE", f"/{kind}/{{id}}", service.deletion(kind), f"Delete one of {kind}")

    for kind, publish in (
        ("connections", service.connections.publish),
        ("sourceConnections", service.sources.publish),
        ("targetConnections", service.targets.publish),
    ):
        add("POST", f"/{kind}/{{id}}/action", publish, f"Publish one of {kind}")
    add("GET", "/connections/{id}/test", service.connections.test, "Test a connection")
    add("GET", "/connections/{id}/explore", service.explorer.explore, "What a connection reaches")
    add("GET", "/connections/{id}/configs", service.explorer.configs, "Columns of a connection")
    add("DELETE", "/flows/{id}", service.flows.delete, "Delete a dataflow")
    add("POST", "/flows/{id}/action", service.flows.act, "Publish, enable or disable a dataflow")
    add("GET", "/flows/{id}/runs", service.runs.of_flow, "Runs of a dataflow")
    add("GET", "/runs", service.runs.listed, "List runs")
    add("POST", "/runs/search", service.runs.search, "Search runs", True)
    add("POST", "/runs", service.runs.create, "On-demand runs, which streaming refuses")
    add("GET", "/runs/{id}", service.runs.one, "One run")
    add("PUT", "/runs/{id}", service.runs.replace, "Refused: the server writes runs")
    add("POST", "/runs/{id}/action", service.runs.act, "Refused: a stream cannot be read again")
    return table
