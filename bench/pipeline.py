"""Pipeline alone: records to Arrow columns, against the straightforward way.

Straightforward: orjson to dicts, closures that walk each record for each rule, fastjsonschema, `from_pylist`.
Both run the same rules in the same process, in turn. Prints events per second and core, and the ratio.

    python bench/pipeline.py [--events 20000] [--rounds 5]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import fastjsonschema
import orjson
import pyarrow as pa
from closures import reader, row_of
from events import events

from headrace.log.frames import MESSAGES, Frame, Meta
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.pipeline import Pipeline
from headrace.xdm.arrow import arrow_type
from headrace.xdm.fields import Field

STRING = Field("string")
TEN = [
    ("_id", "eventId", STRING),
    ("timestamp", "ts", Field("date-time")),
    ("person.name.firstName", "customer.firstName", STRING),
    ("person.name.lastName", "customer.lastName", STRING),
    ("personalEmail.address", "customer.email", STRING),
    ("loyalty.status", "customer.loyalty.tier", Field("string", enum=("gold", "silver", "bronze"))),
    ("loyalty.points", "customer.loyalty.points", Field("long", minimum=0)),
    ("homeAddress.city", "customer.address.city", STRING),
    ("commerce.order.priceTotal", "order.total", Field("number", minimum=0)),
    ("web.webPageDetails.URL", "page.url", STRING),
]
THIRTY = [
    *TEN,
    ("eventType", "type", STRING),
    ("personID", "customer.id", STRING),
    ("mobilePhone.number", "customer.phone", STRING),
    ("person.birthDate", "customer.birthDate", Field("date")),
    ("homeAddress.street1", "customer.address.street", STRING),
    ("homeAddress.postalCode", "customer.address.postalCode", STRING),
    ("homeAddress.countryCode", "customer.address.country", STRING),
    ("device.type", "device.type", STRING),
    ("environment.operatingSystem", "device.os", STRING),
    ("device.screenWidth", "device.screen.w", Field("int")),
    ("device.screenHeight", "device.screen.h", Field("int")),
    ("environment.browserDetails.userAgent", "device.ua", STRING),
    ("web.webPageDetails.name", "page.title", STRING),
    ("web.webReferrer.URL", "page.referrer", STRING),
    ("web.webPageDetails.loadTime", "page.loadMs", Field("number")),
    ("commerce.order.purchaseID", "order.id", STRING),
    ("commerce.order.currencyCode", "order.currency", STRING),
    ("consents.marketing", "consent.marketing", Field("boolean")),
    ("consents.analytics", "consent.analytics", Field("boolean")),
    ("identity.email", "customer.email", STRING),
]
Fields = list[tuple[str, str, Field]]


def tree_of(fields: Fields) -> Field:
    root: dict[str, Any] = {}
    for path, _, leaf in fields:
        *parents, last = path.split(".")
        node = root
        for step in parents:
            node = node.setdefault(step, {})
        node[last] = leaf

    def build(node: dict[str, Any], required: tuple[str, ...] = ()) -> Field:
        properties = {n: c if isinstance(c, Field) else build(c) for n, c in node.items()}
        return Field("object", properties=properties, required=required)

    return build(root, ("_id", "timestamp"))


def json_schema(field: Field) -> dict[str, Any]:
    if field.kind == "object":
        children = {n: json_schema(c) for n, c in field.properties.items()}
        return {"type": "object", "properties": children, "required": list(field.required)}
    kinds = {"number": "number", "boolean": "boolean", "long": "integer", "int": "integer"}
    out: dict[str, Any] = {"type": kinds.get(field.kind, "string")}
    if field.kind in ("date", "date-time"):
        return {}
    if field.enum:
        out["enum"] = list(field.enum)
    if field.minimum is not None:
        out["minimum"] = field.minimum
    return out


def straightforward(fields: Fields) -> Callable[[list[bytes]], pa.Table]:
    tree = tree_of(fields)
    validate = fastjsonschema.compile(json_schema(tree))
    kind = arrow_type(tree)
    schema = pa.schema(list(kind))

    rules = [(target.split("."), reader(source, leaf)) for target, source, leaf in fields]

    def run(records: list[bytes]) -> pa.Table:
        rows = []
        for text in records:
            record = orjson.loads(text)
            row = row_of(rules, record)
            validate(row)
            rows.append(row)
        return pa.Table.from_pylist(rows, schema=schema)

    return run


def generated(fields: Fields) -> Callable[[list[bytes]], pa.Table]:
    rules = tuple(Rule("ATTRIBUTE", source, target) for target, source, _ in fields)
    revision = FlowRevision(
        "flow", 1, "org", "prod", "dataset", "schema", "1.0", tree_of(fields).to_json(), rules
    )
    pipeline = Pipeline(revision)
    assert pipeline.generated is not None, pipeline.plain_because

    def run(bodies: list[bytes]) -> pa.Table:
        batch = pipeline.batch(False)
        for number, body in enumerate(bodies):
            batch.add(
                Frame(number * 100, 100, 0, Meta(MESSAGES, "flow", 1, number * 100, "r"), body)
            )
        table = batch.good("batch")
        assert table is not None
        assert not batch.failures
        return table

    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    records = events(options.events)
    size = sum(map(len, records)) / len(records)
    bodies = [
        b'{"messages":[' + b",".join(records[n : n + 100]) + b"]}"
        for n in range(0, len(records), 100)
    ]
    print(
        f"{len(records)} events of {size:.0f} bytes, {options.rounds} rounds in turn, CPU time of one process"
    )
    for name, fields in (("10 fields", TEN), ("30 fields", THIRTY)):
        plain, fast = straightforward(fields), generated(fields)
        a = plain(records[:200])
        b = fast([b'{"messages":[' + b",".join(records[:100]) + b"]}"]).drop(
            ["_acp_system_metadata"]
        )
        columns = sorted(a.column_names)
        assert a.slice(0, 100).select(columns).to_pylist() == b.select(columns).to_pylist()
        times: dict[str, list[float]] = {"plain": [], "fast": []}
        for _ in range(options.rounds):
            for key, run, data in (("plain", plain, records), ("fast", fast, bodies)):
                start = time.process_time()
                run(data)
                times[key].append(time.process_time() - start)
        rate = {key: len(records) / statistics.median(values) for key, values in times.items()}
        print(
            f"{name}: straightforward {rate['plain']:>9,.0f}/s   headrace {rate['fast']:>9,.0f}/s   "
            f"ratio {rate['fast'] / rate['plain']:.1f}"
        )


if __name__ == "__main__":
    main()
