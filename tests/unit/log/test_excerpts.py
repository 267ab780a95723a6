"""Records cut out of a large body are those that splitting it gives."""

import json
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from headrace.log.payloads import messages_near_an_end, split_messages

NAMES = st.sampled_from(["id", "a b", "messages", "{", "é", 'q"', "", "id2"])
TEXTS = st.sampled_from(['{"id":1}', '},{"id"', "]}", "\\", '"', "{", "", "x" * 300, "\n", "é"])
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(0, 9), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=4,
)
USUAL = st.one_of(st.integers(0, 9), TEXTS).map(lambda value: {"id": value, "text": "x" * 200})
RECORDS = st.one_of(
    *[USUAL] * 20,
    VALUES.map(lambda value: {"id": value}),
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.lists(st.just({"id": 1}), max_size=6).map(lambda items: {"id": 2, "items": items}),
    VALUES,
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])


def written(records: list[Any], separators: tuple[str, str] = (",", ":")) -> bytes:
    return json.dumps({"messages": records}, separators=separators, ensure_ascii=False).encode()


@settings(max_examples=300, deadline=None)
@given(st.data(), st.lists(RECORDS, min_size=1, max_size=30), SEPARATORS, st.integers(0, 2))
def test_a_record_that_is_cut_out_is_the_one_that_splitting_gives(
    data: st.DataObject, records: list[Any], separators: tuple[str, str], indent: int
) -> None:
    body = written(records, separators)
    if indent:
        body = json.dumps({"messages": records}, indent=indent).encode()
    indexes = sorted(data.draw(st.sets(st.integers(0, len(records) - 1), min_size=1, max_size=2)))
    found = messages_near_an_end(body, indexes, len(records))
    event(f"cut out: {found is not None}")
    messages = split_messages(body).messages
    assert found in (None, [bytes(messages[index]) for index in indexes])


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_what_is_far_from_a_record_is_not_read_for_it(separators: tuple[str, str]) -> None:
    """The other half is damaged, which nobody notices who does not read it."""
    records = [
        {"id": n, "text": "x" * (200 + n * 7 % 40), "items": [{"sku": 1}] * 3} for n in range(100)
    ]
    whole = written(records, separators)
    messages = split_messages(whole).messages
    damaged = len(whole) // 2
    for index in (*range(46), *range(56, 100)):
        body = bytearray(whole)
        body[damaged if index < 50 else damaged - 20] = 0
        assert messages_near_an_end(bytes(body), [index], 100) == [bytes(messages[index])]


@pytest.mark.parametrize("tail", [1, 2000])
def test_a_record_is_not_taken_for_another_where_lengths_are_very_different(tail: int) -> None:
    records = [{"id": n, "text": "x" * (tail if n > 9 else 2001 - tail)} for n in range(20)]
    body = written(records)
    messages = split_messages(body).messages
    for index in range(20):
        found = messages_near_an_end(body, [index], 20)
        assert found in (None, [bytes(messages[index])])


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[1,2,3,4,5,6]}',
        b'{"first":[{"id":1}],"messages":[{"id":1},{"id":2},{"id":3},{"id":4},{"id":5},{"id":6}]}',
    ],
    ids=["no objects", "another key before"],
)
def test_a_body_in_which_records_cannot_be_told_from_afar_has_to_be_split(body: bytes) -> None:
    assert [messages_near_an_end(body, [index], 6) for index in range(6)] == [None] * 6
