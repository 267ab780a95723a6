"""The function table: every function of the language by name."""

from collections.abc import Mapping
from types import MappingProxyType

from headrace.mapping.functions.definition import Context, Function, Parameter

__all__ = ["FUNCTIONS", "Context", "Function", "Parameter"]


def _table() -> Mapping[str, Function]:
    # Families use operators, which use a family: the table is put together when the package is complete.
    from headrace.mapping.functions import (
        aggregation,
        analytics,
        arrays,
        conversion,
        dates,
        hashing,
        json,
        logical,
        maps,
        objects,
        regular_expressions,
        special,
        string,
        urls,
        user_agent,
    )

    families = (
        string, regular_expressions, hashing, urls, dates, objects, arrays, maps, logical, aggregation,
        conversion, json, special, user_agent, analytics,
    )  # fmt: skip
    return MappingProxyType({f.name: f for family in families for f in family.FUNCTIONS})


FUNCTIONS: Mapping[str, Function] = _table()
