"""The calls of a client that sets a dataflow up, in the order of the streaming tutorial."""

import time
from dataclasses import dataclass
from typing import Any

import httpx

HTTP_SPEC = {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"}
LAKE_SPEC = {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c", "version": "1.0"}
FLOW_SPEC_NAME = "Steam data with transformation"
XDM = "https://ns.adobe.com/xdm/context"

RULES = [
    ("ATTRIBUTE", "id", "_id"),
    ("EXPRESSION", 'date(date, "yyyyMMdd")', "timestamp"),
    ("STATIC", "commerce.purchases", "eventType"),
    ("ATTRIBUTE", "id", "commerce.order.purchaseID"),
    ("ATTRIBUTE", "value", "commerce.order.priceTotal"),
    ("STATIC", "USD", "commerce.order.currencyCode"),
    ("EXPRESSION", "1", "commerce.purchases.value"),
    ("STATIC", "CD", "productListItems[0].SKU"),
    ("EXPRESSION", "to_integer(cds)", "productListItems[0].quantity"),
    ("ATTRIBUTE", "value", "productListItems[0].priceTotal"),
    ("ATTRIBUTE", "customer", "identityMap.CustomerId[0].id"),
    ("EXPRESSION", "true", "identityMap.CustomerId[0].primary"),
]
"""(source type, source, destination) of each mapping rule."""


@dataclass(slots=True)
class Dataflow:
    inlet_url: str
    dataset_id: str
    dataset_name: str
    flow_id: str

    @property
    def batch_url(self) -> str:
        return self.inlet_url.replace("/collection/", "/collection/batch/")


class Refused(Exception):
    """The server refused a call; the text has its answer."""


class Platform:
    """A client with the credentials of a data directory."""

    def __init__(self, credentials: dict[str, str]) -> None:
        self.base_url = credentials["base_url"]
        self.http = httpx.Client(base_url=self.base_url, timeout=60)
        form = {"grant_type": "client_credentials", "scope": credentials["scopes"]}
        form |= {key: credentials[key] for key in ("client_id", "client_secret")}
        token = self._answer(self.http.post("/ims/token/v3", data=form))["access_token"]
        self.http.headers.update(
            {
                "Authorization": f"Bearer {token}",
                "x-api-key": credentials["client_id"],
                "x-gw-ims-org-id": credentials["org_id"],
                "x-sandbox-name": credentials["sandbox"],
            }
        )

    @staticmethod
    def _answer(response: httpx.Response) -> Any:
        if response.status_code >= 400:
            raise Refused(f"{response.request.method} {response.request.url.path}: {response.text}")
        return response.json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._answer(self.http.post(path, json=body))

    def get(self, path: str, **query: str) -> Any:
        return self._answer(self.http.get(path, params=query))

    def create_dataflow(self) -> Dataflow:
        """Connection, source, schema, data set, target, mapping, flow: everything before the first event."""
        name = f"CDNOW purchases {time.strftime('%Y-%m-%d %H:%M:%S')}"
        flow_service = "/data/foundation/flowservice"
        connection = self.post(
            f"{flow_service}/connections",
            {
                "name": name,
                "connectionSpec": HTTP_SPEC,
                "auth": {
                    "specName": "Streaming Connection",
                    "params": {"dataType": "raw", "name": name, "sourceId": "cdnow"},
                },
            },
        )
        item = self.get(f"{flow_service}/connections/{connection['id']}")["items"][0]
        source = self.post(
            f"{flow_service}/sourceConnections",
            {
                "name": name,
                "baseConnectionId": connection["id"],
                "connectionSpec": HTTP_SPEC,
                "data": {"format": "json"},
            },
        )
        references = [f"{XDM}/experienceevent", f"{XDM}/experienceevent-commerce"]
        schema = self.post(
            "/data/foundation/schemaregistry/tenant/schemas",
            {"title": name, "type": "object", "allOf": [{"$ref": id} for id in references]},
        )
        reference = {
            "id": schema["$id"],
            "contentType": "application/vnd.adobe.xed-full+json;version=1",
        }
        created = self.post(
            "/data/foundation/catalog/dataSets", {"name": name, "schemaRef": reference}
        )
        dataset_id = created[0].removeprefix("@/dataSets/")
        target = self.post(
            f"{flow_service}/targetConnections",
            {
                "name": name,
                "connectionSpec": LAKE_SPEC,
                "data": {"format": "parquet_xdm"},
                "params": {"dataSetId": dataset_id},
            },
        )
        mapping = self.post(
            "/data/foundation/conversion/mappingSets",
            {
                "version": 0,
                "outputSchema": {"schemaRef": reference},
                "mappings": [
                    {"sourceType": kind, "source": source_text, "destination": destination}
                    for kind, source_text, destination in RULES
                ],
            },
        )
        specs = self.get(f"{flow_service}/flowSpecs", property=f'name=="{FLOW_SPEC_NAME}"')
        flow = self.post(
            f"{flow_service}/flows",
            {
                "name": name,
                "flowSpec": {"id": specs["items"][0]["id"], "version": "1.0"},
                "sourceConnectionIds": [source["id"]],
                "targetConnectionIds": [target["id"]],
                "transformations": [
                    {"name": "Mapping", "params": {"mappingId": mapping["id"], "mappingVersion": 0}}
                ],
            },
        )
        return Dataflow(item["auth"]["params"]["inletUrl"], dataset_id, name, flow["id"])

    def counters(self, flow_id: str) -> tuple[int, int]:
        """(landed, failed) over all runs of a flow."""
        runs = self.get(
            "/data/foundation/flowservice/runs", property=f"flowId=={flow_id}", limit="100"
        )
        records = [run["metrics"]["recordSummary"] for run in runs["items"]]
        return (
            sum(r["outputRecordCount"] for r in records),
            sum(r["failedRecordCount"] for r in records),
        )
