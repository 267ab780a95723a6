"""The page of promises names tests that exist, and has every fault once."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROW = re.compile(r"^\| (\d+) \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`((?:test|check)_\w+)`( \(slow\))?")


def everyday_and_slow() -> tuple[set[str], set[str]]:
    """Names of the tests and of the checks of sources; those whose own decorators say that they are slow."""
    names, slow = set[str](), set[str]()
    paths = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "src/headrace/testing").glob("*.py")]
    for path in paths:
        text = path.read_text()
        whole = re.search(r"^pytestmark = .*slow", text, re.MULTILINE) is not None
        for found in re.finditer(
            r"((?:^@.*\n(?:^[ )\]].*\n)*)*)^def ((?:test|check)_\w+)", text, re.MULTILINE
        ):
            names.add(found[2])
            if whole or re.search(r"^@pytest\.mark\.slow", found[1], re.MULTILINE):
                slow.add(found[2])
    return names, slow


def test_each_test_that_the_page_names_exists_and_runs_when_the_page_says() -> None:
    names, slow = everyday_and_slow()
    named = NAMED.findall(PAGE)
    assert len(named) > 40
    assert [name for name, _ in named if name not in names] == []
    assert [name for name, mark in named if (name in slow) != bool(mark)] == []


def test_each_fault_has_its_row_and_a_test_of_the_everyday_suite() -> None:
    rows = {int(number): text for number, text in ROW.findall(PAGE)}
    assert sorted(rows) == list(range(1, 35))
    only_slow = [n for n, text in rows.items() if all(mark for _, mark in NAMED.findall(text))]
    assert only_slow == []
