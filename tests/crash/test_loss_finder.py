"""Random rounds: seeds that once failed, and new ones."""

import os
import random
from pathlib import Path

import pytest

from tests.crash.loss_finder import SEEDS, kill_both, play
from tests.crash.rig import Rig

ROUNDS = int(os.environ.get("HEADRACE_TEST_ROUNDS", "3"))
SEED = int(os.environ.get("HEADRACE_TEST_SEED", str(random.randrange(2**31))))


def known_seeds() -> list[tuple[int, int]]:
    """(seed, records) of each line of the file."""
    lines = [line.split("#")[0].split() for line in SEEDS.read_text().splitlines()]
    return [(int(line[0]), int(line[1])) for line in lines if line]


def test_p1_p2_p3_p5_hold_when_server_and_worker_are_killed_and_after_a_clean_stop(
    tmp_path: Path,
) -> None:
    """A short round: the long ones are `./scripts/test -m slow tests/crash` and `./scripts/crash`."""
    rig = Rig(tmp_path)
    try:
        rig.send("first", "lines", SEED, poison=0.3, budget=200)
        done = play(rig, SEED, 400, faults=1, among={kill_both: 1})
        assert done.well, str(done)
        assert done.kills > 0
        assert rig.server.stop() == 0
        rig.launch(soon=True)
        findings = rig.verdict()
        assert findings.faults() == {}
        assert findings.acknowledged > 100
        assert findings.landed > 0
        assert findings.failed > 0
    finally:
        rig.close()


@pytest.mark.slow
@pytest.mark.timeout(300 + 300 * ROUNDS)
def test_p1_p2_p3_p5_hold_in_random_rounds(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    try:
        for seed in range(SEED, SEED + ROUNDS):
            done = play(rig, seed, 1000)
            print(done)
            assert done.well, str(done)
            assert done.findings.acknowledged > 0
        assert rig.verdict().faults() == {}
    finally:
        rig.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "records"), known_seeds())
def test_a_seed_that_once_failed_is_well(tmp_path: Path, seed: int, records: int) -> None:
    rig = Rig(tmp_path)
    try:
        done = play(rig, seed, records)
        assert done.well, str(done)
    finally:
        rig.close()
