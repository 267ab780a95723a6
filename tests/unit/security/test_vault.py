"""Secrets at rest: only the right key opens them, and only where they belong."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigurationError
from headrace.security import vault as module
from headrace.security.vault import SEALED, Rotation, SealBroken, Vault, rotate
from headrace.store.documents import Scope, Store

SCOPE = Scope("O@AdobeOrg", "prod")
SECRET = "canary-5c1b0e5a-text-that-nothing-else-contains"


class Site:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key_file = directory / "vault.key"
        self.store = Store(directory / "headrace.db")
        self.vault = Vault.at(self.key_file, self.store)

    def keep(self, id: str, secret: Any = SECRET, **more: Any) -> None:
        params = {"secret": {SEALED: self.vault.seal(secret, id)}, "host": "a.example", **more}
        self.store.create(SCOPE, "connections", id, {"auth": {"params": params}})

    def params(self, id: str) -> dict[str, Any]:
        found = self.store.get(SCOPE, "connections", id)
        assert found is not None
        params: dict[str, Any] = found.body["auth"]["params"]
        return params

    def reopened(self) -> Vault:
        return Vault.at(self.key_file, self.store)

    def on_disk(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.directory.iterdir() if path.is_file())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("value", ["text", "", "ü\u0000\U0001f600", 7, None, {"a": [1, "b"]}, "x" * 100_000])  # fmt: skip
def test_what_is_sealed_opens_as_it_was(site: Site, value: Any) -> None:
    assert site.vault.open(site.vault.seal(value, "id"), "id") == value


def test_the_same_value_is_never_sealed_alike(site: Site) -> None:
    assert site.vault.seal(SECRET, "id") != site.vault.seal(SECRET, "id")


def test_a_sealed_value_opens_only_for_its_owner_and_key(site: Site) -> None:
    sealed = site.vault.seal(SECRET, "one")
    with pytest.raises(SealBroken):
        site.vault.open(sealed, "two")
    with pytest.raises(SealBroken) as caught:
        Vault(os.urandom(32)).open(sealed, "one")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("sealed", ["", "v1:", "v1:AAAA", "v2:AAAA", "v1:!!!", "v1:ü", "text"])
def test_what_was_never_sealed_does_not_open(site: Site, sealed: str) -> None:
    with pytest.raises(SealBroken):
        site.vault.open(sealed, "id")


def test_every_changed_character_is_noticed(site: Site) -> None:
    sealed = site.vault.seal("short", "id")
    for place in range(3, len(sealed) - 1):  # the last character may carry unused bits
        swapped = "A" if sealed[place] != "A" else "B"
        with pytest.raises(SealBroken):
            site.vault.open(sealed[:place] + swapped + sealed[place + 1 :], "id")


def test_nothing_in_the_data_directory_holds_a_secret_in_plain_text(site: Site) -> None:
    site.keep("one", SECRET, plain="the-host-is-no-secret")
    before = site.on_disk()
    site.store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for content in (before, site.on_disk()):
        assert b"the-host-is-no-secret" in content  # the search would find it
        assert SECRET.encode() not in content
        assert SECRET[::-1].encode() not in content
        assert SECRET.encode().hex().encode() not in content


def test_the_key_file_is_for_its_owner_alone(site: Site) -> None:
    assert stat.S_IMODE(site.key_file.stat().st_mode) == 0o600


def test_the_right_key_opens_after_a_restart(site: Site) -> None:
    site.keep("one")
    assert site.reopened().open(site.params("one")["secret"][SEALED], "one") == SECRET


def test_a_wrong_key_refuses_to_start(site: Site) -> None:
    site.key_file.write_text("ab" * 32)
    with pytest.raises(ConfigurationError, match="is not the one"):
        site.reopened()


def test_a_missing_key_refuses_to_start_and_no_new_one_is_made(site: Site) -> None:
    site.key_file.unlink()
    with pytest.raises(ConfigurationError, match="is missing"):
        site.reopened()
    assert not site.key_file.exists()


@pytest.mark.parametrize("content", ["", "abc", "zz" * 32, "ab" * 31, "ä"])
def test_a_damaged_key_refuses_to_start_and_is_not_shown(site: Site, content: str) -> None:
    site.key_file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        site.reopened()
    assert not content or content not in str(caught.value)


# -- rotation -----------------------------------------------------------------------------------------------


def test_rotation_seals_everything_under_a_new_key(site: Site) -> None:
    site.keep("one", "first", nested=[{"deep": {SEALED: site.vault.seal({"a": 1}, "one")}}])
    site.keep("two", "second")
    site.store.create(SCOPE, "datasets", "plain", {"name": "no secret here"})
    old_key, old_text = site.key_file.read_bytes(), site.params("one")["secret"][SEALED]
    assert rotate(site.key_file, site.store) == Rotation(renewed=3, unopened=0)
    assert site.key_file.read_bytes() != old_key
    assert stat.S_IMODE(site.key_file.stat().st_mode) == 0o600
    vault = site.reopened()
    assert vault.open(site.params("one")["secret"][SEALED], "one") == "first"
    assert vault.open(site.params("one")["nested"][0]["deep"][SEALED], "one") == {"a": 1}
    assert vault.open(site.params("two")["secret"][SEALED], "two") == "second"
    assert site.params("one")["host"] == "a.example"
    with pytest.raises(SealBroken):
        site.vault.open(site.params("one")["secret"][SEALED], "one")
    with pytest.raises(SealBroken):
        vault.open(old_text, "one")
    assert sorted(path.name for path in site.directory.glob("vault*")) == ["vault.key"]


def test_what_the_old_key_sealed_is_gone_from_the_disk(site: Site) -> None:
    site.keep("one")
    old = site.params("one")["secret"][SEALED].encode()
    assert old in site.on_disk()
    rotate(site.key_file, site.store)
    assert old not in site.on_disk()
    assert SECRET.encode() not in site.on_disk()


def test_a_deleted_resources_secret_does_not_linger_either(site: Site) -> None:
    # as SQLite is built on most systems: deleted content stays in the file
    site.store.connection.execute("PRAGMA secure_delete=OFF")
    site.keep("gone", "x" * 50_000)
    piece = site.params("gone")["secret"][SEALED][30_000:30_060].encode()
    site.store.delete(SCOPE, "connections", "gone")
    site.store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert piece in site.on_disk()  # in the database's free pages
    rotate(site.key_file, site.store)
    assert piece not in site.on_disk()


def test_rotation_leaves_alone_what_only_looks_sealed(site: Site) -> None:
    site.keep("one", "first", copied={SEALED: site.vault.seal("x", "two")}, typed={SEALED: "v1:hello"})  # fmt: skip
    before = site.params("one")
    assert rotate(site.key_file, site.store) == Rotation(renewed=1, unopened=2)
    assert site.params("one")["copied"] == before["copied"]
    assert site.params("one")["typed"] == {SEALED: "v1:hello"}


def test_a_wrong_key_rotates_nothing(site: Site) -> None:
    site.keep("one")
    key, before = site.key_file.read_bytes(), site.params("one")
    site.key_file.write_text("ab" * 32)
    with pytest.raises(ConfigurationError):
        rotate(site.key_file, site.store)
    site.key_file.write_bytes(key)
    assert site.params("one") == before
    assert site.reopened().open(before["secret"][SEALED], "one") == SECRET


class Crash(Exception):
    pass


@pytest.mark.parametrize("place", ["_renewed", "_settle"])
def test_a_crash_during_rotation_is_settled_at_the_next_start(
    site: Site, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    site.keep("one")
    original = getattr(module, place)
    calls = 0

    def crash(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if place == "_settle" and calls == 1:  # the start itself settles too
            return original(*arguments)
        raise Crash

    monkeypatch.setattr(module, place, crash)
    with pytest.raises(Crash):
        rotate(site.key_file, site.store)
    monkeypatch.undo()
    assert (site.directory / "vault.key.next").exists()
    vault = site.reopened()
    assert vault.open(site.params("one")["secret"][SEALED], "one") == SECRET
    assert not (site.directory / "vault.key.next").exists()
    assert rotate(site.key_file, site.store).renewed == 1


def test_the_connections_of_the_flow_service_are_found_by_rotation() -> None:
    from headrace.services.flow import connections

    assert connections.SEALED == SEALED
    assert json.dumps({SEALED: "x"}, separators=(",", ":")).startswith(f'{{"{SEALED}"')
