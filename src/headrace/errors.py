"""Every error Headrace raises on purpose.

HeadraceError
├── ApiError                 an API call that cannot be served; becomes the service's error envelope
├── Transient                the same call may succeed later: back off and retry
│   └── Overloaded           back-pressure; carries the seconds to wait
└── Terminal                 retrying cannot help: stop and say why
    ├── ConfigurationError   settings or arguments that cannot work
    ├── DataDirectoryInUse   another process owns the data directory
    ├── LogCorrupt           bytes in the log that fail their checksum
    └── WatermarkConflict    log and table disagree about what has landed
"""

from typing import Any


class HeadraceError(Exception):
    """Root of the tree, so that callers can catch all of it."""


class ApiError(HeadraceError):
    """An API call that is refused.

    `status` is the HTTP status, `code` the service's own error code (its form differs by service),
    `title` the short and `detail` the long text. `extra` holds further keys for the service's envelope
    (for example `id` and `type` of the entity in Flow Service).
    """

    def __init__(self, status: int, code: str, title: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.extra = extra


class Transient(HeadraceError):
    """The same call may succeed later."""


class Overloaded(Transient):
    """Accepting more would let memory or disk grow without bound."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Terminal(HeadraceError):
    """Retrying cannot help."""


class ConfigurationError(Terminal):
    """A setting or argument that cannot work; the text names it and what would be right."""


class DataDirectoryInUse(Terminal):
    """Another process owns the data directory."""


class LogCorrupt(Terminal):
    """Bytes in the log fail their checksum."""


class WatermarkConflict(Terminal):
    """Log and table disagree about what has landed; the text states both positions."""
