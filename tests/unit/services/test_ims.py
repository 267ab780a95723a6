"""Token endpoints: bodies and units as their clients send and read them, and everything they must refuse."""

import json
import logging
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import pytest
import requests
from aepp import connector
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from headrace.http.application import build
from headrace.http.contract import Answer, Call, Route
from headrace.http.gateway import Gateway
from headrace.security.assertions import registered_key
from headrace.security.clients import READ_ONLY, SCOPES, Client, add_client, revoke_client
from headrace.security.codes import issue_code
from headrace.security.keys import load_or_create_key
from headrace.security.tokens import Tokens
from headrace.services.ims import routes
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Store
from headrace.testing.calls import InProcess

V1, V2, V3, JWT = "/ims/token/v1", "/ims/token/v2", "/ims/token/v3", "/ims/exchange/jwt"
KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def who(call: Call) -> Answer:
    return Answer(200, {"client": call.who.client_id, "scopes": sorted(call.who.scopes)})


class Site:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Store(directory / "store.db")
        self.installation = bootstrap(self.store, directory, "http://localhost")
        self.org = self.installation.org_id
        self.tokens = Tokens(load_or_create_key(directory / "tokens.key"))
        gateway = Gateway(self.store, self.tokens, "on", self.installation)
        table = [
            *routes(self.store, self.tokens, self.installation),
            *(Route(method, "/who", who, "flow", "Who", "org") for method in ("GET", "POST")),
        ]
        self.web = InProcess(build(table, gateway, title="t"))
        given = json.loads((directory / "credentials.json").read_text())
        self.form = {"client_id": given["client_id"], "client_secret": given["client_secret"]}
        self.credentials = {"grant_type": "client_credentials", "scope": SCOPES, **self.form}

    def add(self, name: str = "loader", **options: Any) -> tuple[Client, dict[str, str]]:
        client, secret = add_client(self.store, self.org, name, **options)
        return client, {"client_id": client.id, "client_secret": secret}

    def call(self, token: str, client_id: str, method: str = "GET") -> httpx.Response:
        headers = {
            "authorization": f"Bearer {token}", "x-api-key": client_id, "x-gw-ims-org-id": self.org,
        }  # fmt: skip
        return self.web.request(method, "/who", headers=headers)

    def scopes(self, form: dict[str, str]) -> set[str]:
        answer = granted(self.web.post(V3, data={"grant_type": "client_credentials", **form}))
        return set(self.tokens.verify(answer["access_token"]).scopes)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def granted(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.status_code == 200, answer.text
    assert set(body) == {"access_token", "token_type", "expires_in"}
    assert body["token_type"] == "bearer"
    assert answer.headers["cache-control"] == "no-store"
    return body


def refused(answer: httpx.Response, error: str, status: int = 400) -> str:
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, error), answer.text
    assert set(body) == {"error", "error_description"}
    return str(body["error_description"])


# -- client credentials -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [V2, V3, f"{V3}/"])
def test_client_credentials_come_as_form_query_or_multipart(site: Site, path: str) -> None:
    files = {name: (None, value) for name, value in site.credentials.items()}
    for options in ({"data": site.credentials}, {"params": site.credentials}, {"files": files}):
        answer = granted(site.web.post(path, **options))
        assert answer["expires_in"] == 86_399
        reply = site.call(answer["access_token"], site.form["client_id"])
        assert reply.json() == {
            "client": site.form["client_id"],
            "scopes": sorted(SCOPES.split(",")),
        }


def test_the_form_may_be_unencoded_and_begin_with_a_separator(site: Site) -> None:
    text = "&".join(["", *(f"{name}={value}" for name, value in site.credentials.items())])
    kind = {"content-type": "application/x-www-form-urlencoded"}
    granted(site.web.post(V3, content=text.encode(), headers=kind))


def test_a_token_outlives_a_restart(site: Site) -> None:
    token = granted(site.web.post(V3, data=site.credentials))["access_token"]
    site.store.close()
    assert Site(site.directory).call(token, site.form["client_id"]).status_code == 200


def test_scopes_are_narrowed_on_demand_and_all_when_none_is_named(site: Site) -> None:
    assert site.scopes({**site.form, "scope": "openid,session"}) == {"openid", "session"}
    assert site.scopes({**site.form, "scope": "openid session"}) == {"openid", "session"}
    assert site.scopes(site.form) == set(SCOPES.split(","))
    asked = {"grant_type": "client_credentials", **site.form, "scope": "openid,root"}
    assert "root" in refused(site.web.post(V3, data=asked), "invalid_scope")


def test_clients_have_the_scopes_they_were_added_with(site: Site) -> None:
    _, form = site.add(scopes="openid,session")
    assert site.scopes(form) == {"openid", "session"}
    asked = {"grant_type": "client_credentials", **form, "scope": "AdobeID"}
    refused(site.web.post(V3, data=asked), "invalid_scope")


def test_a_client_that_may_only_read_gets_no_other_token(site: Site) -> None:
    client, form = site.add(read_only=True)
    assert READ_ONLY in site.scopes(form)
    assert site.scopes({**form, "scope": "openid"}) == {"openid", READ_ONLY}
    asked = {"grant_type": "client_credentials", **form}
    token = granted(site.web.post(V3, data=asked))["access_token"]
    assert site.call(token, client.id).status_code == 200
    assert site.call(token, client.id, "POST").json()["error_code"] == "403025"


def test_any_client_may_ask_for_a_token_that_only_reads(site: Site) -> None:
    assert site.scopes({**site.form, "scope": READ_ONLY}) == {*SCOPES.split(","), READ_ONLY}
    asked = {"grant_type": "client_credentials", **site.form, "scope": f"openid,{READ_ONLY}"}
    token = granted(site.web.post(V3, data=asked))["access_token"]
    assert site.call(token, site.form["client_id"], "POST").status_code == 403
    assert site.call(token, site.form["client_id"]).status_code == 200


@pytest.mark.parametrize("path", [V1, V2, V3, JWT])
def test_wrong_clients_and_secrets_are_told_apart(site: Site, path: str) -> None:
    kind = "authorization_code" if path == V1 else "client_credentials"
    form = {**site.credentials, "grant_type": kind, "code": "c", "jwt_token": "x"}
    for id in ("nobody", ""):
        text = refused(site.web.post(path, data={**form, "client_id": id}), "invalid_client")
        assert text == "invalid client_id parameter"
    for secret in ("wrong", "", form["client_secret"] + " ", form["client_secret"][:-1]):
        answer = site.web.post(path, data={**form, "client_secret": secret})
        assert refused(answer, "invalid_client") == "invalid client_secret parameter"


def test_one_clients_secret_is_not_anothers(site: Site) -> None:
    _, form = site.add()
    mixed = {**site.credentials, "client_secret": form["client_secret"]}
    refused(site.web.post(V3, data=mixed), "invalid_client")


@pytest.mark.parametrize(("path", "kind"), [(V3, "password"), (V3, ""), (V2, "authorization_code"), (V1, "client_credentials"), (V1, "refresh_token")])  # fmt: skip
def test_other_grants_are_refused(site: Site, path: str, kind: str) -> None:
    form = {**site.credentials, "grant_type": kind, "code": "x"}
    refused(site.web.post(path, data=form), "unsupported_grant_type")


def test_a_revoked_client_gets_no_token_and_keeps_none(site: Site) -> None:
    client, form = site.add()
    asked = {"grant_type": "client_credentials", **form}
    token = granted(site.web.post(V3, data=asked))["access_token"]
    assert site.call(token, client.id).status_code == 200
    revoke_client(site.store, site.org, client.id)
    assert refused(site.web.post(V3, data=asked), "invalid_client") == "invalid client_id parameter"
    assert site.call(token, client.id).json()["error_code"] == "401013"


def test_guessing_is_slowed_down_but_not_for_the_client_in_use(site: Site) -> None:
    granted(site.web.post(V3, data=site.credentials))
    wrong = {**site.credentials, "client_secret": "wrong"}
    for _ in range(10):
        refused(site.web.post(V3, data=wrong), "invalid_client")
    answer = site.web.post(V3, data=wrong)
    refused(answer, "too_many_requests", 429)
    assert answer.headers["retry-after"] == "60"
    granted(site.web.post(V3, data=site.credentials))


def test_forms_that_are_none_are_refused(site: Site) -> None:
    kind = {"content-type": "multipart/form-data"}
    refused(site.web.post(V3, content=b"nonsense", headers=kind), "invalid_request")
    refused(site.web.post(V3, content=b"a=" + b"x" * 70_000), "invalid_request", 413)
    refused(site.web.post(V3, content=b"\xff\xfe\x00"), "unsupported_grant_type")


# -- authorization codes ------------------------------------------------------------------------------------


def test_a_code_is_exchanged_once_and_its_token_counts_milliseconds(site: Site) -> None:
    client, form = site.add()
    code = issue_code(site.store, site.org, client.id)
    form = {"grant_type": "authorization_code", "code": code, **form}
    answer = granted(site.web.post(V1, data=form))
    assert answer["expires_in"] == 86_399_000
    assert site.call(answer["access_token"], client.id).json()["client"] == client.id
    assert refused(site.web.post(V1, data=form), "invalid_grant") == "invalid code parameter"


@pytest.mark.parametrize("code", ["", "made-up", "ü" * 1000])
def test_unknown_codes_are_refused(site: Site, code: str) -> None:
    form = {"grant_type": "authorization_code", "code": code, **site.form}
    refused(site.web.post(V1, data=form), "invalid_grant")
    del form["code"]
    refused(site.web.post(V1, data=form), "invalid_grant")


def test_a_code_is_only_its_clients_and_not_spent_by_failures(site: Site) -> None:
    client, form = site.add()
    code = issue_code(site.store, site.org, client.id)
    right = {"grant_type": "authorization_code", "code": code, **form}
    refused(site.web.post(V1, data={**right, **site.form}), "invalid_grant")
    refused(site.web.post(V1, data={**right, "client_secret": "x"}), "invalid_client")
    refused(site.web.post(V1, data={**right, "scope": "root"}), "invalid_scope")
    granted(site.web.post(V1, data=right))


# -- assertions ---------------------------------------------------------------------------------------------


def assertion(site: Site, client: Client, key: Any = KEY, **changes: Any) -> str:
    claims = {
        "iss": site.org, "sub": client.user_id, "aud": f"http://localhost/c/{client.id}",
        "exp": int(time.time()) + 86_400, "http://localhost/s/ent_dataservices_sdk": True, **changes,
    }  # fmt: skip
    return jwt.encode(claims, key, algorithm="RS256")


@pytest.mark.parametrize("path", [JWT, f"{JWT}/"])
def test_a_signed_assertion_is_exchanged_and_its_token_counts_milliseconds(
    site: Site, path: str
) -> None:
    client, form = site.add(keys=[registered_key(PEM)])
    form["jwt_token"] = assertion(site, client)
    files = {name: (None, value) for name, value in form.items()}
    for options in ({"data": form}, {"files": files}):
        answer = granted(site.web.post(path, **options))
        assert answer["expires_in"] == 86_399_000
        assert site.call(answer["access_token"], client.id).status_code == 200


def test_a_client_with_a_key_needs_its_signature(site: Site) -> None:
    client, form = site.add(keys=[registered_key(PEM)])
    stranger = rsa.generate_private_key(65537, 2048)
    wrong = [
        assertion(site, client, stranger),
        assertion(site, client, iss="0@AdobeOrg"),
        assertion(site, client, sub="other"),
        assertion(site, client, aud="http://localhost/c/other"),
        assertion(site, client, exp=int(time.time()) - 1),
        "nonsense",
        "",
    ]
    for text in wrong:
        refused(site.web.post(JWT, data={**form, "jwt_token": text}), "invalid_token")
    right = {**form, "jwt_token": assertion(site, client)}
    refused(site.web.post(JWT, data={**right, "client_secret": "x"}), "invalid_client")
    granted(site.web.post(JWT, data=right))


def test_one_clients_assertion_is_not_anothers(site: Site) -> None:
    one, _ = site.add("one", keys=[registered_key(PEM)])
    _, form = site.add("two", keys=[registered_key(PEM)])
    answer = site.web.post(JWT, data={**form, "jwt_token": assertion(site, one)})
    refused(answer, "invalid_token")


def test_a_client_without_a_key_is_proven_by_its_secret(site: Site) -> None:
    client, form = site.add()
    granted(site.web.post(JWT, data={**form, "jwt_token": assertion(site, client)}))
    for text in ("nonsense", "", assertion(site, client, exp=int(time.time()) - 1)):
        refused(site.web.post(JWT, data={**form, "jwt_token": text}), "invalid_token")


# -- nothing secret leaks -----------------------------------------------------------------------------------


def test_no_secret_code_assertion_or_token_is_logged_or_repeated(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    client, form = site.add(keys=[registered_key(PEM)])
    code = issue_code(site.store, site.org, client.id)
    text = assertion(site, client)
    token = granted(site.web.post(JWT, data={**form, "jwt_token": text}))["access_token"]
    answers = [
        site.web.post(V3, data={"grant_type": "x", **form}),
        site.web.post(V3, data={"grant_type": "client_credentials", **form, "scope": "x"}),
        site.web.post(V3, data={"grant_type": "client_credentials", **form, "client_id": "x"}),
        site.web.post(V1, data={"grant_type": "authorization_code", **site.form, "code": code}),
        site.web.post(JWT, data={**site.form, "jwt_token": text, "client_secret": "x"}),
        site.web.post(JWT, data={**form, "jwt_token": text[:-9]}),
        site.web.post(V3, content=f"--{form['client_secret']}".encode(), headers={"content-type": "multipart/form-data"}),
        site.web.get(V3, params=form),
        site.call(token[:-9], client.id),
        site.call(token, "x"),
    ]  # fmt: skip
    monkeypatch.setattr(
        site.tokens, "issue", None
    )  # an unexpected failure is logged with its traceback
    answers.append(site.web.post(JWT, data={**form, "jwt_token": text}))
    assert answers[-1].status_code == 500
    assert all(answer.status_code >= 400 for answer in answers)
    assert "Traceback" in caplog.text
    # the client of this test logs the addresses it calls
    ours = [r for r in caplog.records if r.name.partition(".")[0] not in ("httpx", "httpcore")]
    log = "".join(logging.Formatter().format(record) for record in ours)
    assert "failed unexpectedly" in log
    seen = log + "".join(answer.text + str(answer.headers) for answer in answers)
    for secret in (form["client_secret"], site.form["client_secret"], code, text[:-9], token[:-9]):
        assert secret not in seen


# -- aepp's own code ----------------------------------------------------------------------------------------


def aepp_token(
    site: Site, monkeypatch: pytest.MonkeyPatch, mode: str, **config: str
) -> connector.TokenInfo:
    """What aepp reads of the answer to what it sends, `requests` encoding the body."""

    def post(url: str, data: dict[str, str], verify: bool) -> requests.Response:
        prepared = requests.Request("POST", url, data=data).prepare()
        answer = site.web.post(
            urlsplit(url).path, content=str(prepared.body).encode(), headers=dict(prepared.headers)
        )
        made = requests.Response()
        made.status_code, made._content = answer.status_code, answer.content
        return made

    monkeypatch.setattr(connector.requests, "post", post)
    client = object.__new__(connector.AdobeRequest)
    client.connectionType, client.config = mode, {}
    endpoints = {
        "oauthTokenEndpointV1": f"http://localhost{V1}", "oauthTokenEndpointV2": f"http://localhost{V3}",
    }  # fmt: skip
    names = {"client_id": site.form["client_id"], "secret": site.form["client_secret"]}
    found: connector.TokenInfo = client.get_oauth_token_and_expiry_for_config(
        {**endpoints, **names, **config}
    )
    return found


def test_aepp_reads_seconds_for_client_credentials(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = aepp_token(site, monkeypatch, "oauthV2", scopes=SCOPES)
    assert found.expiry == 86_399
    assert site.call(found.token, site.form["client_id"]).status_code == 200


def test_aepp_exchanges_an_authorization_code(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    code = issue_code(site.store, site.org, site.form["client_id"])
    found = aepp_token(site, monkeypatch, "oauthV1", auth_code=code)
    assert site.call(found.token, site.form["client_id"]).status_code == 200
    with pytest.raises(KeyError):
        aepp_token(site, monkeypatch, "oauthV1", auth_code=code)
