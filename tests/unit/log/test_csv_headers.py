"""A row of CSV beside its header is what it was in the batch that it came in."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.log.payloads import (
    MOST_HEADER,
    DelimitedError,
    as_object,
    header_of,
    row_under,
    split_delimited,
)

CELLS = st.text(
    st.one_of(
        st.sampled_from("a,\"\r\n;'\\ \t\x0b\x0c\x1c\x85\u2028\ufeffé😀"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=6,
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """CSV of any form that the reader takes: quoted cells over several lines, short and long rows, blank lines."""
    names = draw(st.lists(CELLS.map(lambda n: f"n{n}"), min_size=1, max_size=4, unique=True))
    rows = draw(st.lists(st.lists(CELLS, max_size=5), max_size=5))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=quoting)
    writer.writerows([names, *rows])
    mark = draw(st.sampled_from(["", "\ufeff"]))
    return (mark + text.getvalue() + draw(st.sampled_from(["", end]))).encode()


@settings(max_examples=300, deadline=None)
@given(bodies())
def test_a_row_alone_under_its_header_is_the_object_that_it_was_in_its_batch(body: bytes) -> None:
    try:
        names, rows = split_delimited(body)
    except DelimitedError:
        return
    header = header_of(body)
    for original, cells in rows:
        assert row_under(header, original) == as_object(names, cells)
        assert original in body


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_character_that_some_take_for_a_line_end_stays_in_its_row(separator: str) -> None:
    body = f"id,n\na{separator}b,1\nc,2\n".encode()
    _, rows = split_delimited(body)
    assert [original for original, _ in rows] == [f"a{separator}b,1".encode(), b"c,2"]


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_header_is_kept_up_to_its_bound_and_not_beyond(quote: str, mark: str) -> None:
    def body(size: int) -> bytes:
        name = "é" * ((size - 2 * len(quote)) // 2)
        return f"{mark}{quote}{name}{quote}\r\n1\r\n".encode()

    assert len(header_of(body(MOST_HEADER)).encode()) == MOST_HEADER
    assert header_of(body(MOST_HEADER + 2)) == ""
    with pytest.raises(DelimitedError):
        row_under("", b"1")


def test_what_is_not_one_row_is_refused() -> None:
    for original in (b"1,2\n3,4", b"", b'"torn', b"\xff"):
        with pytest.raises((DelimitedError, UnicodeDecodeError)):
            row_under("a,b", original)
