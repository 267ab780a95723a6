"""Access tokens: signed, so that they survive a restart and need no table.

A token proves who it was issued to. Whether that client still exists is asked of `security.clients` at each call.
"""

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jwt

from headrace.errors import HeadraceError

LIFETIME_SECONDS = 86_399
SKEW_SECONDS = 300
"""What was issued further ahead of the clock is refused: a clock that ran ahead by days would else have made tokens that
live as much longer."""


class TokenInvalid(HeadraceError):
    """The token is malformed, signed with another key, or expired."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Who a token speaks for. `issued` and `expires` are seconds since the epoch."""

    client_id: str
    org_id: str
    user_id: str
    scopes: frozenset[str]
    issued: int
    expires: int


class Tokens:
    """Issues and verifies tokens under one key. `clock` answers seconds since the epoch."""

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock

    def issue(
        self, client_id: str, org_id: str, scopes: Iterable[str], user_id: str
    ) -> tuple[str, int]:
        """A token and its lifetime in seconds."""
        now = int(self._clock())
        claims = {
            "client_id": client_id,
            "org": org_id,
            "user_id": user_id,
            "scope": ",".join(sorted(scopes)),
            "jti": secrets.token_hex(8),
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
        }
        return jwt.encode(claims, self._key, algorithm="HS256"), LIFETIME_SECONDS

    def verify(self, token: str) -> Claims:
        """The claims of a token; TokenInvalid otherwise."""
        try:
            # Expiry is checked against our own clock, so the library's check is off.
            data = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                options={"verify_exp": False, "verify_iat": False, "require": ["exp", "iat"]},
            )
            claims = Claims(
                client_id=str(data["client_id"]),
                org_id=str(data["org"]),
                user_id=str(data["user_id"]),
                scopes=frozenset(filter(None, str(data["scope"]).split(","))),
                issued=int(data["iat"]),
                expires=int(data["exp"]),
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError):
            raise TokenInvalid("The token is not valid.") from None
        if claims.expires <= self._clock():
            raise TokenInvalid("The token has expired.")
        if claims.issued > self._clock() + SKEW_SECONDS:
            raise TokenInvalid("The token was issued in a time to come.")
        return claims
