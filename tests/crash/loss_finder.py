"""Looks for lost records: random rounds of senders and faults, each followed by a verdict.

    scripts/crash --rounds 10 --seed 7 [--records 3000] [--keep DIR]

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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from headrace.testing.oracle import Findings
from tests.crash.rig import Rig, crash_points
from tests.crash.senders import KINDS

SEEDS = Path(__file__).with_name("seeds.txt")
ROUNDS_A_DIRECTORY = 20
"""Rounds on one data directory: later ones start from a table with history, and a verdict reads all of it."""
PATIENCE = 60.0


# -- faults -------------------------------------------------------------------------------------------------


def kill_server(rig: Rig, randomness: random.Random) -> None:
    rig.kill_server()
    time.sleep(randomness.choice((0.0, 0.5)))
    rig.launch()


def kill_worker(rig: Rig, randomness: random.Random) -> None:
    rig.kill_worker()


def kill_both(rig: Rig, randomness: random.Random) -> None:
    rig.kill_worker()
    rig.kill_server()
    rig.launch()


def kill_again_while_starting(rig: Rig, randomness: random.Random) -> None:
    rig.kill_server()
    try:
        rig.server.start(patience=randomness.uniform(0.3, 3.0))
    except RuntimeError:
        rig.kills += 1  # it was killed for want of patience
    else:
        rig.kill_server()
    rig.launch()


def reach_crash_point(rig: Rig, randomness: random.Random) -> None:
    point = randomness.choice(crash_points())
    most = 60 if point in ("log-before-write", "log-after-write", "log-after-sync") else 4
    rig.crash(point, randomness.randint(1, most))


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
    rig.launch()
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


FAULTS: dict[Callable[[Rig, random.Random], None], int] = {
    kill_server: 5, kill_worker: 5, kill_both: 3, kill_again_while_starting: 2, reach_crash_point: 8,
    pause_worker: 2, pause_server: 2, zombie_worker: 3, restart: 2, change_schema: 2, change_mapping: 2,
    disable_flow: 1, append_foreign: 2, second_server: 1,
}  # fmt: skip
"""How often each is drawn."""


# -- rounds -------------------------------------------------------------------------------------------------


@dataclass
class Round:
    """What happened in one round. `findings` are of the whole directory so far."""

    seed: int
    faults: list[str] = field(default_factory=list)
    records: int = 0
    kills: int = 0
    findings: Findings = field(default_factory=Findings)
    error: str = ""
    seconds: float = 0.0

    @property
    def well(self) -> bool:
        return not self.error and not self.findings.faults()

    def __str__(self) -> str:
        verdict = "ok" if self.well else f"FAILED {self.error} {self.findings}"
        return (
            f"seed {self.seed}: {self.records} records, {self.kills} kills, {self.seconds:.0f} s, "
            f"{' '.join(self.faults)}: {verdict}"
        )


def play(rig: Rig, seed: int, records: int) -> Round:
    """One round on a running server: senders, faults in the midst of them, quiet, verdict."""
    randomness = random.Random(seed)
    done, began, killed = Round(seed), time.monotonic(), rig.kills
    count = randomness.randint(2, 4)
    kinds = [randomness.choice(KINDS) for _ in range(count)]
    if set(kinds) == {"single"}:
        kinds[0] = "messages"
    poison = randomness.choice((0.0, 0.01, 0.1, 1.0))
    faults = randomness.choices(list(FAULTS), list(FAULTS.values()), k=randomness.randint(1, 4))
    budget = records // sum(kind != "single" for kind in kinds)
    for number, kind in enumerate(kinds):
        # single records are slow to send: they go on as long as the others do
        rig.send(
            f"s{seed}-{number}", kind, seed, poison=poison, largest=randomness.choice((5, 50, 200)),
            budget=None if kind == "single" else budget, timeout=2.0,
        )  # fmt: skip
    try:
        for fault in faults:
            time.sleep(randomness.uniform(0.0, 0.8))
            done.faults.append(fault.__name__)
            fault(rig, randomness)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if not any(sender.is_alive() for sender in rig.senders if sender.budget is not None):
                break
            time.sleep(0.05)
        done.records = rig.sent()
        done.findings = rig.verdict()
    except Exception as error:
        done.error = f"{type(error).__name__}: {error}"
        traceback.print_exc(file=sys.stderr)
    done.kills, done.seconds = rig.kills - killed, time.monotonic() - began
    return done


def rounds(number: int, seed: int, records: int, keep: Path | None) -> int:
    """Play rounds with seeds from `seed` on, print each and a summary; 0 when nothing was found."""
    print(f"seed {seed}, {number} rounds", flush=True)
    totals = dict.fromkeys(
        ("rounds", "kills", "records", "lost", "duplicated", "unexplained", "other"), 0
    )
    failing: list[int] = []
    rig: Rig | None = None
    root = keep or Path(tempfile.mkdtemp(prefix="headrace-crash-"))
    try:
        for n in range(number):
            if rig is None:
                rig = Rig(root / f"{seed + n}")
            done = play(rig, seed + n, records)
            print(done, flush=True)
            totals["rounds"] += 1
            totals["kills"] += done.kills
            totals["records"] += done.records
            for kind, found in done.findings.faults().items():
                totals[kind if kind in totals else "other"] += len(found)
            totals["other"] += bool(done.error)
            if not done.well:
                failing.append(done.seed)
            if not done.well or (n + 1) % ROUNDS_A_DIRECTORY == 0:
                rig.close()
                if done.well and keep is None:
                    shutil.rmtree(rig.root)
                rig = None
    except KeyboardInterrupt:
        print("interrupted")
    finally:
        if rig is not None:
            rig.close()
        if not failing and keep is None:
            shutil.rmtree(root)
    print(", ".join(f"{count} {name}" for name, count in totals.items()))
    if failing:
        print(f"failing seeds {failing}, data in {root}")
        with SEEDS.open("a") as file:
            file.writelines(f"{each} {records}\n" for each in failing)
    return 1 if failing else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/crash", description="Look for lost records.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--records", type=int, default=3000, help="records of a round")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep all data here")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    return rounds(options.rounds, options.seed, options.records, options.keep)


if __name__ == "__main__":
    sys.exit(main())
