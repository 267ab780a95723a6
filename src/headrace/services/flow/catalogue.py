"""Routes of the specifications: read, search, and what only partners may do with them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Answer, Call
from headrace.http.paging import ordered
from headrace.http.properties import Selection, select
from headrace.services.flow import query, wire
from headrace.services.flow.faults import connector, invalid, missing


class Catalogue:
    """One kind of specification. `unknown_field` is the code for a filter on a field there is not."""

    def __init__(self, kind: str, items: Sequence[dict[str, Any]], unknown_field: int) -> None:
        self._kind, self._items, self._unknown = kind, items, unknown_field
        self._by_id = {item["id"]: item for item in items}

    def one(self, call: Call) -> Answer:
        return wire.one(self._find(call))

    def listed(self, call: Call) -> Answer:
        """All that the filters accept, in one page."""
        unknown = sorted({name for name, _ in call.query} - {"property"})
        if unknown:
            raise invalid(1451, f"Unknown query parameter: {', '.join(unknown)}.")
        return wire.whole(self._chosen(call.values("property")))

    def search(self, call: Call) -> Answer:
        """The same by a body; `groupByProperty` puts those with equal values next to one another."""
        wanted = query.of_search(call, wire.SPEC_FIELDS)
        group = call.object().get("groupByProperty") if call.body.strip() else None
        if group is not None and wanted.after is None:
            text = ",".join(filter(None, (str(group), wanted.order_text)))
            order = query.ordering(text, wire.SPEC_FIELDS)
            wanted = replace(wanted, order_text=text, order=order)
        found = self._accepted(wanted.selection)
        return query.answer(
            f"/{self._kind}/search",
            wanted,
            lambda: iter(ordered(found, wanted.order, wanted.after)),
        )

    def refuse_writing(self, call: Call) -> Answer:
        """Specifications come with the connectors."""
        if "id" in call.params:
            self._find(call)
        raise invalid(1426, f"Users cannot write {self._kind}.")

    def refuse_exploring(self, call: Call) -> Answer:
        found = self._find(call)
        raise connector(1372, f"{found['name']} cannot be explored by its specification.")

    def refuse_configs(self, call: Call) -> Answer:
        found = self._find(call)
        raise connector(1398, f"{found['name']} has no configurations.")

    def _find(self, call: Call) -> dict[str, Any]:
        found = self._by_id.get(call.params["id"])
        if found is None:
            raise missing(self._kind, call.params["id"])
        return found

    def _chosen(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        try:
            chosen = select(texts, wire.SPEC_FIELDS)
        except ApiError as error:
            if error.code == "FLOW-1449-400":
                raise invalid(self._unknown, error.detail) from None
            raise
        return [chosen.project(item) for item in self._accepted(chosen)]

    def _accepted(self, chosen: Selection) -> list[dict[str, Any]]:
        return [item for item in self._items if chosen.accepts(item)]
