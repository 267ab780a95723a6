"""Settings: one frozen value, from a TOML file, `HEADRACE_*` variables and command-line options (the last wins).

Every field's metadata says what it does; docs/operating.md lists them all.
"""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from headrace.errors import ConfigurationError

MIB = 1024 * 1024


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"text": text})


@dataclass(frozen=True, slots=True)
class Settings:
    data_dir: Path = _setting(Path("headrace-data"), "directory of everything that Headrace keeps")
    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(8080, "port to listen on; 0 takes a free one")
    public_url: str = _setting(
        "", "base URL by which clients reach the server; default http://HOST:PORT"
    )
    auth: str = _setting(
        "on", "`off` accepts calls without Authorization, on a loopback address only"
    )
    log_format: str = _setting("text", "log lines for people (`text`) or machines (`json`)")
    egress_allow: str = _setting(
        "", "private hosts that users' connections may name: comma-separated host[:port] or CIDR"
    )
    request_timeout: float = _setting(
        30.0, "seconds that a request may take to arrive, and one more for each 16 KiB of it"
    )
    commit_interval: float = _setting(
        2.0, "longest wait in seconds before accepted records are landed"
    )
    commit_rows: int = _setting(
        50_000, "rows of a flow at which they are landed without waiting, as are 64 MiB"
    )
    run_window: int = _setting(3600, "seconds that one run of a streaming flow spans")
    log_segment_bytes: int = _setting(256 * MIB, "size at which a log segment is sealed")
    log_max_bytes: int = _setting(
        32 * 1024 * MIB, "bytes of log that may wait to land before the inlet refuses"
    )
    log_keep_free: int = _setting(256 * MIB, "bytes of disk that the log leaves free")
    landing_delay_alert: float = _setting(
        300.0, "seconds that the oldest record may wait to land before /health says so"
    )
    balance_patience: float = _setting(
        60.0, "seconds that records may be unexplained before /health says so"
    )
    worker_patience: float = _setting(
        600.0, "seconds without a sign of life after which the worker is replaced"
    )

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def checked(self) -> "Settings":
        """Itself; ConfigurationError when values cannot work together."""
        if self.auth not in ("on", "off"):
            raise ConfigurationError(f"auth is {self.auth!r}: it must be on or off")
        if self.auth == "off" and not self.loopback:
            raise ConfigurationError(
                f"auth may be off only on a loopback address, not on {self.host}"
            )
        if self.log_format not in ("text", "json"):
            raise ConfigurationError(f"log_format is {self.log_format!r}: it must be text or json")
        if self.commit_interval <= 0:
            raise ConfigurationError("commit_interval must be more than 0 seconds")
        if self.request_timeout <= 0:
            raise ConfigurationError("request_timeout must be more than 0 seconds")
        if self.worker_patience <= 0 or self.balance_patience < 0:
            raise ConfigurationError(
                "worker_patience must be more than 0 seconds, balance_patience at least 0"
            )
        if not 0 <= self.port <= 65535:
            raise ConfigurationError(f"port is {self.port}: it must be from 0 to 65535")
        return self


def load(
    options: Mapping[str, Any],
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings from a file, then the environment, then options that are not None."""
    found: dict[str, Any] = {}
    if file is not None:
        try:
            found |= tomllib.loads(file.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"{file}: {error}") from None
    known = {f.name: f for f in fields(Settings)}
    for name in known:
        value = environment.get(f"HEADRACE_{name.upper()}")
        if value is not None:
            found[name] = value
    found |= {name: value for name, value in options.items() if value is not None}
    unknown = sorted(found.keys() - known.keys())
    if unknown:
        raise ConfigurationError(
            f"unknown settings: {', '.join(unknown)}; known: {', '.join(known)}"
        )
    values = {name: _typed(name, value, known[name].default) for name, value in found.items()}
    return Settings(**values).checked()


def _typed(name: str, value: Any, default: Any) -> Any:
    kind = Path if isinstance(default, Path) else type(default)
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"{name} is {value!r}: it must be of type {kind.__name__}"
        ) from None
