"""The CDNOW purchase history: 69,659 transactions of 23,570 customers, 1997 and 1998.

The file comes inside the PyPI wheel `Lifetimes` 0.11.3, which is downloaded once and only read.
"""

import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

WHEEL = "Lifetimes==0.11.3"
MEMBER = "lifetimes/datasets/CDNOW_master.txt"


@dataclass(frozen=True, slots=True)
class Purchase:
    """`number` is its line in the file, the first purchase being 1; `day` is yyyymmdd; `value` is in dollars."""

    number: int
    customer: str
    day: str
    quantity: str
    value: Decimal

    def event(self) -> dict[str, Any]:
        """The purchase as a shop would send it."""
        return {
            "id": f"cdnow-{self.number:06d}",
            "customer": self.customer,
            "date": self.day,
            "cds": self.quantity,
            "value": float(self.value),
        }


def fetch(cache: Path) -> Path:
    """The wheel in `cache`, downloaded when it is not there."""
    found = next(cache.glob("[Ll]ifetimes-0.11.3*.whl"), None)
    if found is None:
        cache.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        subprocess.run(
            [*command, "--only-binary", ":all:", "--dest", str(cache), WHEEL], check=True
        )
        found = next(cache.glob("[Ll]ifetimes-0.11.3*.whl"))
    return found


def read(wheel: Path, limit: int | None = None) -> Iterator[Purchase]:
    """Purchases in the file's order; its first line has the names of the columns."""
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as file:
        next(file)
        number = 0
        for line in file:
            cells = line.decode("ascii").split()
            if not cells:
                continue
            number += 1
            if limit is not None and number > limit:
                return
            customer, day, quantity, value = cells
            yield Purchase(number, customer, day, quantity, Decimal(value))


def revenue_by_month(purchases: list[Purchase]) -> dict[str, Decimal]:
    """yyyy-mm → dollars."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for purchase in purchases:
        found[f"{purchase.day[:4]}-{purchase.day[4:6]}"] += purchase.value
    return dict(sorted(found.items()))


def revenue_by_customer(purchases: list[Purchase]) -> dict[str, Decimal]:
    """Customer → dollars, best first, ties by customer."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for purchase in purchases:
        found[purchase.customer] += purchase.value
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
