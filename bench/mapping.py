"""The mapping language: generated code, the tree-walking evaluator and the straightforward way, on the same rules.

Straightforward: orjson to dicts, a hand-written Python function for each rule, fastjsonschema, `from_pylist`. All
three run in one process, in turn, from JSON bytes to an Arrow table of validated rows. Prints events per second and
core and the ratios, the time to compile a mapping of 500 rules, and the greatest resident memory as records pass.

    python bench/mapping.py [--events 10000] [--rounds 3] [--records 100000]
"""

import argparse
import hashlib
import resource
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import fastjsonschema
import orjson
import pyarrow as pa
from closures import reader, row_of
from events import events
from pipeline import TEN, THIRTY, Fields, json_schema, tree_of

from headrace.log.frames import MESSAGES, Frame, Meta
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.pipeline import Pipeline
from headrace.xdm.arrow import arrow_type
from headrace.xdm.fields import Field

STRING, LONG = Field("string"), Field("long")
Run = Callable[[list[bytes]], pa.Table]
Expression = tuple[str, str, Field, Callable[[Any], Any]]
"""Target, text in the mapping language, field, and the same by hand."""

THREE: list[Expression] = [
    ("person.name.fullName", 'concat(customer.firstName, " ", customer.lastName)', STRING,
     lambda r: r["customer"]["firstName"] + " " + r["customer"]["lastName"]),
    ("personalEmail.address", "lower(customer.email)", STRING, lambda r: r["customer"]["email"].lower()),
    ("loyalty.status", 'iif(customer.loyalty.points > 50000, "gold", customer.loyalty.tier)',
     Field("string", enum=("gold", "silver", "bronze")),
     lambda r: "gold" if r["customer"]["loyalty"]["points"] > 50000 else r["customer"]["loyalty"]["tier"]),
]  # fmt: skip
TEN_EXPRESSIONS: list[Expression] = [
    *THREE,
    ("person.birthDate", 'date(customer.birthDate, "yyyy-MM-dd")', Field("date"),
     lambda r: datetime.strptime(r["customer"]["birthDate"], "%Y-%m-%d").date()),
    ("commerce.order.cents", "to_bigint(order.total * 100)", LONG, lambda r: int(r["order"]["total"] * 100)),
    ("commerce.order.itemTotal", "order.items[0].price * order.items[0].qty", Field("number"),
     lambda r: r["order"]["items"][0]["price"] * r["order"]["items"][0]["qty"]),
    ("commerce.order.number", 'last(split(order.id, "-"))', STRING, lambda r: r["order"]["id"].split("-")[-1]),
    ("identity.hash", "sha256(lower(customer.email))", STRING,
     lambda r: hashlib.sha256(r["customer"]["email"].lower().encode()).hexdigest()),
    ("device.label", 'concat(upper(device.type), ":", device.screen.w, "x", device.screen.h)', STRING,
     lambda r: f"{r['device']['type'].upper()}:{r['device']['screen']['w']}x{r['device']['screen']['h']}"),
    ("homeAddress.short", "trim(left(customer.address.street, 8))", STRING,
     lambda r: r["customer"]["address"]["street"][:8].strip()),
]  # fmt: skip


def attributes(fields: Fields, count: int, expressions: list[Expression]) -> Fields:
    """The first `count` fields that no expression writes."""
    written = {target for target, *_ in expressions}
    return [field for field in fields if field[0] not in written][:count]


def schema_of(fields: Fields, expressions: list[Expression]) -> Field:
    return tree_of([*fields, *((target, text, leaf) for target, text, leaf, _ in expressions)])


def pipeline_of(fields: Fields, expressions: list[Expression]) -> Pipeline:
    rules = [Rule("ATTRIBUTE", source, target) for target, source, _ in fields]
    rules += [Rule("EXPRESSION", text, target) for target, text, _, _ in expressions]
    schema = schema_of(fields, expressions).to_json()
    return Pipeline(
        FlowRevision("flow", 1, "org", "prod", "dataset", "schema", "1.0", schema, tuple(rules))
    )


def generated(fields: Fields, expressions: list[Expression]) -> Run:
    pipeline = pipeline_of(fields, expressions)
    assert pipeline.generated is not None, pipeline.plain_because
    return running(pipeline)


def tree_walking(fields: Fields, expressions: list[Expression]) -> Run:
    pipeline = pipeline_of(fields, expressions)
    pipeline.generated = None
    return running(pipeline)


def running(pipeline: Pipeline) -> Run:
    def run(bodies: list[bytes]) -> pa.Table:
        batch = pipeline.batch(False)
        for number, body in enumerate(bodies):
            meta = Meta(MESSAGES, "flow", 1, number * 100, "r")
            batch.add(Frame(number * 100, 100, 0, meta, body))
        table = batch.good("batch")
        assert table is not None
        assert not batch.failures
        assert not batch.warnings
        return table.drop(["_acp_system_metadata"])

    return run


def straightforward(fields: Fields, expressions: list[Expression]) -> Run:
    tree = schema_of(fields, expressions)
    validate = fastjsonschema.compile(json_schema(tree))
    schema = pa.schema(list(arrow_type(tree)))

    rules = [(target.split("."), reader(source, leaf)) for target, source, leaf in fields]
    rules += [(target.split("."), by_hand) for target, _, _, by_hand in expressions]

    def run(bodies: list[bytes]) -> pa.Table:
        rows = []
        for body in bodies:
            for record in orjson.loads(body)["messages"]:
                row = row_of(rules, record)
                validate(row)
                rows.append(row)
        return pa.Table.from_pylist(rows, schema=schema)

    return run


def frames(records: list[bytes]) -> list[bytes]:
    """Message bodies of 100 records each."""
    return [
        b'{"messages":[' + b",".join(records[n : n + 100]) + b"]}"
        for n in range(0, len(records), 100)
    ]


def compare(name: str, fields: Fields, expressions: list[Expression], count: int, rounds: int) -> None:  # fmt: skip
    ways = {
        "generated": generated(fields, expressions),
        "tree-walking": tree_walking(fields, expressions),
        "straightforward": straightforward(fields, expressions),
    }
    bodies = frames(events(count))
    shown = [way(bodies[:1]) for way in ways.values()]
    columns = sorted(shown[0].column_names)
    assert [table.select(columns).to_pylist() for table in shown[1:]] == [
        shown[0].select(columns).to_pylist()
    ] * 2, "the three ways differ"
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            begin = time.process_time()
            run(bodies)
            times[way].append(time.process_time() - begin)
    rate = {way: count / statistics.median(taken) for way, taken in times.items()}
    best = {way: count / min(taken) for way, taken in times.items()}
    print(f"{name}, {len(fields) + len(expressions)} fields, {len(expressions)} expressions:")
    for way in ways:
        print(f"  {way:<16} {rate[way]:>9,.0f} events/s and core   (best round {best[way]:>9,.0f})")
    for other in ("straightforward", "tree-walking"):
        print(f"  {rate['generated'] / rate[other]:.1f} times {other}")


def compile_time(count: int = 500) -> None:
    expressions = [text for _, text, _, _ in TEN_EXPRESSIONS if "date(" not in text]
    leaves = {f"f{n}": STRING for n in range(count)}
    rules = tuple(
        Rule("EXPRESSION", expressions[n % len(expressions)], f"f{n}")
        if n % 3 == 0
        else Rule("ATTRIBUTE", f"group{n % 20}.field{n}", f"f{n}")
        for n in range(count)
    )
    schema = Field("object", properties=leaves).to_json()
    taken = []
    for _ in range(3):
        begin = time.process_time()
        pipeline = Pipeline(
            FlowRevision("flow", 1, "org", "prod", "dataset", "schema", "1.0", schema, rules)
        )
        taken.append(time.process_time() - begin)
        assert pipeline.generated is not None
    print(f"compiling {count} rules: {statistics.median(taken):.3f} s")


def memory(records: int, batch: int = 10_000) -> None:
    """The greatest resident set after a tenth of the records and after all of them."""
    run = generated(attributes(TEN, 7, THREE), THREE)
    bodies = frames(events(batch))
    done, begin = 0, time.process_time()
    marks = [max(batch, records // 10), records]
    for mark in marks:
        while done < mark:
            run(bodies)
            done += batch
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"after {done:>10,} records: at most {megabytes:,.0f} MB resident")
    print(f"  {done / (time.process_time() - begin):,.0f} events/s and core on the way")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=100_000, help="records of the memory test")
    options = parser.parse_args()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    print(f"{started}, {options.events} events, {options.rounds} rounds in turn, CPU time of one process")  # fmt: skip
    compare("first", attributes(TEN, 7, THREE), THREE, options.events, options.rounds)
    compare(
        "second",
        attributes(THIRTY, 20, TEN_EXPRESSIONS),
        TEN_EXPRESSIONS,
        options.events,
        options.rounds,
    )
    compile_time()
    memory(options.records)


if __name__ == "__main__":
    main()
