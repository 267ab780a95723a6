"""What a restored data directory knows of its backup: records acknowledged after that are not in it."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

NAME = "restored.json"
_MOMENT = re.compile(r"(\d{13}):\d+:\d+")


@dataclass(frozen=True, slots=True)
class Restored:
    """`taken`: when the backup began; `restored`: when it was put back; milliseconds since the epoch."""

    taken: int
    restored: int

    def explains(self, receipt: str) -> bool:
        """Whether a receipt may have been given between backup and restore: some do not say when they were."""
        moment = _MOMENT.fullmatch(receipt)
        return moment is None or self.taken <= int(moment[1]) < self.restored

    def __str__(self) -> str:
        return (
            f"restored at {time_text(self.restored)} from a backup of {time_text(self.taken)}:"
            " what was acknowledged in between may be lost"
        )


def read(data_dir: Path) -> Restored | None:
    """The note that a restore leaves, None when there was none."""
    try:
        found = json.loads((data_dir / NAME).read_text())
        return Restored(int(found["taken"]), int(found["restored"]))
    except FileNotFoundError:
        return None


def time_text(ms: int) -> str:
    """Milliseconds since the epoch as ISO text in UTC."""
    return (
        datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    )
