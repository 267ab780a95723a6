"""Routes of the Catalog Service."""

import dataclasses
from collections.abc import Callable
from typing import Any

from starlette.routing import compile_path

from headrace.errors import ApiError
from headrace.http.contract import Answer, Call, Route
from headrace.services.catalog import multiple
from headrace.services.catalog.lists import filtered, number, projected, refuse, select
from headrace.services.catalog.service import CatalogService, last_batches, unknown
from headrace.store.documents import Scope

BASE = "/data/foundation/catalog"


def _scope(call: Call) -> Scope:
    return Scope(call.who.org_id, call.who.sandbox)


def _keep(call: Call) -> bool:
    return call.headers.get("pragma", "").lower() != "validate-only"


MOST_OBSERVED = 20
"""Data sets of one list whose observable schema is computed."""


def asks_observable(call: Call) -> bool:
    """Whether the computed key `observableSchema` is wanted: only naming it brings it."""
    return "observableSchema" in (call.value("properties") or "").split(",")


def _without(call: Call, name: str) -> Call:
    return dataclasses.replace(call, query=[(n, v) for n, v in call.query if n != name])


def routes(catalog: CatalogService) -> list[Route]:
    def datasets(call: Call) -> Answer:
        if not asks_observable(call):
            return Answer(200, select(catalog.datasets(_scope(call)), call))
        if number(call, "limit", MOST_OBSERVED, 1, 100) > MOST_OBSERVED:
            raise refuse(f"limit is at most {MOST_OBSERVED} when observableSchema is asked for.")
        chosen = select(catalog.datasets(_scope(call)), _without(call, "properties"))
        return Answer(
            200, projected(catalog.observed(_scope(call), chosen), call.value("properties"))
        )

    def dataset(call: Call) -> Answer:
        ids = call.params["id"].split(",")
        found = {id: item for id in ids if (item := catalog.dataset(_scope(call), id)) is not None}
        if not found:
            raise unknown(call.params["id"])
        headers = {}
        if len(ids) == 1:
            etag = found[ids[0]]["version"]
            if call.headers.get("if-none-match", "").strip('"') == etag:
                return Answer(304, None, {"etag": f'"{etag}"'})
            headers["etag"] = f'"{etag}"'
        if asks_observable(call):
            found = catalog.observed(_scope(call), found)
        return Answer(200, projected(found, call.value("properties")), headers)

    def create(call: Call) -> Answer:
        source = call.flag("requestDataSource")
        id = catalog.create(call.who, call.object(), data_source=source, keep=_keep(call))
        return Answer(201, [f"@/dataSets/{id}"], {"location": f"{BASE}/dataSets/{id}"})

    def update(deep: bool) -> Callable[[Call], Answer]:
        def handle(call: Call) -> Answer:
            id = call.params["id"]
            expected = call.headers.get("if-match")
            catalog.update(
                call.who, id, call.json(), deep=deep, expected=expected, keep=_keep(call)
            )
            return Answer(200, [f"@/dataSets/{id}"])

        return handle

    def replace(call: Call) -> Answer:
        id, expected = call.params["id"], call.headers.get("if-match")
        catalog.replace(call.who, id, call.object(), expected=expected, keep=_keep(call))
        return Answer(200, [f"@/dataSets/{id}"])

    def delete(call: Call) -> Answer:
        id, expected = call.params["id"], call.headers.get("if-match")
        found = catalog.delete(call.who, id, expected=expected, keep=_keep(call))
        return Answer(200, [f"@/dataSets/{id}"] if found else [])

    def batches(call: Call) -> Answer:
        return Answer(200, catalog.batches.listed(_scope(call), call))

    def batch(call: Call) -> Answer:
        found = catalog.batches.find(_scope(call), batch_id=call.params["id"])
        if not found:
            text = f"There is no batch {call.params['id']}."
            raise ApiError(404, "CAT-1404-404", "Resource not found", text)
        return Answer(200, found)

    def newest(call: Call) -> Answer:
        found = last_batches(catalog, _scope(call))
        wanted = call.value("dataSetId") or call.value("dataSet")
        if wanted is not None:
            found = {id: item for id, item in found.items() if id in wanted.split(",")}
        return Answer(200, select(found, call))

    def files(call: Call) -> Answer:
        if "view" in call.params:
            view(call)
        elif "id" in call.params:
            views(call)
        dataset_id = call.params.get("id") or call.value("dataSetId")
        return Answer(
            200, select(catalog.batches.files(_scope(call), dataset_id, call.value("batch")), call)
        )

    def view(call: Call) -> Answer:
        found: dict[str, Any] = views(call).body
        if call.params["view"] not in found:
            text = f"There is no view {call.params['view']} of the data set."
            raise ApiError(404, "CAT-1404-404", "Resource not found", text)
        return Answer(200, found)

    def views(call: Call) -> Answer:
        found = catalog.dataset(_scope(call), call.params["id"])
        if found is None:
            raise unknown(call.params["id"])
        view = {
            "imsOrg": found["imsOrg"], "namespace": "ACP", "dataSetId": call.params["id"],
            "name": found["name"], "version": found["version"], "created": found["created"],
            "updated": found["updated"], "status": "enabled",
        }  # fmt: skip
        return Answer(200, {found["viewId"]: view})

    def uniques(call: Call) -> Answer:
        dataset_id = call.value("dataSet") or call.value("dataSetId")
        everything = catalog.batches.find(_scope(call), dataset_id, call.value("batch"))
        found = filtered(everything, call)
        values = (item.get(call.params["field"]) for item in found.values())
        return Answer(200, list(dict.fromkeys(str(value) for value in values if value is not None)))

    def resources(call: Call) -> Answer:
        scope = _scope(call)
        return Answer(
            200,
            {
                "dataSets": {"count": len(catalog.datasets(scope))},
                "batches": {"count": len(catalog.batches.find(scope))},
                "dataSetFiles": {"count": len(catalog.batches.files(scope, None, None))},
            },
        )

    table = [
        ("GET", "/dataSets", datasets, "List data sets"),
        ("POST", "/dataSets", create, "Create a data set"),
        ("GET", "/dataSets/{id}", dataset, "Look up data sets by id"),
        ("PATCH", "/dataSets/{id}", update(False), "Change a data set"),
        ("PATCH", "/v2/dataSets/{id}", update(True), "Change a data set, merging deeply"),
        ("PUT", "/dataSets/{id}", replace, "Replace a data set"),
        ("DELETE", "/dataSets/{id}", delete, "Delete a data set"),
        ("GET", "/dataSets/{id}/views", views, "The view of a data set"),
        ("GET", "/dataSets/{id}/files", files, "Files of a data set"),
        ("GET", "/dataSets/{id}/views/{view}/files", files, "Files of a data set's view"),
        ("GET", "/dataSetFiles", files, "List data set files"),
        ("GET", "/batches", batches, "List batches"),
        ("GET", "/batches/{id}", batch, "Look up a batch"),
        ("GET", "/batches/uniques/{field}", uniques, "Distinct values of a field of batches"),
        ("GET", "/", resources, "What the catalog holds"),
        ("GET", "/dataSets/{id}/views/{view}", view, "A view of a data set"),
        ("GET", "/lastBatches", newest, "The newest batches of data sets"),
    ]
    found = [
        Route(m, f"{BASE}{path}", handler, "catalog", text) for m, path, handler, text in table
    ]
    patterns = [(route, compile_path(route.path.removeprefix(BASE))[0]) for route in found]

    def dispatch(call: Call) -> Answer:
        for route, pattern in patterns:
            match = (
                pattern.match("/" + call.path.strip("/")) if route.method == call.method else None
            )
            if match is not None:
                return route.handler(dataclasses.replace(call, params=match.groupdict()))
        text = f"{call.method} {call.path} cannot be part of a bundle."
        raise ApiError(404, "CAT-1404-404", "Resource not found", text)

    def several(call: Call) -> Answer:
        try:
            return Answer(200, catalog.together(_scope(call), lambda: multiple.run(call, dispatch)))
        except multiple.Failed as failed:
            return Answer(failed.status, failed.results)

    return [
        *found,
        Route("POST", f"{BASE}/", several, "catalog", "Several requests, all or none"),
    ]
