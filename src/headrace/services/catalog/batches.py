"""Batches and their files, computed from commits: one batch for the rows that a commit landed, one for those that failed.

A list costs what its page costs when its parameters can be answered by the commit table itself.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.http.contract import Call
from headrace.services.catalog.lists import Items, projected, select
from headrace.store.documents import Scope, Store

KIND = "dataSets"
_COLUMNS = "batch_id, flow_id, dataset_id, kind, committed, body, commit_id"
_IN_SCOPE = (
    "dataset_id IN (SELECT id FROM documents WHERE org=? AND sandbox=? AND kind='dataSets')"
    " AND NOT (kind='good' AND json_extract(body, '$.records')=0)"
)
_STATES = {"success": "good", "active": "good", "failed": "failed", "failure": "failed"}
_ANSWERED_BY_SQL = frozenset(
    {"limit", "start", "dataSet", "dataSetId", "batch", "status", "createdAfter", "createdBefore", "properties"}
)  # fmt: skip
_ORDERS = {None: "DESC", "desc:created": "DESC", "asc:created": "ASC", "created": "ASC"}


class Batches:
    def __init__(self, store: Store) -> None:
        self._store = store

    def listed(self, scope: Scope, call: Call) -> Items:
        """The batches that a list call asks for, newest first; ApiError 400."""
        select({}, call)  # refuses parameters that make no sense
        order = _ORDERS.get(call.value("orderBy"), "")
        names = {name for name, _ in call.query} - {"orderBy"}
        negated = any(value.startswith("!") for _, value in call.query)
        if not order or negated or not names <= _ANSWERED_BY_SQL:
            dataset_id = call.value("dataSet") or call.value("dataSetId")
            return select(self.find(scope, dataset_id, call.value("batch")), call)
        where, values = _IN_SCOPE, [scope.org, scope.sandbox]
        for name, text in call.query:
            part, more = _condition(name, text)
            where, values = where + part, values + more
        page = [int(call.value("limit") or 20), int(call.value("start") or 0)]
        rows = self._store.connection.execute(
            f"SELECT {_COLUMNS} FROM commits WHERE {where}"
            f" ORDER BY committed {order}, batch_id {order} LIMIT ? OFFSET ?",
            [*values, *page],
        )
        return projected(dict(self._items(scope, rows)), call.value("properties"))

    def find(
        self, scope: Scope, dataset_id: str | None = None, batch_id: str | None = None
    ) -> Items:
        """Batches of the sandbox's data sets, newest first."""
        where, values = _IN_SCOPE, [scope.org, scope.sandbox]
        for column, value in (("dataset_id", dataset_id), ("batch_id", batch_id)):
            if value is not None:
                ids = value.split(",")
                where += f" AND {column} IN ({','.join('?' * len(ids))})"
                values += ids
        rows = self._store.connection.execute(
            f"SELECT {_COLUMNS} FROM commits WHERE {where} ORDER BY committed DESC, batch_id DESC",
            values,
        )
        return dict(self._items(scope, rows))

    def _items(self, scope: Scope, rows: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        datasets: dict[str, Mapping[str, Any]] = {}
        for row in rows:
            if row[2] not in datasets:
                found = self._store.get(scope, KIND, row[2])
                datasets[row[2]] = found.body if found else {}
            yield row[0], _batch(scope, row, json.loads(row[5]), datasets[row[2]])

    def files(
        self, scope: Scope, dataset_id: str | None, batch_id: str | None, kind: str | None = None
    ) -> Items:
        """Data set files by their ids, each made of batch and position; `kind`: only `good` or `failed` ones."""
        found: Items = {}
        for row in self._rows(scope, dataset_id, batch_id):
            if kind in (None, row[3]):
                found |= _files(scope, row, json.loads(row[5]))
        return found

    def location(self, scope: Scope, file_id: str) -> tuple[str, str, str] | None:
        """(data set, `good` or `failed`, location) of a data set file."""
        batch_id, _, number = file_id.rpartition("-")
        for row in self._rows(scope, None, batch_id) if batch_id and number.isdigit() else ():
            paths = json.loads(row[5])["files"]
            if int(number) < len(paths):
                return row[2], row[3], paths[int(number)]
        return None

    def sibling(self, scope: Scope, batch_id: str) -> str:
        """The batch of the same commit that holds the failed records; the batch itself when it is that, or alone."""
        row = self._store.connection.execute(
            "SELECT other.batch_id FROM commits AS mine JOIN commits AS other"
            " ON other.commit_id = replace(mine.commit_id, '-good', '-failed')"
            f" WHERE mine.batch_id=? AND mine.{_IN_SCOPE.split(' AND NOT')[0]}",
            (batch_id, scope.org, scope.sandbox),
        ).fetchone()
        return str(row[0]) if row else batch_id

    def _rows(self, scope: Scope, dataset_id: str | None, batch_id: str | None) -> Any:
        where = (
            "dataset_id IN (SELECT id FROM documents WHERE org=? AND sandbox=? AND kind='dataSets')"
        )
        values = [scope.org, scope.sandbox]
        for column, value in (("dataset_id", dataset_id), ("batch_id", batch_id)):
            if value is not None:
                where, values = f"{where} AND {column}=?", [*values, value]
        return self._store.connection.execute(
            f"SELECT {_COLUMNS} FROM commits WHERE {where} ORDER BY committed DESC", values
        )

    def moment(self, batch_id: str) -> int:
        """When a batch was committed, in milliseconds since the epoch."""
        row = self._store.connection.execute(
            "SELECT max(committed) FROM commits WHERE batch_id=?", (batch_id,)
        ).fetchone()
        return int(row[0] or 0)

    def newest(self, dataset_id: str) -> dict[str, Any]:
        """The keys of a data set that speak of its newest batches."""
        found: dict[str, Any] = {}
        newest = 0
        for kind, name in (("good", "lastSuccessfulBatch"), ("failed", "lastFailedBatch")):
            row = self._store.connection.execute(
                "SELECT batch_id, committed FROM commits WHERE dataset_id=? AND kind=?"
                " AND NOT (kind='good' AND json_extract(body, '$.records')=0)"
                " ORDER BY committed DESC LIMIT 1",
                (dataset_id, kind),
            ).fetchone()
            if row:
                found[name] = row[0]
                if row[1] >= newest:
                    newest = row[1]
                    status = "success" if kind == "good" else "failed"
                    found |= {"lastBatchId": row[0], "lastBatchStatus": status}
        return found


def _condition(name: str, text: str) -> tuple[str, list[Any]]:
    values = text.split(",")
    marks = ",".join("?" * len(values))
    if name in ("dataSet", "dataSetId"):
        return f" AND dataset_id IN ({marks})", [*values]
    if name == "batch":
        return f" AND batch_id IN ({marks})", [*values]
    if name == "status":
        return f" AND kind IN ({marks})", [_STATES.get(value, "none") for value in values]
    if name == "createdAfter":
        return " AND json_extract(body, '$.started')>?", [int(text)]
    if name == "createdBefore":
        return " AND json_extract(body, '$.started')<?", [int(text)]
    return "", []


def _files(scope: Scope, row: tuple[Any, ...], body: Mapping[str, Any]) -> Items:
    batch_id, _, dataset_id, kind, committed, _, _ = row
    return {
        f"{batch_id}-{number}": {
            "dataSetId": dataset_id,
            "batchId": batch_id,
            "name": path.rsplit("/", 1)[1],
            "format": "parquet",
            "recordsCount": body["records"] if kind == "good" else body["failed"],
            "size": body["bytes"],
            "isValid": kind == "good",
            "created": committed,
            "updated": committed,
            "imsOrg": scope.org,
            "version": "1.0.0",
        }
        for number, path in enumerate(body["files"])
    }


def _batch(
    scope: Scope, row: tuple[Any, ...], body: dict[str, Any], dataset: Mapping[str, Any]
) -> dict[str, Any]:
    _, flow_id, dataset_id, kind, committed, _, _ = row
    body = body | {"failed": max(0, body["failed"])}  # a replay takes failures of others back
    return {
        "imsOrg": scope.org,
        "sandboxId": dataset.get("sandboxId"),
        "created": body["started"],
        "updated": committed,
        "createdClient": dataset.get("createdClient"),
        "createdUser": dataset.get("createdUser"),
        "updatedUser": dataset.get("updatedUser"),
        "version": "1.0.0",
        "status": "success" if kind == "good" else "failed",
        "started": body["started"],
        "completed": committed,
        "relatedObjects": [{"type": "dataSet", "id": dataset_id}],
        "inputFormat": {"format": "json"},
        "recordCount": body["records"],
        "failedRecordCount": body["failed"],
        "metrics": {
            "startTime": body["started"],
            "endTime": committed,
            "recordsRead": body["records"] + body["failed"],
            "recordsWritten": body["records"],
            "inputRecordCount": body["records"] + body["failed"],
            "outputRecordCount": body["records"],
            "failedRecordCount": body["failed"],
            "invalidRecordCount": body["failed"],
            "inputByteSize": body["input_bytes"],
            "outputByteSize": body["bytes"],
            "outputFileCount": len(body["files"]),
        },
        "errors": body["errors"],
        "tags": {"flowId": [flow_id], "acp_producer": ["headrace"]},
    }
