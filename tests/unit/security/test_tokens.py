"""Access tokens: who can make one, and how long it lasts."""

import base64
import json
from typing import Any

import jwt
import pytest

from headrace.security.tokens import LIFETIME_SECONDS, SKEW_SECONDS, TokenInvalid, Tokens

KEY = b"k" * 32
NOW = 1_700_000_000


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def claims(**changes: Any) -> dict[str, Any]:
    found = {
        "client_id": "c", "org": "O@AdobeOrg", "user_id": "u", "scope": "openid",
        "iat": NOW, "exp": NOW + 60, **changes,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def unsigned(body: dict[str, Any]) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(body)}."


def test_a_token_says_who_it_was_issued_to_also_after_a_restart() -> None:
    clock = Clock()
    token, lifetime = Tokens(KEY, clock).issue("c", "O@AdobeOrg", ["openid", "AdobeID"], "u")
    found = Tokens(KEY, clock).verify(token)
    assert lifetime == LIFETIME_SECONDS == 86_399
    assert (found.client_id, found.org_id, found.user_id) == ("c", "O@AdobeOrg", "u")
    assert found.scopes == {"openid", "AdobeID"}
    assert (found.issued, found.expires) == (NOW, NOW + 86_399)


def test_no_two_tokens_are_alike() -> None:
    tokens = Tokens(KEY, Clock())
    assert tokens.issue("c", "o", [], "u")[0] != tokens.issue("c", "o", [], "u")[0]


@pytest.mark.parametrize(("age", "valid"), [(86_398, True), (86_399, False), (90_000, False)])
def test_a_token_ends_with_its_lifetime(age: int, valid: bool) -> None:
    clock = Clock()
    tokens = Tokens(KEY, clock)
    token, _ = tokens.issue("c", "o", [], "u")
    clock.now += age
    if valid:
        assert tokens.verify(token).client_id == "c"
    else:
        with pytest.raises(TokenInvalid):
            tokens.verify(token)


@pytest.mark.parametrize(
    ("jump", "valid"),
    [(-86_400 * 5, False), (-SKEW_SECONDS - 1, False), (-SKEW_SECONDS, True), (86_400 * 5, False)],
)
def test_a_clock_that_jumps_makes_no_token_live_longer_and_breaks_none_for_good(
    jump: int, valid: bool
) -> None:
    clock = Clock()
    tokens = Tokens(KEY, clock)
    before, _ = tokens.issue("c", "o", [], "u")
    clock.now += jump
    meanwhile, _ = tokens.issue("c", "o", [], "u")
    assert tokens.verify(meanwhile).client_id == "c"
    if valid:
        assert tokens.verify(before).client_id == "c"
    else:
        with pytest.raises(TokenInvalid):
            tokens.verify(before)
    clock.now -= jump
    assert tokens.verify(before).client_id == "c"
    if jump > SKEW_SECONDS:
        with pytest.raises(TokenInvalid):
            tokens.verify(meanwhile)


def test_the_claims_used_below_are_accepted_when_nothing_is_wrong() -> None:
    assert Tokens(KEY, Clock()).verify(jwt.encode(claims(), KEY, algorithm="HS256")).user_id == "u"


@pytest.mark.parametrize(
    "token",
    [
        "", "nonsense", "a.b.c", "\x00", "ä.ö.ü", "." * 10_000,
        jwt.encode(claims(), b"j" * 32, algorithm="HS256"),
        jwt.encode(claims(), KEY * 2, algorithm="HS512"),
        unsigned(claims()),
        jwt.encode(claims(exp=None), KEY, algorithm="HS256"),
        jwt.encode(claims(iat=None), KEY, algorithm="HS256"),
        jwt.encode(claims(client_id=None), KEY, algorithm="HS256"),
        jwt.encode(claims(exp="never"), KEY, algorithm="HS256"),
        jwt.encode(claims(exp=float("inf")), KEY, algorithm="HS256"),
        jwt.encode(claims(exp=NOW), KEY, algorithm="HS256"),
    ],
    ids=[
        "empty", "nonsense", "three parts", "nul", "not ascii", "dots", "another key", "another algorithm",
        "unsigned", "no expiry", "no issue", "no client", "expiry in words", "no end", "expired",
    ],
)  # fmt: skip
def test_what_was_not_issued_here_is_refused(token: str) -> None:
    with pytest.raises(TokenInvalid):
        Tokens(KEY, Clock()).verify(token)


def test_every_changed_character_breaks_a_token() -> None:
    tokens = Tokens(KEY, Clock())
    token, _ = tokens.issue("c", "o", ["openid"], "u")
    for place in range(0, len(token) - 1, 7):  # the last character carries unused bits
        swapped = "A" if token[place] != "A" else "B"
        with pytest.raises(TokenInvalid):
            tokens.verify(token[:place] + swapped + token[place + 1 :])
