"""A replay that is cancelled: what has landed stays, the rest stays failed, whenever the worker dies."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.runtime.replay_requests import cancel, request
from headrace.security.tokens import Tokens
from headrace.services.operator.replays import replay_routes
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope
from headrace.testing import crashpoints
from headrace.testing.calls import InProcess
from tests.unit.runtime.test_replay import POINTS, SCOPE, Killed, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def look_again(site: Site) -> bool:
    """One step of the worker, which looks at once."""
    site.replaying._looked = -1e9
    return site.replaying.step()


def begun(site: Site) -> str:
    """A replay of six records of which the first page of two has landed."""
    site.send("bad", "bad", "bad", "bad", "bad", "bad", 1)
    site.replaying.page_rows = 2
    site.fix()
    id = site.ask()
    assert look_again(site)
    assert site.state(id)["landed"] == 2
    return id


def over(site: Site, id: str, landed: int) -> None:
    site.work()
    found = site.state(id)
    assert (found["state"], found["landed"], found["stillFailed"]) == (
        "cancelled",
        landed,
        6 - landed,
    )
    assert found["open"] == []
    assert found["ended"] is not None
    assert site.failed() == [f"r{n}" for n in range(landed, 6)]
    assert site.good() == {f"r{n}": 0 for n in range(landed)} | {"r6": 1}
    assert site.counts() == (landed + 1, 6 - landed)


def test_what_a_cancelled_replay_has_landed_stays_and_the_rest_stays_failed(site: Site) -> None:
    id = begun(site)
    found = cancel(site.store, SCOPE, id)
    assert found is not None
    assert found.body["state"] == "cancelling"
    over(site, id, 2)


def test_a_replay_that_has_not_begun_is_cancelled_at_once_and_never_begins(site: Site) -> None:
    site.send("bad", 1)
    site.fix()
    id = site.ask()
    found = cancel(site.store, SCOPE, id)
    assert found is not None
    assert found.body["state"] == "cancelled"
    site.work()
    assert (site.state(id)["state"], site.failed()) == ("cancelled", ["r0"])


def test_the_page_at_hand_is_finished_and_no_other_begins(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = begun(site)
    replayer = site.replaying._running
    assert replayer is not None
    real = replayer.replayer.replay

    def while_cancelled(*given: Any) -> Any:
        cancel(site.store, SCOPE, id)
        return real(*given)

    monkeypatch.setattr(replayer.replayer, "replay", while_cancelled)
    over(site, id, 4)


def test_a_cancelled_replay_stays_cancelled_after_a_restart_and_another_lands_the_rest(
    site: Site,
) -> None:
    id = begun(site)
    cancel(site.store, SCOPE, id)
    site.start()
    over(site, id, 2)
    site.start()
    over(site, id, 2)
    done = site.replay()
    assert (done["state"], done["selected"], done["landed"]) == ("done", 4, 4)
    assert (site.failed(), site.counts()) == ([], (7, 0))
    assert site.state(id)["landed"] == 2


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_dies_before_it_hears_of_the_cancellation_leaves_no_record_in_both_tables(
    site: Site, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def die(status: int) -> None:
        raise Killed

    id = begun(site)
    monkeypatch.setattr(os, "_exit", die)
    monkeypatch.setattr(crashpoints, "_NAME", point)
    monkeypatch.setattr(crashpoints, "_left", 1)
    with pytest.raises(Killed):
        site.work()
    monkeypatch.setattr(crashpoints, "_NAME", "")
    cancel(site.store, SCOPE, id)
    site.start()
    site.replaying.page_rows = 2
    over(site, id, 2 if point == "replay-after-data-file" else 4)


def test_a_replay_is_cancelled_over_the_api_and_one_that_is_over_is_not(tmp_path: Path) -> None:
    site = Site(tmp_path / "data")
    installation = bootstrap(site.store, site.directory, "http://localhost")
    scope = Scope(installation.org_id, "prod")
    site.revisions.add(_owned(site, installation.org_id))
    own = json.loads((site.directory / "credentials.json").read_text())
    headers = {
        "x-api-key": own["client_id"], "x-gw-ims-org-id": own["org_id"], "x-sandbox-name": "prod",
    }  # fmt: skip
    gateway = Gateway(site.store, Tokens(b"k" * 32), "off", installation)
    web = InProcess(
        build(replay_routes(site.store, lambda: site.lake), gateway, title="t"), headers
    )
    id = request(site.store, scope, "f", {}, "t").id

    def delete(name: str) -> httpx.Response:
        return web.delete(f"/headrace/flows/f/replays/{name}")

    assert delete("nothing").status_code == 404
    first, again = delete(id), delete(id)
    assert (first.status_code, first.json()["state"]) == (200, "cancelled")
    assert (again.status_code, again.json()) == (200, first.json())
    assert web.get(f"/headrace/flows/f/replays/{id}").json()["state"] == "cancelled"
    other = request(site.store, scope, "f", {}, "t")
    site.store.replace(scope, "replays", other.id, other.body | {"state": "running"})
    assert (delete(other.id).status_code, delete(other.id).json()["state"]) == (202, "cancelling")
    site.store.replace(scope, "replays", other.id, other.body | {"state": "done"})
    assert delete(other.id).status_code == 409
    assert "it is done" in delete(other.id).json()["detail"]


def _owned(site: Site, org: str) -> Any:
    from dataclasses import replace

    return replace(site.first, revision=7, org_id=org)
