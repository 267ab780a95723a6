"""Routes of the Data Access API."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import ApiError
from headrace.http.contract import Answer, Call, Route
from headrace.services.catalog.batches import Batches
from headrace.services.catalog.lists import number
from headrace.services.export.ranges import file_answer
from headrace.store.documents import Scope

BASE = "/data/foundation/export"
MOST = 100
PREVIEW_ROWS = 100
INPUTS = "input_files"
ERRORS = "row_errors"
SAMPLE = "row_errors_sample.json"
SAMPLED = 100

Rows = Callable[[str], Iterator[list[dict[str, Any]]]]
Preview = Callable[[Scope, str, int], list[dict[str, Any]]]


def _missing(what: str) -> ApiError:
    return ApiError(404, "CAT-1404-404", "Resource not found", f"There is no {what}.")


def routes(
    batches: Batches, local_path: Callable[[str], Path], file_rows: Rows, preview: Preview
) -> list[Route]:
    """`file_rows(location)` reads a data file as JSON rows, `preview(scope, data set, n)` the first of a table."""

    def batch_files(call: Call) -> Answer:
        _batch(batches, call)
        return Answer(
            200, _listing(call, batches.files(_scope(call), None, call.params["id"], "good"))
        )

    def failed(call: Call) -> Answer:
        _batch(batches, call)
        found = batches.files(
            _scope(call), None, batches.sibling(_scope(call), call.params["id"]), "failed"
        )
        name = call.value("path")
        if name is None:
            return Answer(200, _listing(call, found))
        return download(call, found, name)

    def download(call: Call, files: Mapping[str, Any], name: str) -> Answer:
        for id, item in files.items():
            if item["name"] == name:
                place = batches.location(_scope(call), id)
                path = local_path(place[2]) if place else None
                if path is not None and path.exists():
                    return file_answer(path, call.headers.get("range") or call.value("range"))
                raise ApiError(
                    410, "CAT-1410-410", "Gone", f"The file {name} was replaced by upkeep."
                )
        raise _missing(f"file {name}")

    def file(call: Call) -> Answer:
        id = call.params["id"]
        batch_id = id.rpartition("-")[0]
        item = batches.files(_scope(call), None, batch_id).get(id)
        if item is None:
            raise _missing(f"data set file {id}")
        name = call.value("path")
        if name is not None:
            return download(call, {id: item}, name)
        entry = {"name": item["name"], "length": _size(batches, call, id, local_path)}
        return Answer(200, _page(call, [_linked(entry, f"{BASE}/files/{id}?path={item['name']}")]))

    def meta(call: Call) -> Answer:
        _batch(batches, call)
        scope, id = _scope(call), call.params["id"]
        found = batches.files(scope, None, batches.sibling(scope, id), "failed")
        parts = {
            f"{ERRORS}/{item['name'].removesuffix('.parquet')}.json": key
            for key, item in found.items()
        }
        link = f"{BASE}/batches/{id}/meta?path="
        wanted = call.value("path")
        if wanted is None:
            names = [ERRORS, SAMPLE] if parts else []
            return Answer(200, _page(call, [_linked({"name": n}, link + n) for n in names]))
        if wanted.rstrip("/") == INPUTS:  # records arrive one by one, not in files
            return Answer(200, _page(call, []))
        if wanted.rstrip("/") == ERRORS:
            return Answer(200, _page(call, [_linked({"name": n}, link + n) for n in parts]))
        places = [batches.location(scope, parts[n]) for n in parts if wanted in (n, SAMPLE)]
        locations = [place[2] for place in places if place is not None]
        if not locations:
            raise _missing(f"file {wanted} of the batch")
        if wanted == SAMPLE:
            # one JSON text: clients parse it and ask again, without end, when they cannot
            return Answer(200, list(islice(_errors(locations, file_rows), SAMPLED)))
        lines = (msgspec.json.encode(row) + b"\n" for row in _errors(locations, file_rows))
        return Answer(200, lines, media_type="application/x-ndjson")

    def shown(call: Call) -> Answer:
        return Answer(200, {"data": preview(_scope(call), call.params["id"], PREVIEW_ROWS)})

    table = [
        ("/batches/{id}/files", batch_files, "Files of a batch"),
        ("/batches/{id}/failed", failed, "Files with the failed records of a batch"),
        ("/batches/{id}/meta", meta, "Errors of a batch, record by record"),
        ("/files/{id}", file, "A data set file: its parts, or with path its bytes"),
        ("/datasets/{id}/preview", shown, "The first rows of a data set"),
    ]
    return [
        Route("GET", f"{BASE}{path}", handler, "catalog", text) for path, handler, text in table
    ]


def _scope(call: Call) -> Scope:
    return Scope(call.who.org_id, call.who.sandbox)


def _batch(batches: Batches, call: Call) -> None:
    if not batches.find(_scope(call), batch_id=call.params["id"]):
        raise _missing(f"batch {call.params['id']}")


def _size(batches: Batches, call: Call, id: str, local_path: Callable[[str], Path]) -> str:
    place = batches.location(_scope(call), id)
    path = local_path(place[2]) if place else None
    return str(path.stat().st_size) if path is not None and path.exists() else "0"


def _listing(call: Call, files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = [
        _linked(
            {
                "dataSetFileId": id,
                "dataSetViewId": item["dataSetId"],
                "version": item["version"],
                "created": str(item["created"]),
                "updated": str(item["updated"]),
                "isValid": item["isValid"],
            },
            f"{BASE}/files/{id}",
        )
        for id, item in files.items()
    ]
    return _page(call, found)


def _linked(item: dict[str, Any], href: str) -> dict[str, Any]:
    return {**item, "_links": {"self": {"href": href}}}


def _page(call: Call, items: list[dict[str, Any]]) -> dict[str, Any]:
    limit, start = number(call, "limit", MOST, 1, MOST), number(call, "start", 0, 0, None)
    chosen = items[start : start + limit]
    links: dict[str, Any] = {}
    if start + limit < len(items):
        links["next"] = {"href": f"{call.path}?start={start + limit}&limit={limit}"}
    return {"data": chosen, "_page": {"limit": limit, "count": len(chosen)}, "_links": links}


def _errors(locations: list[str], file_rows: Rows) -> Iterator[dict[str, Any]]:
    """Failed records, each with what was wrong under `_errors`."""
    for location in locations:
        for rows in file_rows(location):
            for row in rows:
                error = {k: row.get(k) for k in ("code", "message")} | {"column": row.get("path")}
                rest = {k: v for k, v in row.items() if k not in ("code", "message", "path")}
                yield {"_errors": [error], **rest}
