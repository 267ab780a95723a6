"""The account of every flow, from three sources that know nothing of one another: the log's frames, the tables'
rows, the rows of commits. Watermarks are what they are held against.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from headrace.runtime.balance import Balance
from headrace.runtime.replay_requests import OPEN
from headrace.services.operator.doctor.checks import Fault

ROLLED_BACK = "rolled_back"
"""The code of a table that was taken back behind its commits."""


@dataclass(slots=True)
class Account:
    """One flow. `logged`: records ever accepted, as the log tells; `waiting`: records that lie in the log behind the
    position; `sequence`: records up to the watermark; `offsets`: where that stands in each partition of the source.
    `rows` and `failed_rows` are counted, `landed` and `failed` are what watermarks say, `noted` what rows of commits say
    (landed, failed); `written`: whether the newest commit has its row.

    `again` and `lost`: records that an operator had read once more or passed over; `gone` and `failed_gone`: rows that
    a table once had and lost when it was rolled back or dropped. `leaving`: failed rows that a replay has landed and not
    taken out yet; `replaying`: the newest commit is a replay's. `dropped`: its data set was deleted, so that only what
    commits say is known. `broken`: why its table cannot be held against anything; `uncounted`: why rows were not
    counted; `ahead`: of rows beyond the watermark."""

    flow_id: str
    name: str | None = None
    logged: int = 0
    waiting: int = 0
    sequence: int = 0
    position: int = 0
    offsets: dict[str, int] = field(default_factory=dict)
    landed: int = 0
    failed: int = 0
    rows: int = 0
    failed_rows: int = 0
    noted: tuple[int, int] = (0, 0)
    written: bool = True
    again: int = 0
    lost: int = 0
    gone: int = 0
    failed_gone: int = 0
    leaving: int = 0
    replaying: bool = False
    dropped: bool = False
    broken: list[Fault] = field(default_factory=list)
    uncounted: list[Fault] = field(default_factory=list)
    ahead: list[Fault] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        return max(self.logged, self.sequence)

    @property
    def balance(self) -> Balance:
        """The terms, of which `pending` is counted in the log and not inferred from the others."""
        return Balance(
            self.accepted, self.again, self.landed, self.failed, 0, self.lost, self.waiting
        )

    @property
    def unwritten(self) -> bool:
        """Whether a server that was stopped may have left this: a commit without its row."""
        landed, failed = self.noted
        return (
            not self.written and landed <= self.landed and (failed <= self.failed or self.replaying)
        )

    def faults(self, *, running: bool, replayed: bool = False) -> list[Fault]:
        """What does not add up. `replayed`: failed rows come and go beside us and are not compared."""
        if self.broken:
            return self.broken
        found = [*self.uncounted, *self.ahead]
        if self.balance.unexplained:
            found.append(Fault("unbalanced", str(self.balance)))
        failed = self.failed - self.failed_gone + self.leaving
        for what, counted, said in (
            ("rows", self.rows, self.landed - self.gone),
            ("failed rows", failed if replayed else self.failed_rows, failed),
        ):
            if counted != said and not self.dropped and not self.uncounted:
                text = f"{counted} {what} in the table, its watermark counts {said}"
                found.append(Fault("rows_differ", text))
        if self.noted != (self.landed, self.failed) and (running or not self.unwritten):
            text = (
                f"commits add up to {self.noted[0]} landed and {self.noted[1]} failed, watermarks to {self.landed}"
                f" and {self.failed}: the store has too few or too many rows of commits"
            )
            found.append(Fault("commits_differ", text))
        return found

    def __str__(self) -> str:
        """The balance with every number."""
        again = f" + {self.again} again" if self.again else ""
        lost = f" + {self.lost} lost" if self.lost else ""
        terms = self.balance
        return (
            f"{terms.accepted} accepted{again} = {terms.landed} landed + {terms.failed} failed +"
            f" {terms.filtered} filtered{lost} + {terms.pending} pending"
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay that has not come to its end, or did so badly. `batches`: those it began and may not have ended."""

    id: str
    flow_id: str
    state: str
    selected: int | None
    landed: int
    batches: frozenset[str]

    @property
    def begun(self) -> bool:
        return self.selected is not None


@dataclass(slots=True)
class Books:
    """`strays`: rows that belong to no flow's account; `foreign`: rows that others appended; `revisions`: (flow,
    revision) of waiting records; `replays`: those that are under way; `damage`: what is wrong with the log, `passed`:
    what of it is missing and had landed; `torn`: bytes of its end that were never acknowledged."""

    accounts: dict[str, Account] = field(default_factory=dict)
    strays: list[Fault] = field(default_factory=list)
    foreign: int = 0
    revisions: set[tuple[str, int]] = field(default_factory=set)
    replays: dict[str, Replay] = field(default_factory=dict)
    damage: list[Fault] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    torn: int = 0
    segments: int = 0
    frames: int = 0

    def of(self, flow_id: str) -> Account:
        return self.accounts.setdefault(flow_id, Account(flow_id))

    def begun(self, flow_id: str) -> frozenset[str]:
        """Batches whose rows a replay of the flow may have landed and not taken out of the failed table."""
        mine = (each.batches for each in self.replays.values() if each.flow_id == flow_id)
        return frozenset().union(*mine)

    def faults(self, *, running: bool) -> dict[str, list[Fault]]:
        """What does not add up, by flow."""
        found = {}
        for flow_id, account in self.accounts.items():
            replayed = running and any(
                each.flow_id == flow_id and each.state in OPEN for each in self.replays.values()
            )
            if faults := account.faults(running=running, replayed=replayed):
                found[flow_id] = faults
        return found

    def well(self, *, running: bool) -> bool:
        """Whether there is nothing that a moment's difference between the parts might explain; that a table was rolled
        back is certain at once."""
        faults = (fault for each in self.faults(running=running).values() for fault in each)
        return not (self.strays or self.damage or any(f.code != ROLLED_BACK for f in faults))


def as_json(account: Account, faults: list[Fault]) -> dict[str, Any]:
    """An account's terms and what they were counted from, for programs."""
    terms = asdict(account.balance) | {"unexplained": account.balance.unexplained}
    return {
        "id": account.flow_id, "name": account.name, **terms,
        "rows": account.rows, "failedRows": account.failed_rows, "rowsGone": account.gone,
        "failedRowsGone": account.failed_gone, "failedRowsLeaving": account.leaving,
        "commits": {"landed": account.noted[0], "failed": account.noted[1]},
        "partitions": account.offsets, "dataSetDeleted": account.dropped,
        "faults": [asdict(fault) for fault in faults],
    }  # fmt: skip
