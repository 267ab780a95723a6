"""The table of identity namespaces."""

from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Answer, Call, Route
from headrace.services.identity import wire
from headrace.services.identity.faults import invalid
from headrace.services.identity.service import Namespaces

BASE = "/data/core/idnamespace"


def routes(namespaces: Namespaces) -> list[Route]:
    def listed(call: Call) -> Answer:
        return Answer(200, [wire.item(found) for found in namespaces.all(call.who.org_id)])

    def of_organisation(call: Call) -> Answer:
        shared = namespaces.shared(call.who.org_id, call.params["org"])
        return Answer(200, [wire.item(found) for found in shared])

    def one(call: Call) -> Answer:
        return Answer(200, wire.item(namespaces.get(call.who.org_id, call.params["id"])))

    def create(call: Call) -> Answer:
        return Answer(200, wire.item(namespaces.create(call.who.org_id, _body(call))))

    def replace(call: Call) -> Answer:
        changed = namespaces.replace(call.who.org_id, call.params["id"], _body(call))
        return Answer(200, wire.item(changed))

    every = f"{BASE}/identities"
    single = f"{every}/{{id}}"
    table = [
        ("GET", every, listed, "Namespaces of the organisation, standard ones included"),
        ("POST", every, create, "Create a namespace"),
        ("GET", single, one, "One namespace"),
        ("PUT", single, replace, "Change a namespace's name and description"),
        (
            "GET",
            f"{BASE}/orgs/{{org}}/identities",
            of_organisation,
            "Namespaces of an organisation; of another one, only those all share",
        ),
    ]
    return [
        Route(method, path, handler, "identity", text, "org")
        for method, path, handler, text in table
    ]


def _body(call: Call) -> dict[str, Any]:
    try:
        return call.object()
    except ApiError as error:
        raise invalid(error.detail) from None
