"""Routes of the Schema Registry."""

from collections.abc import Callable

from headrace.http.contract import Answer, Call, Route
from headrace.services.registry import accept
from headrace.services.registry.authoring import Authoring
from headrace.services.registry.descriptors import Descriptors
from headrace.services.registry.lists import page_from, page_of
from headrace.services.registry.sample import sample
from headrace.services.registry.service import RegistryService
from headrace.services.registry.stats import stats as statistics
from headrace.services.registry.transfer import export, take_in
from headrace.services.registry.wire import BASE, listing
from headrace.store.documents import Scope

WRITABLE = ("schemas", "classes", "fieldgroups", "mixins", "datatypes")


def routes(
    registry: RegistryService, authoring: Authoring, descriptors: Descriptors
) -> list[Route]:

    def accepted(call: Call) -> str:
        return call.headers.get("accept", "")

    def lists(container: str, word: str) -> Callable[[Call], Answer]:
        def handle(call: Call) -> Answer:
            view = accept.list_view(accepted(call))
            return Answer(200, registry.listed(call.who, container, word, page_from(call), view))

        return handle

    def lookups(container: str, word: str) -> Callable[[Call], Answer]:
        def handle(call: Call) -> Answer:
            view = accept.lookup_view(accepted(call))
            return Answer(200, registry.get(call.who, container, word, call.params["id"], view))

        return handle

    def creates(word: str) -> Callable[[Call], Answer]:
        return lambda call: Answer(201, authoring.create(call.who, word, call.object()))

    def replaces(word: str) -> Callable[[Call], Answer]:
        return lambda call: Answer(
            200, authoring.replace(call.who, word, call.params["id"], call.object())
        )

    def patches(word: str) -> Callable[[Call], Answer]:
        return lambda call: Answer(
            200, authoring.patch(call.who, word, call.params["id"], call.json())
        )

    def deletes(word: str) -> Callable[[Call], Answer]:
        def handle(call: Call) -> Answer:
            authoring.delete(call.who, word, call.params["id"])
            return Answer(204)

        return handle

    def behaviors(call: Call) -> Answer:
        view = accept.lenient_view(accepted(call))
        found = registry.listed(call.who, "global", "behaviors", page_from(call), view)
        return Answer(200, found)

    def behavior(call: Call) -> Answer:
        view = accept.lenient_view(accepted(call))
        return Answer(200, registry.get(call.who, "global", "behaviors", call.params["id"], view))

    def stats(call: Call) -> Answer:
        return Answer(200, statistics(registry, call.who))

    def unions(call: Call) -> Answer:
        page = page_from(call)
        items, following = page_of(registry.unions(call.who), page)
        return Answer(200, listing(items, "tenant/unions", page, following))

    def union(call: Call) -> Answer:
        view = accept.lenient_view(accepted(call))
        scope = Scope(call.who.org_id, call.who.sandbox)
        id = call.params["id"]
        found = registry.resource(scope, id if id.endswith("__union") else f"{id}__union")
        return Answer(200, registry.shown(found, view, scope))

    def delete_descriptor(call: Call) -> Answer:
        descriptors.delete(call.who, call.params["id"])
        return Answer(204)

    def take(call: Call) -> Answer:
        return Answer(200, take_in(registry, authoring, call.who, call.json()))

    def extends(call: Call) -> Answer:
        return Answer(200, authoring.extend_standard(call.who, call.params["id"], call.json()))

    def descriptor(call: Call) -> Answer:
        accept.descriptor_lookup_view(accepted(call))
        return Answer(200, descriptors.get(call.who, call.params["id"]))

    def sample_data(call: Call) -> Answer:
        scope = Scope(call.who.org_id, call.who.sandbox)
        _, _, tree = registry.schema_tree(scope, call.params["id"])
        return Answer(200, sample(tree))

    def route(method: str, path: str, handler: Callable[[Call], Answer], summary: str) -> Route:
        return Route(method, f"{BASE}{path}", handler, "registry", summary)

    found = [
        route("GET", "/stats", stats, "Usage summary of the sandbox"),
        route("GET", "/global/behaviors", behaviors, "List behaviors"),
        route("GET", "/global/behaviors/{id:path}", behavior, "Look up a behavior"),
        route("GET", "/tenant/unions", unions, "List union views"),
        route("GET", "/tenant/unions/{id:path}", union, "Look up a union view"),
        route(
            "GET", "/rpc/auditlog/{id:path}",
            lambda call: Answer(200, registry.audit_log(call.who, call.params["id"])),
            "Changes of a resource",
        ),
        route("GET", "/rpc/sampledata/{id:path}", sample_data, "A sample record of a schema"),
        route(
            "GET", "/rpc/export/{id:path}",
            lambda call: Answer(200, export(registry, call.who, call.params["id"])),
            "Export a resource with all that it needs",
        ),
        route("POST", "/rpc/import", take, "Import exported resources"),
        route("POST", "/rpc/export", take, "Import exported resources (as a client spells it)"),
        route(
            "GET", "/global/descriptors",
            lambda call: Answer(
                200, descriptors.standard(accept.descriptor_view(accepted(call)))
            ),
            "List standard descriptors (there are none)",
        ),
        route(
            "GET", "/tenant/descriptors",
            lambda call: Answer(
                200,
                descriptors.listed(call.who, page_from(call), accept.descriptor_view(accepted(call))),
            ),
            "List descriptors",
        ),
        route(
            "POST", "/tenant/descriptors",
            lambda call: Answer(201, descriptors.create(call.who, call.object())),
            "Create a descriptor",
        ),
        route(
            "GET", "/tenant/descriptors/{id:path}",
            descriptor, "Look up a descriptor",
        ),
        route(
            "PUT", "/tenant/descriptors/{id:path}",
            lambda call: Answer(201, descriptors.replace(call.who, call.params["id"], call.object())),
            "Replace a descriptor",
        ),
        route("DELETE", "/tenant/descriptors/{id:path}", delete_descriptor, "Delete a descriptor"),
    ]  # fmt: skip
    for word in ("fieldgroups", "mixins"):
        found.append(
            route(
                "PATCH", f"/global/{word}/{{id:path}}", extends,
                "Use a standard field group with further classes",
            )
        )  # fmt: skip
    for word in WRITABLE:
        for container in ("tenant", "global"):
            found += [
                route("GET", f"/{container}/{word}", lists(container, word), f"List {container} {word}"),
                route(
                    "GET", f"/{container}/{word}/{{id:path}}", lookups(container, word),
                    f"Look up one of {container} {word}",
                ),
            ]  # fmt: skip
        found += [
            route("POST", f"/tenant/{word}", creates(word), f"Create one of {word}"),
            route("PUT", f"/tenant/{word}/{{id:path}}", replaces(word), f"Replace one of {word}"),
            route("PATCH", f"/tenant/{word}/{{id:path}}", patches(word), f"Change one of {word}"),
            route("DELETE", f"/tenant/{word}/{{id:path}}", deletes(word), f"Delete one of {word}"),
        ]
    return found
