"""The page about parity says what is so."""

import pytest

from headrace.http.parity import Entry, listed, operation, page, state, unlisted
from tests.docs.parity_page import PAGE, routes


@pytest.fixture(scope="module")
def served() -> list[tuple[str, str]]:
    return routes()


def test_the_page_is_the_one_that_the_routes_give(served: list[tuple[str, str]]) -> None:
    assert PAGE.read_text("utf-8") == page(served), "run python -m tests.docs.parity_page"


def test_every_route_is_listed(served: list[tuple[str, str]]) -> None:
    assert unlisted(served) == []
    assert unlisted([*served, ("PUT", "/data/x/{id}")]) == [("PUT", "/data/x/{}")]


def test_our_own_operations_are_all_served(served: list[tuple[str, str]]) -> None:
    _, own = listed()
    there = {operation(method, path) for method, path in served}
    assert [one for entry in own for one in entry.operations if one not in there] == []


def test_what_is_absent_has_its_reason(served: list[tuple[str, str]]) -> None:
    lines = [line for line in page(served).splitlines() if "| absent |" in line]
    assert lines
    assert [line for line in lines if line.endswith("| absent |  |")] == []


def test_no_operation_is_listed_twice() -> None:
    services, own = listed()
    entries = [*(entry for service in services for entry in service.entries), *own]
    every = [one for entry in entries for one in entry.operations]
    assert sorted(every) == sorted(set(every))


def test_a_line_that_is_served_in_part_is_refused() -> None:
    entry = Entry((("GET", "/a"), ("GET", "/b")), "GET /(a|b)", "", "")
    assert state(entry, frozenset({("GET", "/a"), ("GET", "/b")})) == "implemented"
    assert state(entry, frozenset()) == "absent"
    with pytest.raises(ValueError, match="in part"):
        state(entry, frozenset({("GET", "/a")}))
