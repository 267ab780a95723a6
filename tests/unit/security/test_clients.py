"""The register of clients, their secrets and their codes."""

import hashlib
import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.errors import ConfigurationError
from headrace.security.clients import (
    READ_ONLY,
    SCOPES,
    add_client,
    client_of,
    find_client,
    list_clients,
    may_write,
    revoke_client,
)
from headrace.security.codes import LONGEST_SECONDS, issue_code, redeem_code
from headrace.security.digests import SecretChecks, TooManyAttempts, digest, fits
from headrace.security.tokens import Claims
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope, Store

ORG = "0123456789ABCDEF01234567@AdobeOrg"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.db")


def claims(client_id: str, *scopes: str, org: str = ORG, issued: int = 2**40) -> Claims:
    return Claims(client_id, org, "u", frozenset(scopes), issued, 2**41)


# -- secrets ------------------------------------------------------------------------------------------------


def test_a_digest_fits_its_secret_alone_and_is_salted() -> None:
    first, second = digest("p8e-secret"), digest("p8e-secret")
    assert first != second
    assert fits("p8e-secret", first)
    assert fits("p8e-secret", second)
    assert not fits("p8e-secreT", first)
    assert not fits("", first)
    assert not fits("\udcff", first)


@pytest.mark.parametrize("stored", ["", "plain", "md5$1$1$1$00$00", "scrypt$x$8$1$00$00", "scrypt$3$8$1$00$00"])  # fmt: skip
def test_an_unknown_stored_form_fits_nothing(stored: str) -> None:
    assert not fits("secret", stored)


def test_a_secret_longer_than_any_is_not_even_hashed() -> None:
    long = "x" * 1025
    assert not fits(long, digest(long))


def test_guesses_are_limited_and_the_client_in_use_is_not_locked_out() -> None:
    now = 0.0
    checks = SecretChecks(most=3, clock=lambda: now)
    used, idle = digest("right"), digest("other")
    assert checks.fits("used", "right", used)
    for _ in range(3):
        assert not checks.fits("used", "wrong", used)
        assert not checks.fits("idle", "wrong", idle)
    with pytest.raises(TooManyAttempts):
        checks.fits("used", "wrong", used)
    with pytest.raises(TooManyAttempts):
        checks.fits("idle", "other", idle)
    assert checks.fits("used", "right", used)
    now = 60.0
    assert checks.fits("idle", "other", idle)


def test_a_replaced_secret_is_not_remembered() -> None:
    checks = SecretChecks()
    assert checks.fits("c", "old", digest("old"))
    assert not checks.fits("c", "old", digest("new"))


def test_guesses_sent_at_once_are_limited_too() -> None:
    checks, stored = SecretChecks(most=4), digest("right")

    def guess(number: int) -> bool | None:
        try:
            return checks.fits("c", f"wrong {number}", stored)
        except TooManyAttempts:
            return None

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(guess, range(16)))
    assert (found.count(False), found.count(None)) == (4, 12)


# -- the register -------------------------------------------------------------------------------------------


def test_a_secret_is_shown_once_and_stored_as_a_hash(store: Store) -> None:
    client, secret = add_client(store, ORG, "loader")
    assert fits(secret, client.digest)
    assert client.scopes == tuple(SCOPES.split(","))
    assert secret not in repr(client)
    assert client.digest not in repr(client)
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert secret.encode() not in store.path.read_bytes()
    assert find_client(store, client.id) == client == list_clients(store, ORG)[0]


def test_clients_have_their_own_ids_secrets_and_scopes(store: Store) -> None:
    one, first = add_client(store, ORG, "one", scopes="openid, session,openid")
    two, _ = add_client(store, ORG, "two", read_only=True)
    three, _ = add_client(store, ORG, "three", scopes=f"openid,{READ_ONLY}")
    assert one.scopes == ("openid", "session")
    assert (one.effective, three.effective) == ({"openid", "session"}, {"openid", READ_ONLY})
    assert READ_ONLY in two.effective
    assert len({one.id, two.id, three.id}) == len({one.user_id, two.user_id, three.user_id}) == 3
    assert not fits(first, two.digest)
    assert [client.name for client in list_clients(store, ORG)] == ["one", "two", "three"]
    assert list_clients(store, "0@AdobeOrg") == []


@pytest.mark.parametrize(
    ("name", "scopes"),
    [("", "openid"), (" ", "openid"), ("a\nb", "openid"), ("x" * 101, "openid"), ("ok", "a b"), ("ok", 'a"b')],
)  # fmt: skip
def test_unusable_names_and_scopes_are_refused(store: Store, name: str, scopes: str) -> None:
    with pytest.raises(ConfigurationError):
        add_client(store, ORG, name, scopes=scopes)
    assert list_clients(store, ORG) == []


def test_a_name_is_free_again_when_its_client_is_revoked(store: Store) -> None:
    client, _ = add_client(store, ORG, "loader")
    with pytest.raises(ConfigurationError, match="named 'loader' already"):
        add_client(store, ORG, "loader")
    revoke_client(store, ORG, client.id)
    assert add_client(store, ORG, "loader")[0].id != client.id


def test_a_revoked_client_stays_listed_and_speaks_for_nobody(store: Store) -> None:
    client, _ = add_client(store, ORG, "loader")
    assert client_of(store, claims(client.id)) == client
    revoked = revoke_client(store, ORG, client.id)
    assert revoked.revoked is not None
    assert client_of(store, claims(client.id)) is None
    assert find_client(store, client.id) is None
    assert revoke_client(store, ORG, client.id).revoked == revoked.revoked
    assert [c.revoked for c in list_clients(store, ORG)] == [revoked.revoked]


def test_an_unknown_client_or_one_of_another_organisation_cannot_be_revoked(store: Store) -> None:
    client, _ = add_client(store, ORG, "loader")
    with pytest.raises(ConfigurationError):
        revoke_client(store, ORG, "nobody")
    with pytest.raises(ConfigurationError):
        revoke_client(store, "0@AdobeOrg", client.id)
    assert find_client(store, client.id) is not None
    assert client_of(store, claims(client.id, org="0@AdobeOrg")) is None


def test_only_registered_clients_with_full_rights_may_write(store: Store) -> None:
    full, _ = add_client(store, ORG, "full")
    reader, _ = add_client(store, ORG, "reader", read_only=True)
    assert may_write(store, claims(full.id, "openid"))
    assert not may_write(store, claims(full.id, "openid", READ_ONLY))
    assert not may_write(store, claims(reader.id, "openid"))
    assert not may_write(store, claims("nobody", "openid"))
    revoke_client(store, ORG, full.id)
    assert not may_write(store, claims(full.id, "openid"))


# -- the first client ---------------------------------------------------------------------------------------


def credentials(directory: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((directory / "credentials.json").read_text())
    return found


def test_the_first_client_keeps_its_credentials_beside_others(store: Store, tmp_path: Path) -> None:
    first = bootstrap(store, tmp_path, "http://a")
    given = credentials(tmp_path)
    other, secret = add_client(store, first.org_id, "other")
    assert bootstrap(store, tmp_path, "http://a") == first
    assert credentials(tmp_path) == given
    mine = find_client(store, first.client_id)
    assert mine is not None
    assert fits(given["client_secret"], mine.digest)
    assert mine.name == "bootstrap"
    assert find_client(store, other.id) == other
    assert fits(secret, other.digest)


def test_lost_credentials_give_the_first_client_a_new_secret_and_end_its_tokens(
    store: Store, tmp_path: Path
) -> None:
    first = bootstrap(store, tmp_path, "http://a")
    before = credentials(tmp_path)
    other, _ = add_client(store, first.org_id, "other")
    assert client_of(store, claims(first.client_id, org=first.org_id, issued=1_700_000_000))
    (tmp_path / "credentials.json").unlink()
    assert bootstrap(store, tmp_path, "http://a").client_id == first.client_id
    after = credentials(tmp_path)
    mine = find_client(store, first.client_id)
    assert mine is not None
    assert after["client_secret"] != before["client_secret"]
    assert fits(after["client_secret"], mine.digest)
    assert not fits(before["client_secret"], mine.digest)
    old = claims(first.client_id, org=first.org_id, issued=1_700_000_000)
    assert client_of(store, old) is None
    assert find_client(store, other.id) == other


def test_the_first_client_stays_revoked(store: Store, tmp_path: Path) -> None:
    first = bootstrap(store, tmp_path, "http://a")
    revoke_client(store, first.org_id, first.client_id)
    bootstrap(store, tmp_path, "http://a")
    assert find_client(store, first.client_id) is None
    (tmp_path / "credentials.json").unlink()
    bootstrap(store, tmp_path, "http://a")
    assert find_client(store, first.client_id) is None


def test_a_directory_written_before_scrypt_keeps_its_secret(store: Store, tmp_path: Path) -> None:
    first = bootstrap(store, tmp_path, "http://a")
    given, scope = credentials(tmp_path), Scope(first.org_id, "")
    salt = "ab" * 16
    keyed = hmac.new(bytes.fromhex(salt), given["client_secret"].encode(), hashlib.sha256)
    old = {
        "clientId": first.client_id, "salt": salt, "secret": keyed.hexdigest(), "scopes": SCOPES,
        "userId": "u@techacct.adobe.com",
    }  # fmt: skip
    store.replace(scope, "clients", first.client_id, old)
    bootstrap(store, tmp_path, "http://a")
    assert credentials(tmp_path) == given
    mine = find_client(store, first.client_id)
    assert mine is not None
    assert fits(given["client_secret"], mine.digest)
    assert mine.user_id == "u@techacct.adobe.com"
    assert "salt" not in store.list(scope, "clients")[0].body


# -- authorization codes ------------------------------------------------------------------------------------


def test_a_code_is_good_once_for_its_client_and_kept_as_a_hash(store: Store) -> None:
    client, _ = add_client(store, ORG, "loader")
    other, _ = add_client(store, ORG, "other")
    code = issue_code(store, ORG, client.id)
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert code.encode() not in store.path.read_bytes()
    assert not redeem_code(store, ORG, client.id, "unknown")
    assert not redeem_code(store, ORG, other.id, code)
    assert not redeem_code(store, "0@AdobeOrg", client.id, code)
    assert redeem_code(store, ORG, client.id, code)
    assert not redeem_code(store, ORG, client.id, code)


def test_a_code_expires_and_is_swept_out(store: Store) -> None:
    client, _ = add_client(store, ORG, "loader")
    now = 1000.0
    late, unused = (
        issue_code(store, ORG, client.id, lifetime=60, clock=lambda: now) for _ in range(2)
    )
    now = 1059.0
    assert redeem_code(store, ORG, client.id, late, clock=lambda: now)
    now = 1060.0
    assert not redeem_code(store, ORG, client.id, unused, clock=lambda: now)
    stale = issue_code(store, ORG, client.id, lifetime=60, clock=lambda: now)
    now = 1200.0
    issue_code(store, ORG, client.id, lifetime=60, clock=lambda: now)
    assert len(store.list(Scope(ORG, ""), "authorizationCodes")) == 1
    assert not redeem_code(store, ORG, client.id, stale, clock=lambda: now)


def test_a_clock_that_jumps_by_days_makes_no_code_live_longer(store: Store) -> None:
    client, _ = add_client(store, ORG, "loader")
    now = 1_700_000_000.0

    def clock() -> float:
        return now

    before = issue_code(store, ORG, client.id, lifetime=600, clock=clock)
    now -= 5 * 86_400
    assert not redeem_code(store, ORG, client.id, before, clock=clock)
    now += 5 * 86_400
    assert redeem_code(store, ORG, client.id, before, clock=clock), "it was not spent by the jump"
    now += 5 * 86_400
    ahead = issue_code(store, ORG, client.id, lifetime=600, uses=2, clock=clock)
    assert redeem_code(store, ORG, client.id, ahead, clock=clock)
    now -= 5 * 86_400
    assert not redeem_code(store, ORG, client.id, ahead, clock=clock)


def test_clients_that_race_for_the_last_uses_get_no_more_than_there_are(store: Store) -> None:
    client, _ = add_client(store, ORG, "loader")
    code = issue_code(store, ORG, client.id, uses=3)

    def redeem(_: int) -> bool:
        try:
            return redeem_code(store, ORG, client.id, code)
        finally:
            store.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(redeem, range(12))) == 3


@pytest.mark.parametrize(("uses", "lifetime"), [(0, 60), (-1, 60), (1, 0), (1, LONGEST_SECONDS + 1)])  # fmt: skip
def test_codes_out_of_range_are_refused(store: Store, uses: int, lifetime: int) -> None:
    client, _ = add_client(store, ORG, "loader")
    with pytest.raises(ConfigurationError):
        issue_code(store, ORG, client.id, uses=uses, lifetime=lifetime)


def test_revoked_and_unknown_clients_get_no_code(store: Store) -> None:
    client, _ = add_client(store, ORG, "loader")
    revoke_client(store, ORG, client.id)
    for id in (client.id, "nobody", ""):
        with pytest.raises(ConfigurationError):
            issue_code(store, ORG, id)
