"""The balance of a flow: what it says, how long it may be open, and what breaks it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.lake.watermark import Watermark, key
from headrace.log.writer import LogWriter
from headrace.runtime.balance import TERMS, Balance, OpenBalances, balance
from headrace.runtime.metrics import DataPlane, exposition
from headrace.runtime.supervisor import Supervisor
from tests.unit.services.test_operator import Site

counts = st.integers(0, 10**6)


@given(counts, counts, counts, counts, counts, counts)
def test_whatever_became_of_every_committed_record_nothing_is_unexplained(
    landed: int, failed: int, filtered: int, lost: int, pending: int, again: int
) -> None:
    again = min(again, landed + failed)
    sequence = landed + failed + filtered + lost - again
    found = balance(
        sequence + pending, sequence, landed, failed, filtered=filtered, again=again, lost=lost
    )
    assert found.unexplained == 0
    assert (found.accepted, found.pending) == (sequence + pending, pending)


@given(counts, counts, counts, st.integers(-100, 100))
def test_a_count_that_is_off_by_n_leaves_n_unexplained(
    landed: int, failed: int, pending: int, off: int
) -> None:
    landed = landed + 100
    sequence = landed + failed
    assert balance(sequence + pending, sequence, landed - off, failed).unexplained == off


def test_a_log_that_is_behind_the_lake_accepts_nothing_less() -> None:
    """It was restored from an older backup, or the source is pulled and there is none."""
    assert balance(3, 10, 9, 1) == Balance(accepted=10, landed=9, failed=1)


def test_the_age_of_an_open_balance_counts_from_when_it_opened_and_ends_when_it_closes() -> None:
    now = 100.0
    open_balances = OpenBalances(lambda: now)
    wrong, right = balance(5, 5, 3, 1), balance(5, 5, 4, 1)
    open_balances.see("f", wrong)
    now = 130.0
    open_balances.see("f", wrong)
    open_balances.see("g", right)
    assert open_balances.overdue(60) == {}
    now = 161.0
    assert open_balances.overdue(60) == {"f": 61.0}
    open_balances.see("f", right)
    assert open_balances.overdue(0) == {}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def test_a_watermark_that_was_changed_outside_is_told_after_a_minute_with_numbers_until_it_is_right(
    site: Site,
) -> None:
    now = 0.0
    site.supervisor = supervisor = Supervisor(site.data_dir, 0, 1, clock=lambda: now)
    supervisor.ready = True
    for n in range(3):
        site.one(f"r{n}")
    site.land()
    accepted = {"f": 3}
    assert supervisor.reasons(accepted, 300) == []
    table = site.lake.table("prod", "d")
    right = table.metadata.properties[key("f")]
    wrong = replace(Watermark.from_text(right), landed=1)

    def put(text: str) -> None:
        with site.lake.table("prod", "d").transaction() as transaction:
            transaction.set_properties({key("f"): text})
        assert site.worker is not None
        site.worker.reader.close()
        site.worker = None  # the next one reads the watermark
        site.land()

    put(wrong.to_text())
    assert supervisor.reasons(accepted, 300) == [], "it may be a passing moment"
    now = 61.0
    (reason,) = supervisor.reasons(accepted, 300)
    assert reason["reason"] == "balance"
    assert (
        "flow f: 2 records are unexplained: 3 accepted, but 1 landed + 0 failed" in reason["detail"]
    )
    assert metrics(supervisor, site)["unexplained"] == 2
    put(right)
    assert supervisor.reasons(accepted, 300) == []
    assert metrics(supervisor, site) == {
        "accepted": 3, "again": 0, "landed": 3, "failed": 0, "filtered": 0, "lost": 0, "pending": 0,
        "unexplained": 0,
    }  # fmt: skip
    site.close()


def metrics(supervisor: Supervisor, site: Site) -> dict[str, float]:
    """The terms of flow f as `/metrics` has them."""

    async def scrape() -> str:
        log = LogWriter(site.data_dir / "log")
        text = exposition(DataPlane(log, supervisor, dict)).decode()
        await log.close()
        return text

    lines = asyncio.run(scrape()).splitlines()
    found = {line.split("{")[0]: float(line.split()[1]) for line in lines if 'flow="f"' in line}
    return {name: found[f"headrace_flow_{name}"] for name, _ in TERMS}
