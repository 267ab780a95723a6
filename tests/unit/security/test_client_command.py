"""`headrace client`, run on a data directory."""

import argparse
import io
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from headrace.errors import ConfigurationError
from headrace.security.clients import SCOPES, find_client
from headrace.security.codes import redeem_code
from headrace.security.digests import fits
from headrace.services.ims.command import arguments, main, run
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Store


class Site:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Store(directory / "headrace.db")
        self.installation = bootstrap(self.store, directory, "http://127.0.0.1:8080")

    def run(self, *words: str) -> str:
        return command(*words, "--data-dir", str(self.directory))

    def add(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("add", *words))
        return found


def command(*words: str) -> str:
    parser = argparse.ArgumentParser()
    arguments(parser)
    out = io.StringIO()
    assert run(parser.parse_args(words), out) == 0
    return out.getvalue()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_add_prints_credentials_in_the_form_of_the_credentials_file(site: Site) -> None:
    given = site.add("loader")
    first = json.loads((site.directory / "credentials.json").read_text())
    assert set(first) < set(given)
    same = ("base_url", "org_id", "tenant_id", "scopes", "sandbox")
    assert {name: given[name] for name in same} == {name: first[name] for name in same}
    client = find_client(site.store, given["client_id"])
    assert client is not None
    assert fits(given["client_secret"], client.digest)
    assert given["technical_account_id"] == client.user_id


def test_add_takes_scopes_rights_and_keys(site: Site, tmp_path: Path) -> None:
    key = tmp_path / "client.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    given = site.add("r", "--scopes", "openid,session", "--read-only", "--public-key", str(key))
    client = find_client(site.store, given["client_id"])
    assert client is not None
    assert (client.scopes, client.read_only, len(client.keys)) == (("openid", "session"), True, 1)
    assert given["scopes"] == "openid,session"


def test_list_shows_every_client_and_no_secret(site: Site) -> None:
    given = site.add("loader", "--read-only")
    site.run("revoke", given["client_id"])
    rows = json.loads(site.run("list", "--format", "json"))
    shown = [(row["name"], row["state"], row["rights"]) for row in rows]
    assert shown == [("bootstrap", "active", "all"), ("loader", "revoked", "read")]
    assert rows[0]["scopes"] == SCOPES
    table = site.run("list")
    assert [line.split()[0] for line in table.splitlines()] == [
        "client_id", site.installation.client_id, given["client_id"],
    ]  # fmt: skip
    for text in (table, json.dumps(rows)):
        assert given["client_secret"] not in text
        assert "scrypt" not in text


def test_revoke_ends_a_client(site: Site) -> None:
    given = site.add("loader")
    assert given["client_id"] in site.run("revoke", given["client_id"])
    assert find_client(site.store, given["client_id"]) is None
    with pytest.raises(ConfigurationError, match="no client 'nobody'"):
        site.run("revoke", "nobody")


def test_code_prints_a_code_for_the_client(site: Site) -> None:
    org, id = site.installation.org_id, site.installation.client_id
    code = site.run("code", id, "--uses", "2").strip()
    assert [redeem_code(site.store, org, id, code) for _ in range(3)] == [True, True, False]
    with pytest.raises(ConfigurationError):
        site.run("code", id, "--lifetime", "0")


def test_a_directory_without_data_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="start the server there once"):
        command("list", "--data-dir", str(tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []


def test_a_key_file_that_cannot_be_read_registers_nothing(site: Site) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        site.add("loader", "--public-key", str(site.directory / "none.pem"))
    assert len(site.run("list").splitlines()) == 2


def test_the_entry_point_prints_to_standard_output(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--data-dir", str(site.directory)]) == 0
    assert site.installation.client_id in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([])
