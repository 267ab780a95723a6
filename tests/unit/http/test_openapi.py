"""The description of the API: complete, consistent, and without rules that describe nothing."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from headrace.app import Application
from headrace.http import operations
from headrace.http.components import SCHEMAS
from headrace.http.contract import Answer, Route
from headrace.http.openapi import describe
from headrace.settings import Settings
from headrace.testing.calls import InProcess


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    directory: Path = tmp_path_factory.mktemp("described")
    found = Application(Settings(data_dir=directory), "http://127.0.0.1:1")
    yield found
    found.store.close()


@pytest.fixture(scope="module")
def routes(application: Application) -> list[Route]:
    return [*application._routes(), *application._own_routes()]


@pytest.fixture(scope="module")
def document(routes: list[Route]) -> dict[str, Any]:
    return describe(routes, "test")


def described(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_is_described_under_a_name_of_its_own(
    routes: list[Route], document: dict[str, Any]
) -> None:
    found = described(document)
    assert len(found) == len(routes)
    names = [operation["operationId"] for _, operation in found]
    assert sorted(names) == sorted(set(names))


def test_every_operation_with_a_body_says_which(document: dict[str, Any]) -> None:
    writes = [
        words for words, operation in described(document)
        if words.split()[0] in ("POST", "PUT", "PATCH") and "requestBody" not in operation
    ]  # fmt: skip
    assert writes == []
    reads = [w for w, o in described(document) if w[:4] in ("GET ", "DELE") and "requestBody" in o]
    assert reads == []


def test_path_parameters_are_those_of_the_path(document: dict[str, Any]) -> None:
    for words, operation in described(document):
        named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", words)), words


def test_no_parameter_is_stated_twice(document: dict[str, Any]) -> None:
    for words, operation in described(document):
        names = [(p["in"], p["name"]) for p in operation["parameters"]]
        assert len(names) == len(set(names)), words


def test_every_reference_leads_to_a_schema_and_every_schema_is_used(
    document: dict[str, Any],
) -> None:
    prefix = "#/components/schemas/"
    used = {name.removeprefix(prefix) for name in references(document)}
    assert used == set(SCHEMAS)
    for schema in SCHEMAS.values():
        jsonschema_rs.meta.validate(schema)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


@pytest.mark.parametrize(
    "table", ["_QUERY", "_BODIES", "_SUCCESS", "_REFUSALS", "_MEDIA", "_HEADERS"]
)
def test_every_rule_is_about_some_route(table: str, routes: list[Route]) -> None:
    words = [operations._words(route) for route in routes]
    rules = [rule[0] for rule in getattr(operations, table)]
    assert [p for p in rules if not any(re.fullmatch(p, one) for one in words)] == []


def test_refusals_of_the_gateway_are_stated_where_there_is_one_and_those_of_the_connection_everywhere() -> (
    None
):
    def stated(auth: str, path: str = "/x") -> set[str]:
        route = Route("GET", path, lambda call: Answer(), "plain", "", auth=auth)
        return set(describe([route], "t")["paths"][path]["get"]["responses"])

    anyone = {"200", "408", "503"}
    assert stated("none") == anyone
    assert stated("org") == anyone | {"400", "401", "403"}
    assert stated("org", "/x/{id}") == anyone | {"400", "401", "403", "404"}
    assert stated("platform") == anyone | {"400", "401", "403", "404"}


@pytest.mark.parametrize("path", ["flows/a%0Ab", "a%0A", "flows/%0A", "flows/a%0Ab/runs"])
def test_a_path_with_a_line_feed_gets_an_answer_of_the_service(
    application: Application, path: str
) -> None:
    credentials = application.installation
    headers = {"x-api-key": credentials.client_id, "x-gw-ims-org-id": credentials.org_id}
    answer = InProcess(application.control, headers).get(f"/data/foundation/flowservice/{path}")
    assert answer.status_code in (403, 404)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
