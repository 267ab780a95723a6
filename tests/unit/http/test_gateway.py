"""What is checked before a service sees a call, in the contract's order and bodies."""

import json
from pathlib import Path

import pytest

from headrace.http.application import build
from headrace.http.contract import Answer, Call, Route
from headrace.http.gateway import Gateway
from headrace.security.clients import READ_ONLY, Client, add_client, revoke_client
from headrace.security.tokens import Tokens
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope, Store
from headrace.testing.calls import InProcess

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
SECRET_TEXT = "this text belongs to the log alone"


def explode(call: Call) -> Answer:
    raise RuntimeError(SECRET_TEXT)


def echo(call: Call) -> Answer:
    who = call.who
    return Answer(
        200, {"sandbox": who.sandbox, "client": who.client_id, "scopes": sorted(who.scopes)}
    )


class Site:
    def __init__(self, directory: Path, auth: str = "on") -> None:
        self.store = store = Store(directory / "store.db")
        self.installation = bootstrap(store, directory, "http://localhost")
        self.credentials = json.loads((directory / "credentials.json").read_text())
        self.clock = 1_700_000_000.0
        self.tokens = Tokens(b"k" * 32, lambda: self.clock)
        routes = [
            Route("GET", "/echo", echo, "flow", "Echo"),
            Route("POST", "/echo", echo, "flow", "Echo"),
            Route("GET", "/explode", explode, "flow", "Fail"),
            *(Route(method, "/thing", echo, "flow", method) for method in METHODS),
            Route("POST", "/thing/preview", echo, "flow", "Compute", reads=True),
            Route("GET", "/thing/test", echo, "flow", "A GET with effects", reads=False),
            Route("POST", "/upload", echo, "flow", "A file", files=True),
            Route("GET", "/org", echo, "sandbox", "Without a sandbox", "org"),
        ]
        gateway = Gateway(store, self.tokens, "off" if auth == "off" else "on", self.installation)
        client_id, org = self.credentials["client_id"], self.credentials["org_id"]
        token, _ = self.tokens.issue(client_id, org, ["openid"], "user")
        self.headers = {
            "authorization": f"Bearer {token}",
            "x-api-key": client_id,
            "x-gw-ims-org-id": org,
        }
        self.web = InProcess(build(routes, gateway, title="t", max_body=1000), self.headers)

    def become(self, client: Client, *scopes: str) -> dict[str, str]:
        """Headers of another client, with a token of its own."""
        granted = scopes or client.effective
        token, _ = self.tokens.issue(client.id, client.org, granted, client.user_id)
        return {"authorization": f"Bearer {token}", "x-api-key": client.id}

    def add(self, name: str, *, read_only: bool = False) -> Client:
        return add_client(self.store, self.installation.org_id, name, read_only=read_only)[0]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"authorization": None}, 403, "403010"),
        ({"authorization": "Bearer "}, 403, "403010"),
        ({"authorization": "Bearer nonsense"}, 401, "401013"),
        ({"authorization": "Basic dTpw"}, 401, "401013"),
        ({"x-api-key": None}, 403, "403000"),
        ({"x-api-key": "unknown"}, 403, "403003"),
        ({"x-gw-ims-org-id": None}, 400, "400003"),
        ({"x-gw-ims-org-id": "AAAAAAAAAAAAAAAAAAAAAAAA@AdobeOrg"}, 403, "403025"),
        ({"x-gw-ims-org-id": "no organisation"}, 403, "403027"),
    ],
)
def test_a_missing_or_wrong_header_is_refused_with_the_gateway_code(
    site: Site, change: dict[str, str | None], status: int, code: str
) -> None:
    answer = site.web.get("/echo", headers=change)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert set(answer.json()) == {"error_code", "message"}


def test_the_sandbox_is_prod_unless_another_is_named(site: Site) -> None:
    assert site.web.get("/echo").json()["sandbox"] == "prod"
    assert site.web.get("/echo/", headers={"x-sandbox-name": "prod"}).status_code == 200
    unknown = site.web.get("/echo", headers={"x-sandbox-name": "elsewhere"})
    assert unknown.status_code == 404
    assert unknown.json()["type"].endswith("FLOW-2100-404")


def test_an_expired_token_is_refused(site: Site) -> None:
    site.clock += 86_400
    assert site.web.get("/echo").json()["error_code"] == "401013"


def test_without_authorization_calls_pass_only_where_it_is_off_and_invalid_tokens_never(
    tmp_path: Path,
) -> None:
    open_site = Site(tmp_path, auth="off")
    assert open_site.web.get("/echo", headers={"authorization": None}).status_code == 200
    assert open_site.web.get("/echo", headers={"authorization": "Bearer x"}).status_code == 401


def test_a_body_needs_a_json_content_type_and_a_bounded_size(site: Site) -> None:
    text = site.web.post("/echo", content=b"{}", headers={"content-type": "text/plain"})
    assert (text.status_code, text.json()["title"]) == (400, "BadRequestError")
    large = site.web.post("/echo", json={"a": "x" * 2000})
    assert large.status_code == 413


def test_a_route_for_files_takes_any_type_and_the_size_limit_holds(site: Site) -> None:
    assert site.web.post("/upload", files={"file": ("a.csv", b"a,b")}).status_code == 200
    assert site.web.post("/upload", content=b"a", headers={"content-type": ""}).status_code == 200
    assert site.web.post("/upload", content=b"a" * 1001).status_code == 413


def test_unknown_paths_and_methods_answer_in_an_envelope(site: Site) -> None:
    assert site.web.get("/nowhere").status_code == 404
    wrong = site.web.delete("/echo")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, POST")
    assert site.web.get("/echo", headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"


def test_an_unexpected_failure_shows_nothing_internal(site: Site) -> None:
    answer = site.web.get("/explode")
    assert answer.status_code == 500
    assert SECRET_TEXT not in answer.text
    assert "Traceback" not in answer.text


# -- order of the checks ------------------------------------------------------------------------------------

FAULTS = [
    ({"authorization": None}, "403010"),
    ({"authorization": "Bearer nonsense"}, "401013"),
    ({"x-api-key": None}, "403000"),
    ({"x-api-key": "unknown"}, "403003"),
    ({"x-gw-ims-org-id": None}, "400003"),
    ({"x-gw-ims-org-id": "AAAAAAAAAAAAAAAAAAAAAAAA@AdobeOrg"}, "403025"),
    ({"x-sandbox-name": "elsewhere"}, "FLOW-2100-404"),
    ({"content-type": "text/plain"}, "/placeholder/type/uri"),
]


def fault(body: dict[str, str]) -> str:
    return body.get("error_code") or body["type"].rpartition("errors/")[2]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (first, second)
        for first in range(len(FAULTS))
        for second in range(first + 1, len(FAULTS))
        if not FAULTS[first][0].keys() & FAULTS[second][0].keys()
    ],
)
def test_of_two_faults_the_earlier_check_is_answered(site: Site, first: int, second: int) -> None:
    headers = {"content-type": "application/json", **FAULTS[second][0], **FAULTS[first][0]}
    assert fault(site.web.post("/thing", content=b"{}", headers=headers).json()) == FAULTS[first][1]


def test_each_message_is_the_documented_one(site: Site) -> None:
    def message(**headers: str | None) -> str:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return str(site.web.get("/echo", headers=sent).json()["message"])

    assert message(authorization=None) == "Oauth token is missing."
    assert message(authorization="Bearer x") == "Oauth token is not valid"
    assert message(x_api_key=None) == "Api Key is required"
    assert message(x_api_key="x") == "Api Key is invalid"
    assert message(x_gw_ims_org_id=None) == "Missing header"
    assert message(x_gw_ims_org_id="A@AdobeOrg") == "Profile is not valid"
    assert message(x_gw_ims_org_id="x") == "User region is missing"


# -- sandboxes ----------------------------------------------------------------------------------------------


def test_a_sandbox_may_be_named_by_its_id_or_by_both_when_they_agree(site: Site) -> None:
    id = site.installation.sandbox_id
    assert site.web.get("/echo", headers={"x-sandbox-id": id}).json()["sandbox"] == "prod"
    both = {"x-sandbox-id": id, "x-sandbox-name": "prod"}
    assert site.web.get("/echo", headers=both).json()["sandbox"] == "prod"
    unknown = site.web.get("/echo", headers={"x-sandbox-id": "no-such-id"})
    assert (unknown.status_code, fault(unknown.json())) == (404, "FLOW-2103-404")
    scope = Scope(site.installation.org_id, "")
    site.store.create(scope, "sandboxes", "dev", {"id": "dev-id", "name": "dev", "type": "development"})  # fmt: skip
    assert site.web.get("/echo", headers={"x-sandbox-id": "dev-id"}).json()["sandbox"] == "dev"
    differ = site.web.get("/echo", headers={"x-sandbox-id": "dev-id", "x-sandbox-name": "prod"})
    assert (differ.status_code, fault(differ.json())) == (404, "FLOW-2103-404")


def test_routes_without_a_sandbox_ignore_the_header(site: Site) -> None:
    assert site.web.get("/org", headers={"x-sandbox-name": "elsewhere"}).json()["sandbox"] == ""


# -- several clients ----------------------------------------------------------------------------------------


def test_each_client_calls_with_its_own_key_and_token(site: Site) -> None:
    one, two = site.add("one"), site.add("two")
    assert site.web.get("/echo", headers=site.become(one)).json()["client"] == one.id
    assert site.web.get("/echo", headers=site.become(two)).json()["client"] == two.id
    mixed = {**site.become(one), "x-api-key": two.id}
    assert site.web.get("/echo", headers=mixed).json()["error_code"] == "403003"


def test_a_revoked_clients_tokens_end_at_once_and_nobody_elses(site: Site) -> None:
    one, two = site.add("one"), site.add("two")
    mine, theirs = site.become(one), site.become(two)
    assert site.web.get("/echo", headers=mine).status_code == 200
    revoke_client(site.store, one.org, one.id)
    refused = site.web.get("/echo", headers=mine)
    assert (refused.status_code, refused.json()["error_code"]) == (401, "401013")
    assert site.web.get("/echo", headers=theirs).status_code == 200
    assert site.web.get("/echo").status_code == 200


def test_a_revoked_clients_key_is_unknown_where_no_token_is_needed(tmp_path: Path) -> None:
    site = Site(tmp_path, auth="off")
    client = site.add("one")
    headers = {"authorization": None, "x-api-key": client.id}
    assert site.web.get("/echo", headers=headers).json()["client"] == client.id
    revoke_client(site.store, client.org, client.id)
    assert site.web.get("/echo", headers=headers).json()["error_code"] == "403003"


def test_a_token_of_another_installation_is_refused(site: Site, tmp_path: Path) -> None:
    token, _ = site.tokens.issue(site.credentials["client_id"], "0@AdobeOrg", ["openid"], "u")
    answer = site.web.get("/echo", headers={"authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["error_code"]) == (401, "401013")
    stranger, _ = site.tokens.issue("nobody", site.installation.org_id, ["openid"], "u")
    headers = {"authorization": f"Bearer {stranger}", "x-api-key": "nobody"}
    assert site.web.get("/echo", headers=headers).json()["error_code"] == "401013"


# -- reading only -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/thing", True),
        ("HEAD", "/thing", True),
        ("POST", "/thing", False),
        ("PUT", "/thing", False),
        ("PATCH", "/thing", False),
        ("DELETE", "/thing", False),
        ("POST", "/thing/preview", True),
        ("GET", "/thing/test", False),
    ],
)
@pytest.mark.parametrize("auth", ["on", "off"])
def test_a_client_that_may_only_read_calls_what_only_reads(
    tmp_path: Path, auth: str, method: str, path: str, allowed: bool
) -> None:
    site = Site(tmp_path, auth)
    reader, writer = site.add("reader", read_only=True), site.add("writer")
    callers = [site.become(reader), site.become(writer, "openid", READ_ONLY)]
    callers.append(site.become(reader, "openid"))  # the client counts, whatever its token says
    if auth == "off":
        callers.append({"authorization": None, "x-api-key": reader.id})
    for headers in callers:
        answer = site.web.request(method, path, headers=headers)
        assert answer.status_code == (200 if allowed else 403)
        if not allowed:
            assert answer.json()["error_code"] == "403025"
            assert set(answer.json()) == {"error_code", "message"}
    assert site.web.request(method, path, headers=site.become(writer)).status_code == 200


def test_a_route_only_reads_when_its_method_or_its_author_says_so() -> None:
    assert not Route("POST", "/x", echo, "flow", "x").only_reads
    assert Route("GET", "/x", echo, "flow", "x").only_reads
    assert Route("POST", "/x", echo, "flow", "x", reads=True).only_reads
    assert not Route("GET", "/x", echo, "flow", "x", reads=False).only_reads
