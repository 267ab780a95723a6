"""The table of sandbox management."""

from headrace.errors import ApiError
from headrace.http.contract import Answer, Call, Route
from headrace.http.paging import limit_and_offset
from headrace.http.properties import select
from headrace.services.sandbox import wire
from headrace.services.sandbox.service import TYPES, SandboxService

BASE = "/data/foundation/sandbox-management"


def routes(service: SandboxService) -> list[Route]:
    def listed(path: str, call: Call) -> Answer:
        limit, offset = limit_and_offset(call.value("limit"), call.value("offset"))
        chosen = select(call.values("property"))
        items = [wire.item(document) for document in service.all(call.who)]
        items = [item for item in items if chosen.accepts(item)]
        order = call.value("orderBy") or call.value("orderby") or ""
        key = order.strip().lstrip("+-")
        if key:
            if items and key not in items[0]:
                raise ApiError(400, "paging", "Invalid request", f"'{key}' is not a field.")
            items.sort(key=lambda item: str(item[key]), reverse=order.strip().startswith("-"))
        window = items[offset : offset + limit]
        return Answer(200, wire.page(window, limit, len(window), path))

    def create(call: Call) -> Answer:
        return Answer(201, wire.brief(service.create(call.who, call.object()), "creating"))

    def change(call: Call) -> Answer:
        document = service.patch(call.who, call.params["name"], call.object())
        return Answer(200, wire.item(document))

    def act(call: Call) -> Answer:
        action = call.object().get("action")
        if action != "reset":
            raise ApiError(
                400, "SMS-2008-400", "Invalid request", "action must be reset, nothing else."
            )
        validate_only = call.flag("validationOnly")
        document = service.reset(call.who, call.params["name"], validate_only=validate_only)
        return Answer(200, wire.brief(document, "active" if validate_only else "resetting"))

    def delete(call: Call) -> Answer:
        return Answer(200, wire.brief(service.delete(call.who, call.params["name"]), "deleted"))

    one = f"{BASE}/sandboxes/{{name}}"
    table = [
        ("GET", BASE, lambda call: listed("/", call), "Sandboxes the caller may use"),
        ("GET", f"{BASE}/sandboxes", lambda call: listed("/sandboxes", call), "All sandboxes"),
        ("POST", f"{BASE}/sandboxes", create, "Create a sandbox"),
        (
            "GET",
            one,
            lambda call: Answer(200, wire.item(service.get(call.who, call.params["name"]))),
            "One sandbox",
        ),
        ("PATCH", one, change, "Change a sandbox's title"),
        ("PUT", one, act, "Reset a sandbox"),
        ("DELETE", one, delete, "Delete a sandbox"),
        (
            "GET",
            f"{BASE}/sandboxTypes",
            lambda call: Answer(200, {"sandboxTypes": list(TYPES)}),
            "Kinds of sandboxes",
        ),
    ]
    return [
        Route(method, path, handler, "sandbox", text, "org")
        for method, path, handler, text in table
    ]
