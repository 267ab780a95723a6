"""A record is found in the bytes of its batch, whatever looks like the seam between two, or not at all."""

import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.log.locating import locate
from headrace.log.payloads import split_messages

MISLEADING = (
    "},{",
    "},",
    "{",
    "}]}",
    '"',
    '\\"},{\\"',
    "]}",
    '{"messages":[',
    "\\",
    "},{}",
    "\u2603},{",
    "x",
)


def text(pick: random.Random) -> str:
    return "".join(pick.choices(MISLEADING, k=pick.randrange(4)))


def value(pick: random.Random, depth: int = 0) -> object:
    kind = pick.randrange(3 if depth > 3 else 5)
    if kind == 3:
        return [value(pick, depth + 1) for _ in range(pick.randrange(4))]
    return record(pick, depth + 1) if kind == 4 else (None, 7, text(pick))[kind]


def record(pick: random.Random, depth: int = 0) -> dict[str, object]:
    return {text(pick): value(pick, depth) for _ in range(pick.randrange(5))}


def body_of(records: list[object], separators: tuple[str, str] = (",", ":")) -> bytes:
    return json.dumps({"messages": records}, separators=separators, ensure_ascii=False).encode()


def found_in(body: bytes, count: int, index: int) -> bytes | None:
    return locate(body, count, index, small=0)


@given(st.integers(0, 2**32))
@settings(max_examples=500, deadline=None)
def test_what_is_found_is_the_record_byte_for_byte(seed: int) -> None:
    pick = random.Random(seed)
    records: list[object] = [record(pick) for _ in range(pick.randrange(1, 12))]
    body = body_of(records, pick.choice([(",", ":"), (", ", ": ")]))
    expected = [bytes(raw) for raw in split_messages(body).messages]
    found = [found_in(body, len(records), index) for index in range(len(records))]
    assert all(one in (None, want) for one, want in zip(found, expected, strict=True))


@given(st.integers(0, 2**32))
@settings(max_examples=500, deadline=None)
def test_blanks_between_some_records_mislead_nobody(seed: int) -> None:
    pick = random.Random(seed)
    texts = [
        json.dumps(record(pick), separators=(",", ":"), ensure_ascii=False)
        + pick.choice(("", "", " "))
        for _ in range(pick.randrange(4, 9))
    ]
    body = ('{"messages":[' + ",".join(texts) + "]}").encode()
    expected = [bytes(raw) for raw in split_messages(body).messages]
    found = [found_in(body, len(texts), index) for index in range(len(texts))]
    assert all(one in (None, want) for one, want in zip(found, expected, strict=True))


def test_records_of_different_sizes_are_found_as_a_rule() -> None:
    choose = random.Random(7)
    records: list[object] = [
        {"id": n, "text": "x" * choose.randrange(100, 2000), "items": [{"a": 1}, {"b": 2}]}
        for n in range(200)
    ]
    body = body_of(records)
    expected = [bytes(raw) for raw in split_messages(body).messages]
    found = [found_in(body, len(records), index) for index in range(len(records))]
    assert sum(a == b for a, b in zip(found, expected, strict=True)) > 150


def test_a_body_of_another_form_is_left_to_the_splitter() -> None:
    records: list[object] = [{"id": n} for n in range(50)]
    assert found_in(b" " + body_of(records), 50, 20) is None
    assert found_in(body_of(records, (", ", ": ")), 50, 20) is None
