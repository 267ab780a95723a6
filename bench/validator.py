"""Validation alone: the compiled validator against fastjsonschema on the same decoded records.

The schema has about 60 leaves of every kind, nested, with formats, bounds, enumerations, arrays and a map. Both
check the same; ours also brings values into the form that columns are built from. Prints records per second and
core, and the ratio.

    python bench/validator.py [--records 5000] [--rounds 7]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import fastjsonschema
import orjson

from headrace.runtime.validator import validator
from headrace.xdm.fields import INTEGER_BOUNDS, Field

TEXT = Field("string")
ADDRESS = Field("object", properties={
    "street": TEXT, "city": TEXT, "postalCode": Field("string", max_length=12), "country": TEXT,
    "primary": Field("boolean"), "lastVerified": Field("date"),
})  # fmt: skip
PHONE = Field("object", properties={
    "number": TEXT, "countryCode": TEXT, "primary": Field("boolean"),
    "status": Field("string", enum=("active", "incomplete", "blocked")),
})  # fmt: skip
ITEM = Field("object", properties={
    "SKU": TEXT, "name": TEXT, "quantity": Field("int", minimum=0), "priceTotal": Field("number", minimum=0),
    "currencyCode": Field("string", enum=("EUR", "USD", "GBP")),
})  # fmt: skip
TREE = Field("object", required=("_id", "timestamp"), properties={
    "_id": TEXT, "timestamp": Field("date-time"), "eventType": TEXT, "producedBy": TEXT,
    "person": Field("object", properties={
        "name": Field("object", properties=dict.fromkeys(("firstName", "lastName", "middleName", "suffix"), TEXT)),
        "birthDate": Field("date"), "birthYear": Field("short", minimum=1, maximum=32767),
        "gender": Field("string", enum=("male", "female", "not_specified")),
    }),
    "personalEmail": Field("object", properties={
        "address": Field("string", format="email"), "primary": Field("boolean"), "type": TEXT}),
    "homeAddress": ADDRESS, "workAddress": ADDRESS, "mobilePhone": PHONE, "homePhone": PHONE,
    "loyalty": Field("object", required=("points",), properties={
        "points": Field("long", minimum=0), "tier": Field("string", enum=("gold", "silver")), "joined": Field("date-time")}),
    "commerce": Field("object", properties={"order": Field("object", properties={
        "purchaseID": TEXT, "priceTotal": Field("number"), "currencyCode": TEXT, "createdDate": Field("date-time")})}),
    "productListItems": Field("array", items=ITEM),
    "identityMap": Field("map", values=Field("array", items=Field("object", properties={
        "id": TEXT, "primary": Field("boolean"), "authenticatedState": Field("string", enum=("ambiguous", "authenticated"))}))),
    "device": Field("object", properties={
        "type": TEXT, "model": TEXT, "screenWidth": Field("int"), "screenHeight": Field("int")}),
    "web": Field("object", properties={
        "webPageDetails": Field("object", properties={"URL": TEXT, "name": TEXT, "loadTime": Field("number")}),
        "webReferrer": Field("object", properties={"URL": TEXT, "type": TEXT})}),
    "tags": Field("array", items=TEXT),
})  # fmt: skip


def json_schema(field: Field) -> dict[str, Any]:
    """The field as JSON Schema, strict about unknown keys as the platform is."""
    if field.kind == "object":
        children = {name: json_schema(child) for name, child in field.properties.items()}
        return {
            "type": "object", "properties": children, "required": list(field.required),
            "additionalProperties": False,
        }  # fmt: skip
    if field.kind == "array" and field.items:
        return {"type": "array", "items": json_schema(field.items)}
    if field.kind == "map" and field.values:
        return {"type": "object", "additionalProperties": json_schema(field.values)}
    kinds = {"number": "number", "boolean": "boolean"} | dict.fromkeys(INTEGER_BOUNDS, "integer")
    out: dict[str, Any] = {"type": kinds.get(field.kind, "string")}
    if field.kind in ("date", "date-time"):
        out["format"] = field.kind
    if field.kind in INTEGER_BOUNDS:
        out["minimum"], out["maximum"] = INTEGER_BOUNDS[field.kind]
    given = {
        "enum": field.enum and list(field.enum), "format": field.format, "minimum": field.minimum,
        "maximum": field.maximum, "maxLength": field.max_length,
    }  # fmt: skip
    return out | {key: value for key, value in given.items() if value is not None}


def leaves(field: Field) -> int:
    below = (*field.properties.values(), *filter(None, (field.items, field.values)))
    return sum(map(leaves, below)) if below else 1


def sample(field: Field, n: int) -> Any:
    if field.kind == "object":
        return {name: sample(child, n) for name, child in field.properties.items()}
    if field.kind == "array" and field.items:
        return [sample(field.items, n + k) for k in range(2)]
    if field.kind == "map" and field.values:
        return {"Email": sample(field.values, n)}
    if field.kind in INTEGER_BOUNDS:
        return 1 + n % 100
    return {
        "string": field.enum[n % len(field.enum)] if field.enum else "a@example.com" if field.format else f"text {n}",
        "boolean": n % 2 == 0, "number": n + 0.25, "date": "2024-02-29", "date-time": "2024-02-29T12:30:00.250Z",
    }[field.kind]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    texts = [orjson.dumps(sample(TREE, n)) for n in range(options.records)]
    ours, theirs = validator(TREE), fastjsonschema.compile(json_schema(TREE))
    broken = orjson.loads(texts[0]) | {"device": {"screenWidth": "wide"}}
    assert ours(orjson.loads(texts[0]))[1] == []
    assert ours(broken)[1] != []
    theirs(orjson.loads(texts[0]))
    print(f"{leaves(TREE)} leaves, records of {sum(map(len, texts)) // len(texts)} bytes")

    def seconds(check: Callable[[Any], Any]) -> float:
        records = [orjson.loads(text) for text in texts]
        began = time.process_time()
        for record in records:
            check(record)
        return time.process_time() - began

    times = [(seconds(ours), seconds(theirs)) for _ in range(options.rounds)]
    ratios = [b / a for a, b in times]
    for name, taken in (
        ("headrace", [a for a, _ in times]),
        ("fastjsonschema", [b for _, b in times]),
    ):
        print(f"{name:15} {options.records / statistics.median(taken):10,.0f} records/s and core")
    print(
        f"ratio {statistics.median(ratios):.2f} (least {min(ratios):.2f}, most {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
