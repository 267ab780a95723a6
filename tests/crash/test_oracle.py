"""The oracle sees each kind of fault: a judge that finds nothing proves nothing."""

from pathlib import Path

import pytest

from headrace.testing.oracle import Answer, Attempt, Oracle, Row, balance, compare

PART = "inlet-0"


def attempt(answer: Answer = Answer.ACKNOWLEDGED, **more: frozenset[int]) -> Attempt:
    return Attempt("s", 0, 3, answer, **more)


def rows(*serials: int, first_offset: int = 0) -> list[Row]:
    return [Row(f"s:{n}", PART, first_offset + i) for i, n in enumerate(serials)]


def test_each_acknowledged_record_once_is_well() -> None:
    found = compare([attempt(poison=frozenset({1}))], [Row("s:0", PART, 0), Row("s:2", PART, 2)], [Row("s:1", PART, 1)])  # fmt: skip
    assert found.faults() == {}
    assert (found.attempted, found.acknowledged, found.landed, found.failed) == (3, 3, 2, 1)


@pytest.mark.parametrize("answer", list(Answer))
def test_a_missing_row_is_a_loss_only_when_it_was_acknowledged(answer: Answer) -> None:
    found = compare([attempt(answer)], rows(0, 2) if answer is not Answer.REFUSED else [], [])
    assert found.lost == (["s:1"] if answer is Answer.ACKNOWLEDGED else [])


def test_a_record_without_an_answer_may_land_once_and_not_twice() -> None:
    assert compare([attempt(Answer.UNKNOWN)], rows(0, 1, 2), []).faults() == {}
    again = [*rows(0, 1, 2), Row("s:1", PART, 9)]
    assert compare([attempt(Answer.UNKNOWN)], again, []).faults() == {"duplicated": ["s:1"]}


def test_a_record_in_both_tables_is_a_duplicate() -> None:
    found = compare([attempt()], rows(0, 1, 2), [Row("s:1", PART, 7)])
    assert found.duplicated == ["s:1"]


def test_rows_that_nobody_sent_and_refused_records_that_landed_are_unexplained() -> None:
    found = compare([attempt(refused=frozenset({2}))], [*rows(0, 1, 2), Row("x:0", PART, 5)], [])
    assert found.unexplained == ["s:2 (refused)", "x:0"]
    assert compare([attempt(Answer.REFUSED)], rows(0), []).unexplained == ["s:0 (refused)"]


def test_poison_that_landed_and_good_records_that_failed_are_misplaced() -> None:
    found = compare(
        [attempt(poison=frozenset({0}))], rows(0), [Row("s:1", PART, 1), Row("s:2", PART, 2)]
    )
    assert found.misplaced == ["s:0", "s:1", "s:2"]


def test_offsets_must_ascend_in_the_order_of_acknowledgement_and_be_unique() -> None:
    assert compare([attempt()], rows(0, 2, 1), []).disordered == ["s:2 at 1"]
    second = Attempt("s", 3, 1, Answer.ACKNOWLEDGED)
    early = [*rows(0, 1, 2, first_offset=5), Row("s:3", PART, 4)]
    assert compare([attempt(), second], early, []).disordered == ["s:3 at 4"]
    other = Attempt("t", 0, 1, Answer.ACKNOWLEDGED)
    same = [*rows(0, 1, 2), Row("t:0", PART, 1)]
    assert compare([attempt(), other], same, []).disordered == [f"2 rows at {(PART, 1)}"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"accepted": 4.0}, "accepted 4"), ({"unexplained": 1.0}, "1 unexplained"),
        ({"pending": 2.0, "accepted": 5.0}, "2 pending"), ({"landed": 1.0}, "landed 1, rows 2"),
        ({"failed": 0.0}, "failed 0, rows 1"),
    ],
)  # fmt: skip
def test_a_balance_that_does_not_add_up_is_named(change: dict[str, float], text: str) -> None:
    measured = {"accepted": 3.0, "landed": 2.0, "failed": 1.0, "pending": 0.0, "unexplained": 0.0}
    foreign = Row("f:0", None, 0)
    found = compare([attempt()], [*rows(0, 1), foreign], [Row("s:2", PART, 2)])
    assert balance(measured, found, foreign=1) == []
    assert any(text in line for line in balance(measured | change, found, foreign=1))


def test_the_account_outlives_its_process(tmp_path: Path) -> None:
    oracle = Oracle(tmp_path / "o.db")
    first = oracle.attempt("s", 0, 2, {1})
    oracle.attempt("s", 2, 1)
    oracle.answer(first, Answer.ACKNOWLEDGED, [0])
    oracle.close()
    known = Oracle(tmp_path / "o.db").attempts()
    assert known == [
        Attempt("s", 0, 2, Answer.ACKNOWLEDGED, frozenset({1}), frozenset({0})),
        Attempt("s", 2, 1, Answer.UNKNOWN),
    ]
    assert [known[0].verdict(n) for n in (0, 1)] == [Answer.REFUSED, Answer.ACKNOWLEDGED]
