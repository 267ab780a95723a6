"""Identity namespaces, through the application."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from headrace.errors import ApiError
from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.security.tokens import Tokens
from headrace.services.identity import Namespaces, routes
from headrace.services.identity.namespaces import STANDARD
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope, Store
from headrace.testing.calls import InProcess

BASE = "/data/core/idnamespace"
ALL = f"{BASE}/identities"
LOYALTY = {
    "name": "Loyalty Member",
    "code": "Loyalty",
    "description": "Loyalty Program Member ID",
    "idType": "Cross_device",
}
ELSEWHERE = "0123456789ABCDEF01234567@AdobeOrg"


class Site:
    def __init__(self, directory: Path) -> None:
        self.store = Store(directory / "store.db")
        installation = bootstrap(self.store, directory, "http://localhost")
        self.org = installation.org_id
        gateway = Gateway(self.store, Tokens(b"k" * 32), "off", installation)
        headers = {"x-api-key": installation.client_id, "x-gw-ims-org-id": self.org}
        self.web = InProcess(build(routes(self.store), gateway, title="t"), headers)

    def create(self, **changes: object) -> httpx.Response:
        return self.web.post(ALL, json={**LOYALTY, **changes})

    def put(self, id: object, **body: object) -> httpx.Response:
        return self.web.request("PUT", f"{ALL}/{id}", json=body)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def refused(answer: httpx.Response, status: int, title: str, code: str) -> str:
    """The description, once the rest of the error is as it must be."""
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert body["type"] == "http://ns.adobe.com/adobecloud/problem/namespacevalidation"
    assert (body["status"], body["title"], body["report"]["code"]) == (status, title, code)
    assert body["timestamp"]
    return str(body["description"])


def invalid(answer: httpx.Response) -> str:
    return refused(answer, 400, "Namespace validation", "INVALID_REQUEST_PARAMS")


def test_a_new_organisation_has_the_standard_namespaces(site: Site) -> None:
    found = {item["code"]: item for item in site.web.get(ALL).json()}
    assert len(found) == len(STANDARD) == 24
    assert found["ECID"] == {
        "updateTime": 1551688425455,
        "code": "ECID",
        "status": "ACTIVE",
        "description": "Adobe Experience Cloud ID",
        "id": 4,
        "createTime": 1551688425455,
        "idType": "COOKIE",
        "namespaceType": "Standard",
        "name": "ECID",
        "custom": False,
    }
    hashed = found["Email_LC_SHA256"]
    assert (hashed["id"], hashed["hashFunction"], hashed["transform"]) == (
        11,
        "SHA256",
        "lowercase",
    )
    assert found["TradeDesk"]["namespaceType"] == "Integration"
    assert (found["Email"]["id"], found["Phone"]["idType"]) == (6, "PHONE_NUMBER")


def test_standard_ids_and_codes_are_unique_and_below_the_custom_ones() -> None:
    assert len({n.id for n in STANDARD}) == len({n.code.lower() for n in STANDARD}) == len(STANDARD)
    assert [n.id for n in STANDARD] == sorted(n.id for n in STANDARD)
    assert STANDARD[-1].id < 10_000_000


@pytest.mark.parametrize("id", [0, 4, 20920])
def test_a_standard_namespace_by_id(site: Site, id: int) -> None:
    listed = next(item for item in site.web.get(ALL).json() if item["id"] == id)
    answer = site.web.get(f"{ALL}/{id}")
    assert (answer.status_code, answer.json()) == (200, listed)


def test_a_created_namespace_is_answered_listed_and_found(site: Site) -> None:
    answer = site.create()
    made = answer.json()
    assert answer.status_code == 200
    assert made["createTime"] == made["updateTime"] > 1_700_000_000_000
    assert made | LOYALTY | {"status": "ACTIVE", "namespaceType": "Custom", "custom": True} == made
    assert made["id"] == 10_000_000
    assert site.web.get(f"{ALL}/{made['id']}").json() == made
    assert site.web.get(f"{ALL}/").json()[-1] == made
    assert site.create(code="crm_id.v2", description=None).json()["id"] == 10_000_001
    assert "description" not in site.web.get(f"{ALL}/10000001").json()


def test_keys_of_the_server_cannot_be_given(site: Site) -> None:
    made = site.create(id=4, custom=False, namespaceType="Standard", status="DRAFT").json()
    assert (made["id"], made["custom"], made["status"]) == (10_000_000, True, "ACTIVE")


@pytest.mark.parametrize("code", ["Loyalty", "LOYALTY", "ecid", "Email", "phone_e.164"])
def test_codes_are_unique_in_any_letter_case(site: Site, code: str) -> None:
    assert site.create().status_code == 200
    text = refused(
        site.create(code=code), 409, "NAMESPACE_CODE_CONFLICT", "INTEGRATION_CODE_EXISTS"
    )
    assert code in text
    assert len(site.web.get(ALL).json()) == len(STANDARD) + 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", None), ("name", " "), ("name", 5), ("name", "n" * 256),
        ("code", None), ("code", ""), ("code", "two words"), ("code", "a/b"), ("code", "é"),
        ("code", "line\n"), ("code", "c" * 256), ("code", 7), ("code", "."),
        ("idType", None), ("idType", "PERSON"), ("idType", ["COOKIE"]),
        ("description", 5), ("description", "d" * 1025),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(site: Site, key: str, value: object) -> None:
    assert invalid(site.create(**{key: value})).startswith(f"{key} must be")
    assert len(site.web.get(ALL).json()) == len(STANDARD)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"name":"\\ud800"}', b"\xff"])
@pytest.mark.parametrize(("method", "path"), [("POST", ALL), ("PUT", f"{ALL}/10000000")])
def test_a_body_that_is_no_object(site: Site, method: str, path: str, body: bytes) -> None:
    site.create()
    headers = {"content-type": "application/json"}
    invalid(site.web.request(method, path, content=body, headers=headers))


@pytest.mark.parametrize(
    "id_type",
    ["COOKIE", "Cross_device", "device", "EMAIL", "MOBILE", "NON_PEOPLE", "PHONE", "B2B_ACCOUNT"],
)
def test_types_in_any_letter_case_are_kept_as_given(site: Site, id_type: str) -> None:
    assert site.create(idType=id_type).json()["idType"] == id_type


def test_name_and_description_can_change(site: Site) -> None:
    made = site.create().json()
    whole = {**LOYALTY, "idType": "CROSS_DEVICE", "name": "Member", "description": "New"}
    answer = site.put(made["id"], **whole)
    changed = answer.json()
    assert answer.status_code == 200
    assert changed["updateTime"] >= made["updateTime"]
    expected = {**made, "name": "Member", "description": "New"}
    assert changed | {"updateTime": 0} == expected | {"updateTime": 0}
    assert site.web.get(f"{ALL}/{made['id']}").json() == changed
    assert site.put(made["id"], description="Only this").json()["name"] == "Member"
    kept = site.put(made["id"], name="Last", description=None).json()
    assert (kept["name"], kept["description"]) == ("Last", "Only this")
    assert "description" not in site.put(made["id"], description="").json()


@pytest.mark.parametrize(
    "change",
    [
        {"code": "Other"}, {"code": "loyalty"}, {"code": 1}, {"idType": "COOKIE"}, {"idType": 3},
        {"name": ""}, {"name": 5}, {"description": []},
    ],
)  # fmt: skip
def test_a_change_that_is_refused_changes_nothing(site: Site, change: dict[str, object]) -> None:
    made = site.create().json()
    assert next(iter(change)) in invalid(site.put(made["id"], **{**LOYALTY, **change}))
    assert site.web.get(f"{ALL}/{made['id']}").json() == made


def test_a_change_must_change_something(site: Site) -> None:
    made = site.create().json()
    invalid(site.put(made["id"], code="Loyalty", idType="Cross_device"))


def test_standard_namespaces_do_not_change(site: Site) -> None:
    assert "standard" in invalid(site.put(4, name="Mine"))
    assert site.web.get(f"{ALL}/4").json()["name"] == "ECID"


@pytest.mark.parametrize("id", ["5", "9999999", "10000000", "9" * 18])
def test_an_unknown_id(site: Site, id: str) -> None:
    for answer in (site.web.get(f"{ALL}/{id}"), site.put(id, name="n")):
        assert id in refused(answer, 404, "NAMESPACE_NOT_FOUND", "NAMESPACE_NOT_FOUND")


@pytest.mark.parametrize("id", ["ECID", "-1", "1.5", "٤", "9" * 5000])
def test_an_id_that_is_no_number(site: Site, id: str) -> None:
    invalid(site.web.get(f"{ALL}/{id}"))


def test_namespaces_cannot_be_deleted(site: Site) -> None:
    made = site.create().json()
    assert site.web.delete(f"{ALL}/{made['id']}").status_code == 405
    assert site.web.get(f"{ALL}/{made['id']}").json() == made


def test_another_organisation_shares_only_the_standard_ones(site: Site) -> None:
    site.create()
    other = Namespaces(site.store).create(ELSEWHERE, LOYALTY)
    assert other.id == 10_000_001, "the same code in two organisations is no conflict"
    own = site.web.get(f"{BASE}/orgs/{site.org}/identities").json()
    assert own == site.web.get(ALL).json()
    assert [item["id"] for item in own if item["custom"]] == [10_000_000]
    theirs = site.web.get(f"{BASE}/orgs/{ELSEWHERE}/identities").json()
    assert theirs == [item for item in own if not item["custom"]]
    assert site.web.get(f"{ALL}/{other.id}").status_code == 404
    assert site.put(other.id, name="Stolen").status_code == 404


def test_no_sandbox_is_needed_and_none_divides(site: Site) -> None:
    sandboxes = Scope(site.org, "")
    site.store.create(sandboxes, "sandboxes", "dev", {"id": "d", "name": "dev", "type": "x"})
    made = site.web.post(ALL, json=LOYALTY, headers={"x-sandbox-name": "dev"}).json()
    for name in ("prod", "absent", None):
        headers = {"x-sandbox-name": name}
        assert site.web.request("GET", f"{ALL}/{made['id']}", headers=headers).json() == made


def test_concurrent_creations_get_ids_of_their_own(tmp_path: Path, site: Site) -> None:
    stores = [Namespaces(site.store), Namespaces(Store(tmp_path / "store.db"))]

    def create(number: int) -> int:
        body = {**LOYALTY, "code": f"code{number}"}
        return stores[number % 2].create(site.org, body).id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(create, range(32)))
    assert sorted(ids) == list(range(10_000_000, 10_000_032))


def test_of_concurrent_creations_with_one_code_one_succeeds(tmp_path: Path, site: Site) -> None:
    stores = [Namespaces(site.store), Namespaces(Store(tmp_path / "store.db"))]

    def create(number: int) -> int:
        code = "Loyalty" if number % 4 < 2 else "LOYALTY"
        try:
            stores[number % 2].create(site.org, {**LOYALTY, "code": code})
        except ApiError as error:
            return error.status
        return 200

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(16)))
    assert sorted(answers) == [200] + [409] * 15
    assert [n.code.lower() for n in Namespaces(site.store).all(site.org)].count("loyalty") == 1


def test_a_refused_creation_takes_no_id(site: Site) -> None:
    site.create()
    site.create()
    assert site.create(code="Other").json()["id"] == 10_000_001


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [
        ("ECID", True), ("ecid", True), ("Loyalty", True), ("LOYALTY", True), (4, True), (0, True),
        ("4", True), (10_000_000, True), ("10000000", True),
        ("Absent", False), ("", False), (5, False), ("5", False), (10_000_001, False), (-4, False),
        ("٤", False), ("9" * 5000, False), (10**30, False), (True, False), (False, False),
        (None, False), (4.0, False), (["ECID"], False), ({"code": "ECID"}, False),
    ],
)  # fmt: skip
def test_what_descriptors_may_name(site: Site, namespace: object, expected: bool) -> None:
    site.create()
    known = Namespaces(site.store)
    assert known.known(site.org, namespace) is expected
    assert not known.known(site.org, 10**5000), "too long to be written as a text"
    if namespace in ("Loyalty", 10_000_000):
        assert not known.known(ELSEWHERE, namespace)


def test_namespaces_survive_a_restart(tmp_path: Path, site: Site) -> None:
    made = site.create().json()
    again = Namespaces(Store(tmp_path / "store.db"))
    assert again.get(site.org, str(made["id"])).code == "Loyalty"
    assert again.create(site.org, {**LOYALTY, "code": "Next"}).id == made["id"] + 1


def test_calls_need_the_gateway_headers(site: Site) -> None:
    answer = site.web.request("GET", ALL, headers={"x-gw-ims-org-id": None})
    assert json.loads(answer.content) == {"error_code": "400003", "message": "Missing header"}
