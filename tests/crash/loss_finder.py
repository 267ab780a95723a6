"""Looks for lost records: random rounds of senders and faults, each followed by a verdict.

    scripts/crash --rounds 10 --seed 7 [--records 20000] [--faults 8] [--keep DIR]
    scripts/crash --rounds 120 --seed 1 --records 100000      # about a thousand kills, ten million records

A round is decided by its seed alone, apart from the scheduling of processes. Seeds of rounds that failed are
added to seeds.txt, which a test runs again.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.testing.oracle import Findings
from tests.crash.rig import Rig, crash_points
from tests.crash.senders import KINDS

SEEDS = Path(__file__).with_name("seeds.txt")
ROUNDS_A_DIRECTORY = 20
"""Rounds on one data directory: later ones start from a table with history, and a verdict reads all of it."""
PATIENCE = 60.0
LARGEST = 5000
"""Records of the largest requests, which then have about half of the bytes that the inlet takes."""


# -- faults -------------------------------------------------------------------------------------------------


def kill_server(rig: Rig, randomness: random.Random) -> None:
    rig.kill_server()
    time.sleep(randomness.choice((0.0, 0.0, 0.3)))
    rig.launch(soon=True)


def kill_worker(rig: Rig, randomness: random.Random) -> None:
    rig.kill_worker()


def kill_both(rig: Rig, randomness: random.Random) -> None:
    rig.kill_worker()
    rig.kill_server()
    rig.launch(soon=True)


def kill_again_while_starting(rig: Rig, randomness: random.Random) -> None:
    rig.kill_server()
    try:
        rig.server.start(patience=randomness.uniform(0.3, 3.0))
    except RuntimeError:
        rig.kills += 1  # it was killed for want of patience
    else:
        rig.kill_server()
    rig.launch(soon=True)


def reach_crash_point(rig: Rig, randomness: random.Random) -> None:
    """Mostly one of those that every batch passes: the others are met now and then only, and cost the waiting."""
    rare = [point for point in crash_points() if point not in USUAL]
    point = randomness.choice(USUAL if randomness.random() < 0.9 else rare)
    most = 20 if point in USUAL[:3] else 3
    rig.crash(point, randomness.randint(1, most), patience=6.0)


def pause_worker(rig: Rig, randomness: random.Random) -> None:
    rig.signal_worker(signal.SIGSTOP)
    try:
        time.sleep(randomness.uniform(0.2, 3.0))
    finally:
        rig.signal_worker(signal.SIGCONT)


def pause_server(rig: Rig, randomness: random.Random) -> None:
    os.kill(rig.pid, signal.SIGSTOP)
    try:
        time.sleep(randomness.uniform(0.2, 3.0))
    finally:
        os.kill(rig.pid, signal.SIGCONT)


def zombie_worker(rig: Rig, randomness: random.Random) -> None:
    """The worker is believed dead with its server, and comes back beside another."""
    zombie = rig.signal_worker(signal.SIGSTOP)
    rig.kill_server()
    if zombie is None:
        rig.launch()
        return
    back = threading.Timer(randomness.uniform(1.0, 6.0), os.kill, (zombie, signal.SIGCONT))
    back.start()
    rig.launch(soon=True)
    back.join()


def restart(rig: Rig, randomness: random.Random) -> None:
    status = rig.server.stop()
    rig.launch()
    assert status == 0, f"a clean stop ended with status {status}"


def change_schema(rig: Rig, randomness: random.Random) -> None:
    rig.widen_schema()


def change_mapping(rig: Rig, randomness: random.Random) -> None:
    rig.change_mapping()


def disable_flow(rig: Rig, randomness: random.Random) -> None:
    rig.set_enabled(False)
    if randomness.random() < 0.5:
        kill_server(rig, randomness)
    time.sleep(0.3)
    rig.set_enabled(True)


def append_foreign(rig: Rig, randomness: random.Random) -> None:
    for _ in range(randomness.randint(1, 4)):
        rig.append_foreign(randomness.randint(1, 20))


def take_table_away(rig: Rig, randomness: random.Random) -> None:
    """The flow is left behind; if a new worker opens it meanwhile it stops, and the next one goes on."""
    rig.take_table_away(randomness.uniform(0.3, 3.0))
    time.sleep(randomness.choice((0.0, 1.5)))
    rig.kill_worker()


def second_server(rig: Rig, randomness: random.Random) -> None:
    """Also while the first one does not answer: a paused process owns its directory still."""
    paused = randomness.random() < 0.5
    if paused:
        os.kill(rig.pid, signal.SIGSTOP)
    try:
        done = rig.second_server()
    finally:
        os.kill(rig.pid, signal.SIGCONT)
    assert done.returncode not in (0, None), "a second server ran on the same directory"
    assert b"another process serves" in done.stderr, done.stderr.decode()


USUAL = (
    "log-before-write", "log-after-write", "log-after-sync", "log-rotated", "after-failed-commit", "after-data-file",
    "after-good-commit", "worker-after-commit",
)  # fmt: skip
Fault = Callable[[Rig, random.Random], None]
FAULTS: dict[Fault, int] = {
    kill_server: 14, kill_worker: 4, kill_both: 14, kill_again_while_starting: 8, reach_crash_point: 7,
    pause_worker: 1, pause_server: 1, zombie_worker: 2, restart: 1, change_schema: 1, change_mapping: 1,
    disable_flow: 1, append_foreign: 2, second_server: 1, take_table_away: 2,
}  # fmt: skip
"""How often each is drawn."""


# -- rounds -------------------------------------------------------------------------------------------------


@dataclass
class Round:
    """What happened in one round. `findings` are of what was sent in it, and of the whole directory when they name
    a fault."""

    seed: int
    faults: list[str] = field(default_factory=list)
    records: int = 0
    kills: int = 0
    findings: Findings = field(default_factory=Findings)
    error: str = ""
    seconds: float = 0.0
    judging: float = 0.0
    """Seconds until all had landed and was compared."""

    @property
    def well(self) -> bool:
        return not self.error and not self.findings.faults()

    def __str__(self) -> str:
        verdict = "ok" if self.well else f"FAILED {self.error} {self.findings}"
        return (
            f"seed {self.seed}: {self.records} records, {self.kills} kills, {self.seconds:.0f} s (judging {self.judging:.0f}), "
            f"{', '.join(self.faults)}: {verdict}"
        )


@dataclass
class Totals:
    """Of all rounds so far; `records` were sent, `acknowledged` of them owed."""

    rounds: int = 0
    kills: int = 0
    records: int = 0
    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    unexplained: int = 0
    other: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, done: Round) -> None:
        self.rounds += 1
        self.kills += done.kills
        self.records += done.records
        self.acknowledged += done.findings.acknowledged
        self.other += bool(done.error)
        for kind, found in done.findings.faults().items():
            name = kind if kind in ("lost", "duplicated", "unexplained") else "other"
            setattr(self, name, getattr(self, name) + len(found))

    def __str__(self) -> str:
        minutes = (time.monotonic() - self.began) / 60
        names = (
            "rounds",
            "kills",
            "records",
            "acknowledged",
            "lost",
            "duplicated",
            "unexplained",
            "other",
        )
        counted = ", ".join(f"{getattr(self, name)} {name}" for name in names)
        rates = (
            f"{self.kills / minutes:.0f} kills and {self.records / minutes:.0f} records a minute"
        )
        return f"{counted}; {minutes:.1f} minutes, {rates}"


def play(
    rig: Rig, seed: int, records: int, faults: int = 4, among: Mapping[Fault, int] = FAULTS
) -> Round:
    """One round on a running server: senders, at most so many faults in the midst of them, quiet, verdict."""
    randomness = random.Random(seed)
    done, began, killed = Round(seed), time.monotonic(), rig.kills
    kinds = [randomness.choice(KINDS) for _ in range(randomness.randint(2, 3))]
    if set(kinds) == {"single"}:
        kinds[0] = "messages"
    poison = randomness.choice((0.0, 0.01, 0.1, 1.0))
    drawn = randomness.choices(
        list(among), list(among.values()), k=randomness.randint((faults + 1) // 2, faults)
    )
    budget = records // sum(kind != "single" for kind in kinds)
    for number, kind in enumerate(kinds):
        # single records are slow to send: they go on as long as the others do
        largest = min(randomness.choice((5, 50, 200, 2000)) * max(1, records // 5000), LARGEST)
        rig.send(
            f"s{seed}-{number}", kind, seed, poison=poison, largest=largest,
            budget=None if kind == "single" else budget, timeout=2.0,
        )  # fmt: skip
    try:
        for fault in drawn:
            # the next one while the server starts, or when it has landed something
            time.sleep(randomness.uniform(0.0, randomness.choice((0.1, 0.5, 2.5))))
            started = time.monotonic()
            fault(rig, randomness)
            done.faults.append(f"{fault.__name__} {time.monotonic() - started:.1f}")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if not any(sender.is_alive() for sender in rig.senders if sender.budget is not None):
                break
            time.sleep(0.05)
        done.records = rig.sent()
        judged = time.monotonic()
        done.findings = rig.verdict(whole=False)
        done.judging = time.monotonic() - judged
    except Exception as error:
        done.error = f"{type(error).__name__}: {error}"
        traceback.print_exc(file=sys.stderr)
    done.kills, done.seconds = rig.kills - killed, time.monotonic() - began
    return done


def rounds(number: int, seed: int, records: int, keep: Path | None, faults: int = 8) -> int:
    """Play rounds with seeds from `seed` on, print each and the totals after it; 0 when nothing was found.

    A directory serves several rounds; after the last of them all that is in it is judged once more.
    """
    print(f"seed {seed}, {number} rounds", flush=True)
    totals = Totals()
    failing: list[int] = []
    rig: Rig | None = None
    root = keep or Path(tempfile.mkdtemp(prefix="headrace-crash-"))
    try:
        for n in range(number):
            if rig is None:
                settings = {
                    "HEADRACE_LOG_SEGMENT_BYTES": str(max(40_000, 10 * records)),
                    "HEADRACE_COMMIT_ROWS": str(max(100, records // 40)),
                }
                rig = Rig(root / f"{seed + n}", **settings)
            done = play(rig, seed + n, records, faults)
            last = n + 1 == number or (n + 1) % ROUNDS_A_DIRECTORY == 0
            if done.well and last:
                found = rig.verdict()
                if found.faults():
                    done.findings = found
            totals.add(done)
            print(done, f"  {totals}", sep="\n", flush=True)
            if not done.well:
                failing.append(done.seed)
            if not done.well or last:
                rig.close()
                if done.well and keep is None:
                    shutil.rmtree(rig.root, ignore_errors=True)
                rig = None
    except KeyboardInterrupt:
        print("interrupted")
    finally:
        if rig is not None:
            rig.close()
        if not failing and keep is None:
            shutil.rmtree(root, ignore_errors=True)  # a worker may be ending still
    print(totals)
    if failing:
        print(f"failing seeds {failing}, data in {root}")
        with SEEDS.open("a") as file:
            file.writelines(f"{each} {records}\n" for each in failing)
    return 1 if failing else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/crash", description="Look for lost records.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--records", type=int, default=20_000, help="records of a round")
    parser.add_argument("--faults", type=int, default=8, help="most faults of a round")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep all data here")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    return rounds(options.rounds, options.seed, options.records, options.keep, options.faults)


if __name__ == "__main__":
    sys.exit(main())
