"""The table of Flow Service."""

from collections.abc import Callable
from typing import Any

from headrace.http.contract import Answer, Call, Route
from headrace.services.flow import flow_specs, specs, wire
from headrace.services.flow.entities import audited, scope_of
from headrace.services.flow.faults import connector, missing
from headrace.services.flow.service import FlowService

BASE = "/data/foundation/flowservice"


def routes(service: FlowService) -> list[Route]:
    """Every operation, with its handler."""
    table: list[Route] = []

    def add(method: str, path: str, handler: Callable[[Call], Answer], text: str) -> None:
        table.append(Route(method, BASE + path, handler, "flow", text))

    def resource(kind: str, entities: Any, item: Callable[[Any], dict[str, Any]]) -> None:
        def load(call: Call) -> list[dict[str, Any]]:
            return [item(document) for document in entities.all(scope_of(call.who))]

        path = f"/{kind}"
        add("GET", path, lambda c: wire.listing(c, path, lambda: load(c)), f"List {kind}")
        add("POST", f"{path}/search", lambda c: wire.search(c, path, lambda: load(c)), "Search")
        add(
            "GET",
            f"{path}/{{id}}",
            lambda c: wire.one(item(entities.get(scope_of(c.who), c.params["id"]))),
            f"One of {kind}",
        )

    def catalogue(kind: str, items: tuple[dict[str, Any], ...]) -> None:
        def one(call: Call) -> Answer:
            found = next((spec for spec in items if spec["id"] == call.params["id"]), None)
            if found is None:
                raise missing(kind, call.params["id"])
            return wire.one(found)

        add("GET", f"/{kind}", lambda c: wire.specs(c, items), f"List {kind}")
        add("GET", f"/{kind}/{{id}}", one, f"One of {kind}")

    def run(call: Call) -> Answer:
        for found in service.runs(scope_of(call.who)):
            if found["id"] == call.params["id"]:
                return wire.one(found)
        raise missing("runs", call.params["id"])

    def on_demand(call: Call) -> Answer:
        raise connector(1385, "Streaming dataflows cannot have on-demand runs.")

    catalogue("connectionSpecs", specs.CONNECTION_SPECS)
    catalogue("flowSpecs", flow_specs.FLOW_SPECS)
    resource("connections", service.connections.entities, service.connections.item)
    resource("sourceConnections", service.sources.entities, audited)
    resource("targetConnections", service.targets.entities, audited)
    resource("flows", service.flows.entities, service.flows.item)
    add("POST", "/connections", service.connections.create, "Create a connection")
    add("GET", "/connections/{id}/test", service.connections.test, "Test a connection")
    add("POST", "/sourceConnections", service.sources.create, "Create a source connection")
    add("POST", "/targetConnections", service.targets.create, "Create a target connection")
    publishable = {
        "connections": service.connections.publish,
        "sourceConnections": service.sources.publish,
        "targetConnections": service.targets.publish,
    }
    for kind, publish in publishable.items():
        add("POST", f"/{kind}/{{id}}/action", publish, f"Publish one of {kind}")
    for kind in ("connections", "sourceConnections", "targetConnections"):
        add("DELETE", f"/{kind}/{{id}}", service.deletion(kind), f"Delete one of {kind}")
    add("POST", "/flows", service.flows.create, "Create a dataflow")
    add("PATCH", "/flows/{id}", service.flows.patch, "Change a dataflow")
    add("DELETE", "/flows/{id}", service.flows.delete, "Delete a dataflow")
    add("POST", "/flows/{id}/action", service.flows.act, "Publish, enable or disable a dataflow")
    add(
        "GET",
        "/runs",
        lambda c: wire.listing(c, "/runs", lambda: service.runs(scope_of(c.who))),
        "List runs",
    )
    add("GET", "/runs/{id}", run, "One run")
    add("POST", "/runs", on_demand, "On-demand runs, which streaming refuses")
    return table
