"""Whether every record is accounted for: a flow's balance as a value, and how long one has been open."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Balance:
    """Records of one flow. `accepted`: those that we are answerable for; `again`: those of them that an operator had
    read once more; `landed` and `failed`: rows ever committed to either table; `filtered`: left out by the flow;
    `lost`: given up by an operator's command; `pending`: accepted and not committed yet."""

    accepted: int = 0
    again: int = 0
    landed: int = 0
    failed: int = 0
    filtered: int = 0
    lost: int = 0
    pending: int = 0

    @property
    def unexplained(self) -> int:
        """accepted + again - landed - failed - filtered - lost - pending; anything but 0 is a defect."""
        explained = self.landed + self.failed + self.filtered + self.lost + self.pending
        return self.accepted + self.again - explained

    def __str__(self) -> str:
        again = f" + {self.again} again" if self.again else ""
        lost = f" + {self.lost} lost" if self.lost else ""
        return (
            f"{self.unexplained} records are unexplained: {self.accepted} accepted{again}, but {self.landed} landed"
            f" + {self.failed} failed + {self.filtered} filtered{lost} + {self.pending} pending"
        )


TERMS = (
    ("accepted", "records acknowledged, or read from the source"),
    ("again", "records that were read once more on an operator's command"),
    ("landed", "records in the data set's table"),
    ("failed", "records in the failed table"),
    ("filtered", "records that the flow left out"),
    ("lost", "records given up on an operator's command"),
    ("pending", "records that wait in the log"),
    ("unexplained", "accepted and again less all others; 0 when all is well"),
)
"""Names of the terms with what they mean."""


def balance(
    logged: int,
    sequence: int,
    landed: int,
    failed: int,
    *,
    filtered: int = 0,
    again: int = 0,
    lost: int = 0,
) -> Balance:
    """`logged`: the flow's records in the log, ever; `sequence`: up to where they are committed. The lake may be ahead
    of a log that was restored from a backup, and pulled sources have no log: what is committed was accepted."""
    accepted = max(logged, sequence)
    return Balance(accepted, again, landed, failed, filtered, lost, accepted - sequence)


@dataclass
class OpenBalances:
    """Since when flows do not balance. `clock`: monotonic seconds."""

    clock: Callable[[], float]
    _since: dict[str, float] = field(default_factory=dict)

    def see(self, flow_id: str, found: Balance) -> None:
        """To be told of every balance when it changes, so that its age does not depend on who asks when."""
        if found.unexplained:
            self._since.setdefault(flow_id, self.clock())
        else:
            self._since.pop(flow_id, None)

    def overdue(self, patience: float) -> Mapping[str, float]:
        """Flows that have not balanced for more than `patience` seconds, with the seconds."""
        now = self.clock()
        return {id: now - since for id, since in self._since.items() if now - since > patience}
