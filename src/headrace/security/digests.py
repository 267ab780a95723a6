"""Secrets of clients at rest: a salted scrypt hash, compared in constant time.

The stored form is `scrypt$N$r$p$salt$hash`, salt and hash in hexadecimal.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from headrace.errors import Transient

# Secrets are 256 random bits: these costs slow a thief of weaker, imported ones without stalling the server.
_N, _R, _P = 2**14, 8, 1
_MAX_MEMORY = 64 * 1024 * 1024
MOST_CHARACTERS = 1024
"""Longer texts are no secret of ours and are refused unhashed."""


def digest(secret: str) -> str:
    """The stored form of a secret, under a new salt."""
    salt = secrets.token_bytes(16)
    return f"scrypt${_N}${_R}${_P}${salt.hex()}${_hash(secret, salt, _N, _R, _P).hex()}"


def fits(secret: str, stored: str) -> bool:
    """Whether a secret is the one a stored form was made of; False for a form that is not known."""
    if not 0 < len(secret) <= MOST_CHARACTERS:
        return False
    try:
        name, n, r, p, salt, expected = stored.split("$")
        if name != "scrypt":
            return False
        found = _hash(secret, bytes.fromhex(salt), int(n), int(r), int(p))
        return hmac.compare_digest(found, bytes.fromhex(expected))
    except ValueError:
        return False


def _hash(secret: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    raw = secret.encode("utf-8", errors="replace")
    return hashlib.scrypt(raw, salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=32)


class TooManyAttempts(Transient):
    """A client's secret was guessed wrong too often; the client must wait."""


class SecretChecks:
    """Compares secrets, slowing guesses down: `most` wrong ones a client and minute.

    A secret that fitted once is remembered under a key of this process, so that a client in use neither pays for
    the slow hash again nor is locked out by somebody else's guesses. `clock` answers seconds.
    """

    WINDOW_SECONDS = 60

    def __init__(self, most: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._key = secrets.token_bytes(32)
        self._proven: dict[str, bytes] = {}
        self._attempts: defaultdict[str, list[float]] = defaultdict(list)
        self._lock = threading.Lock()

    def fits(self, client_id: str, secret: str, stored: str) -> bool:
        """Whether the secret is the client's; TooManyAttempts after too many wrong ones."""
        mark = self._mark(secret, stored)
        if hmac.compare_digest(self._proven.get(client_id, b""), mark):
            return True
        with self._lock:
            # Counted before the hash is computed: guesses sent at once are bounded too.
            since = self._clock() - self.WINDOW_SECONDS
            recent = [moment for moment in self._attempts[client_id] if moment > since]
            self._attempts[client_id] = recent
            if len(recent) >= self._most:
                raise TooManyAttempts("too many wrong secrets; try again in a minute")
            recent.append(self._clock())
        if not fits(secret, stored):
            return False
        with self._lock:
            self._proven[client_id] = mark
            self._attempts.pop(client_id, None)
        return True

    def _mark(self, secret: str, stored: str) -> bytes:
        # Bound to the stored form: a client whose secret was replaced must prove the new one.
        text = f"{stored}\0{secret}".encode("utf-8", errors="replace")
        return hmac.new(self._key, text, hashlib.sha256).digest()
