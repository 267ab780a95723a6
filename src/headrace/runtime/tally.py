"""What became of the records of a run, as counts and as lines of a file."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

MOST_WARNINGS = 100
"""Destinations whose warnings are counted apart: paths inside arrays and maps have no end."""
_OTHERS = "(others)"
_encode_lines = msgspec.json.Encoder().encode_lines


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """`line` counts from 1; `path` is the dotted path of the field at fault, empty for the record itself."""

    line: int
    code: str
    path: str
    message: str
    record: bytes


def failed_lines(records: Iterable[FailedRecord]) -> bytes:
    """Failed records as JSON, one a line; a record that is no JSON is a text."""
    return _encode_lines(
        [
            {"line": r.line, "code": r.code, "path": r.path, "message": r.message, "record": _json(r.record)}
            for r in records
        ]
    )  # fmt: skip


def _json(record: bytes) -> Any:
    try:
        msgspec.json.decode(record)
    except (ValueError, RecursionError):
        return record.decode("utf-8", "replace")
    return msgspec.Raw(record)


@dataclass(slots=True)
class Tally:
    """Counts with one example each. `started` is a reading of the monotonic clock in seconds."""

    landed: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def failed(self) -> int:
        return self.codes.total()

    def fail(self, records: Iterable[FailedRecord]) -> None:
        for record in records:
            self.codes[record.code] += 1
            if record.code not in self.examples:
                where = f"{record.path}: " if record.path else ""
                text = f"line {record.line}: {where}{_short(record.message)}"
                self.examples[record.code] = text

    def warn(self, warnings: Mapping[tuple[str, str], int]) -> None:
        """Add (destination, message) → count."""
        for (destination, message), count in warnings.items():
            known = destination in self.warnings or len(self.warnings) < MOST_WARNINGS
            key = destination if known else _OTHERS
            self.warnings[key] += count
            self.examples.setdefault(f"warning {key}", _short(message))

    def summary(self) -> str:
        """Lines for people."""
        seconds = time.monotonic() - self.started
        records = self.landed + self.failed
        out = [
            _line("records", records),
            _line("landed", self.landed),
            _line("failed", self.failed),
        ]
        out += [_line(f"  {c}", n, self.examples[c]) for c, n in self.codes.most_common()]
        out.append(_line("warnings", self.warnings.total()))
        out += [
            _line(f"  {d}", n, self.examples[f"warning {d}"])
            for d, n in self.warnings.most_common()
        ]
        out.append(f"{'seconds':<24} {seconds:>12,.2f}")
        out.append(_line("records/s", round(records / seconds) if seconds > 0 else 0))
        return "\n".join(out) + "\n"


def _line(name: str, count: int, text: str = "") -> str:
    return f"{name:<24} {count:>12,}  {text}".rstrip()


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= 160 else f"{line[:159]}…"
