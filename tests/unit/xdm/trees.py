"""Hypothesis strategies: field trees, valid records of a tree, records with anything in them, grown trees."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from headrace.xdm.fields import Field

NAMES = st.sampled_from(["a", "b", "c", "d", "name", "_id", "two words", "ü"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
    | st.sampled_from(["", 0.5, 2**31, -129, "gold", "x@y", "2024-02-30", "2024-02-29T10:00:00Z", "2024-02-29", "2024-01-01T00:00:00.5+02:00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def scalars() -> st.SearchStrategy[Field]:
    return st.one_of(
        st.sampled_from(["string", "boolean", "number", "byte", "short", "int", "long", "date", "date-time"]).map(Field),
        st.just(Field("string", enum=("gold", "silver"))),
        st.just(Field("string", pattern="^[a-z]+$", max_length=5)),
        st.just(Field("string", format="email")),
        st.just(Field("int", minimum=3, maximum=9)),
        st.just(Field("number", minimum=-1.5)),
    )  # fmt: skip


@st.composite
def objects(draw: st.DrawFn, depth: int = 2) -> Field:
    properties = draw(st.dictionaries(NAMES, fields(depth), min_size=1, max_size=5))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True, max_size=2))
    return Field("object", properties=properties, required=tuple(required))


def fields(depth: int) -> st.SearchStrategy[Field]:
    if depth == 0:
        return scalars()
    inner = fields(depth - 1)
    return st.one_of(
        scalars(),
        objects(depth - 1),
        inner.map(lambda f: Field("array", items=f)),
        inner.map(lambda f: Field("map", values=f)),
    )


def records(field: Field) -> st.SearchStrategy[Any]:
    """Values that fit the field, some parts left out or null."""
    if field.kind == "object":
        return st.fixed_dictionaries(
            {name: records(field.properties[name]) for name in field.required},
            optional={
                name: records(child) | st.none()
                for name, child in field.properties.items()
                if name not in field.required
            },
        )
    if field.kind == "array" and field.items:
        return st.lists(records(field.items), max_size=3)
    if field.kind == "map" and field.values:
        return st.dictionaries(
            st.sampled_from(["k", "k 2", "ß"]), records(field.values), max_size=2
        )
    return _scalar(field)


def _scalar(field: Field) -> st.SearchStrategy[Any]:
    bounds = {"byte": 7, "short": 15, "int": 31, "long": 63}
    if field.enum:
        return st.sampled_from(field.enum)
    if field.pattern:
        return st.sampled_from(["a", "xyz"])
    if field.format:
        return st.just("a@b")
    if field.kind in bounds:
        power = 2 ** bounds[field.kind]
        low = -power if field.minimum is None else int(field.minimum)
        high = power - 1 if field.maximum is None else int(field.maximum)
        return st.integers(low, high) | st.sampled_from([low, high])
    if field.kind == "number":
        return st.floats(
            min_value=field.minimum, allow_nan=False, allow_infinity=False
        ) | st.integers(0, 9)
    return {
        "string": st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6),
        "boolean": st.booleans(),
        "date": st.dates().map(str),
        "date-time": st.sampled_from(
            ["2024-02-29T10:00:00Z", "2024-02-29T10:00:00.123Z", "2024-02-29T10:00:00.123456+05:30", "1969-12-31T23:59:59Z"]
        ),
    }[field.kind]  # fmt: skip


@st.composite
def grown(draw: st.DrawFn, field: Field, depth: int = 2) -> Field:
    """The field with optional parts added anywhere below it: what evolution allows."""
    if field.kind == "array" and field.items:
        return replace(field, items=draw(grown(field.items, depth - 1)))
    if field.kind == "map" and field.values:
        return replace(field, values=draw(grown(field.values, depth - 1)))
    if field.kind != "object":
        return field
    kept = {name: draw(grown(child, depth - 1)) for name, child in field.properties.items()}
    names = st.sampled_from(["new1", "new2", "neu ü"])
    added = draw(st.dictionaries(names, fields(max(depth - 1, 0)), max_size=2))
    return replace(field, properties={**kept, **{n: f for n, f in added.items() if n not in kept}})
