"""Mapping sets as a document that moves between sandboxes and installations, and what taking it in would change. Pure.

A document names target schemas by id and title, because ids differ where a schema was built a second time. A
set is recognised by its name; one without a name by its id, else by having the very same content.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headrace.errors import ApiError
from headrace.services.conversion import wire

FORMAT = "headrace-mapping-sets"
VERSION = 1
_FLAGS = ("identity", "primaryIdentity")
_TEXTS = ("name", "description", "identityGroup", "namespaceCode")
_SETTINGS = ("schema", "allowNullValues", "status", "tags")

Rules = dict[tuple[str, int], dict[str, Any]]
Resolve = Callable[[Mapping[str, Any]], str]
"""The id, where the document is taken in, of the schema that an entry `{id, title}` means; ApiError without one."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one mapping set of a document.

    `label` is its name, or its id without one. `target` is the id of the set that gets a new version and `body`
    what is written. The texts in `added`, `removed` and `changed` speak of rules, those in `settings` of the
    rest. With `problems` it cannot be taken in.
    """

    action: Literal["created", "changed", "same"]
    label: str
    target: str | None
    body: dict[str, Any]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def exported(
    sets: Sequence[Mapping[str, Any]], titles: Mapping[str, str], tenant: str
) -> dict[str, Any]:
    """The document of mapping sets as they are answered; `titles` holds those of their target schemas by id."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "tenant": tenant,
        "mappingSets": [
            {
                "id": item["id"],
                "name": item["name"],
                "schema": {
                    "id": item["xdmSchema"],
                    "title": titles.get(item["xdmSchema"], ""),
                    "contentType": item["xdmVersion"],
                },
                "allowNullValues": item["allowNullValues"],
                "status": item["status"],
                "tags": item["tags"],
                "mappings": [_neutral(entry) for entry in item["mappings"]],
            }
            for item in sets
        ],
    }


def planned(
    document: Any, existing: Sequence[Mapping[str, Any]], resolve: Resolve, tenant: str
) -> list[Change]:
    """What taking a document in would do to the `existing` sets, in the document's order; ApiError 400 for another file."""
    entries = _entries(document)
    names = Counter(entry["name"] for entry in entries if entry.get("name"))
    changes = []
    for entry in entries:
        label = str(entry.get("name") or entry.get("id") or "unnamed")
        try:
            if names[entry.get("name")] > 1:
                raise wire.refuse("The document has several mapping sets of this name.")
            body = _body(entry, resolve, str(document.get("tenant", tenant)), tenant)
            found = _counterpart(entry, body, existing)
            changes.append(_change(label, body, found))
        except ApiError as error:
            changes.append(Change("created", label, None, {}, problems=(error.detail,)))
    return changes


def described(changes: Sequence[Change]) -> list[str]:
    """The changes as lines of text, with their totals last."""
    lines = []
    for change in changes:
        version = f" ({change.target})" if change.target else ""
        word = "refused" if change.problems else change.action
        lines.append(f"{word:8} {change.label}{version}")
        lines += [f"  + {text}" for text in change.added]
        lines += [f"  - {text}" for text in change.removed]
        lines += [f"  ~ {text}" for text in (*change.changed, *change.settings)]
        lines += [f"  ! {text}" for text in change.problems]
    totals = Counter("refused" if c.problems else c.action for c in changes)
    words = ("created", "changed", "same", "refused")
    shown = [f"{totals[word]} {word}" for word in words if totals[word]]
    return [*lines, ", ".join(shown) or "no mapping sets"]


def _entries(document: Any) -> list[dict[str, Any]]:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise wire.refuse("The document is not an export of mapping sets.")
    if document.get("version") != VERSION:
        raise wire.refuse(f"Exports of version {document.get('version')!r} cannot be read.")
    entries = document.get("mappingSets")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise wire.refuse("The export has no array 'mappingSets' of objects.")
    return entries


def _neutral(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A rule without what belongs to one place: ids, dates, users."""
    rule = wire.rule_of(dict(entry))
    kept = {"sourceType": rule.source_type, "source": rule.source, "destination": rule.destination}
    kept |= {key: entry[key] for key in _TEXTS if entry.get(key)}
    return {**kept, **{key: True for key in _FLAGS if entry.get(key)}}


def _body(entry: dict[str, Any], resolve: Resolve, origin: str, tenant: str) -> dict[str, Any]:
    schema = entry.get("schema")
    if not isinstance(schema, dict):
        raise wire.refuse("The mapping set has no 'schema'.")
    ref = {"id": resolve(schema), "contentType": schema.get("contentType") or "1.0"}
    rules = [_neutral(rule) for rule in wire.entries(entry)]
    for rule in rules:
        first, dot, rest = rule["destination"].partition(".")
        if first == f"_{origin}":
            rule["destination"] = f"_{tenant}{dot}{rest}"
    body = {"outputSchema": {"schemaRef": ref}, "mappings": rules}
    settings = wire.settings({key: value for key, value in entry.items() if key != "mappings"}, {})
    return {**body, **{k: v for k, v in settings.items() if k != "inputSchema"}}


def _counterpart(
    entry: Mapping[str, Any], body: Mapping[str, Any], existing: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    if entry.get("name"):
        found = [item for item in existing if item["name"] == entry["name"]]
        if len(found) > 1:
            found = [item for item in found if item["id"] == entry.get("id")]
            if not found:
                raise wire.refuse("Several mapping sets have this name here; rename them first.")
        return found[0] if found else None
    unnamed = [item for item in existing if not item["name"]]
    for item in unnamed:
        if item["id"] == entry.get("id"):
            return item
    return next((item for item in unnamed if _content(item) == _content(body)), None)


def _change(label: str, body: dict[str, Any], found: Mapping[str, Any] | None) -> Change:
    new = _by_destination(body["mappings"])
    if found is None:
        return Change("created", label, None, body, added=tuple(map(_line, new.values())))
    old = _by_destination([_neutral(entry) for entry in found["mappings"]])
    ours, theirs = _settings(found), _settings(body)
    change = Change(
        "changed",
        label,
        found["id"],
        body,
        tuple(_line(rule) for key, rule in new.items() if key not in old),
        tuple(_line(rule) for key, rule in old.items() if key not in new),
        tuple(
            _difference(old[key], rule)
            for key, rule in new.items()
            if key in old and old[key] != rule
        ),
        tuple(f"{k}: {ours[k]} becomes {theirs[k]}" for k in _SETTINGS if ours[k] != theirs[k]),
    )
    touched = change.added or change.removed or change.changed or change.settings
    return change if touched else Change("same", label, found["id"], body)


def _by_destination(rules: Sequence[dict[str, Any]]) -> Rules:
    """Rules by destination and, where several share one, their place among them: the last of those wins."""
    seen: Counter[str] = Counter()
    out: Rules = {}
    for rule in rules:
        at = rule["destination"]
        out[at, seen[at]] = rule
        seen[at] += 1
    return out


def _settings(item: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: item[key] for key in _SETTINGS if key in item}
    return {**values, "schema": item["outputSchema"]["schemaRef"]["id"]}


def _content(item: Mapping[str, Any]) -> tuple[Any, ...]:
    rules = _by_destination([_neutral(entry) for entry in item["mappings"]])
    return _settings(item), rules


def _line(rule: Mapping[str, Any]) -> str:
    return f"{rule['sourceType']} {rule['source']} → {rule['destination']}"


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    at = new["destination"]
    if (old["sourceType"], old["source"]) != (new["sourceType"], new["source"]):
        before, after = (f"{rule['sourceType']} {rule['source']}" for rule in (old, new))
        return f"{at}: {before} becomes {after}"
    keys = [k for k in (*_TEXTS, *_FLAGS) if old.get(k) != new.get(k)]
    return f"{at}: " + ", ".join(f"{k} {old.get(k)} becomes {new.get(k)}" for k in keys)
