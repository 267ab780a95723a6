"""Calls made up from an OpenAPI document, and what is wrong with an answer by that document."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema_rs
from hypothesis import strategies as st

Document = dict[str, Any]

AWKWARD = [
    "", " ", "0", "-1", "--1", "²", "9" * 400, "9" * 5000, "1e999", "NaN", "true", "null", "\x00", "\u2028",
    "a" * 3000, "../../etc/passwd", "%00", "a/b", "__proto__", "$ref", "[]", "{}", ",", "==", "*", "(", "\\",
    "name==x", "name!=", "createdAt>0", "createdAt>²", "state==enabled,draft", "a.b[].c==1", "id~^a.*$",
    "-createdAt", "+name", "desc:created,asc:x", "-updated", "title==a,title==b", "updated>1", "2020-01-01T00:00:00Z",
    "2020-01-01T00:00:00Z/2020-02-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "publish", "apply", "concat(a,b)",
    "timeseries.ingestion.dataset.size", "https://ns.adobe.com/xdm/context/profile", "day", "sum",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**30), 10**30), st.floats(allow_nan=False),
    st.text(max_size=20), st.sampled_from(AWKWARD), st.just("\ud800"),
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
NESTED = st.just(b"[" * 100_000), st.just(b'{"a":' * 5000), st.just(b"\xff\xfe"), st.just(b"{")


@dataclass
class MadeCall:
    """One request; `operation` is its description, `described` the path as it stands there."""

    method: str
    described: str
    operation: Document
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    files: dict[str, Any] | None = None

    def send(self, client: httpx.Client) -> httpx.Response:
        return client.request(
            self.method, self.path, params=self.query, headers=self.headers, content=self.body, files=self.files
        )  # fmt: skip


@dataclass
class Maker:
    """Makes calls for a document. `known` are ids by the beginning of the paths, the names in a path and the properties
    that take them; values of a query parameter by its name after a question mark."""

    document: Document
    known: dict[str, list[str]]
    samples: dict[str, Any]
    """Bodies that are accepted, by the operation that takes them or the name of their schema; calls also send them
    with a part or two replaced."""

    def __post_init__(self) -> None:
        everything = sorted({id for ids in self.known.values() for id in ids})
        self._texts = st.one_of(
            st.text(max_size=30), st.sampled_from(AWKWARD), st.sampled_from(everything)
        )

    def operations(self) -> list[tuple[str, str, Document]]:
        """(method, path, description) of every operation."""
        return [
            (method.upper(), path, operation)
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
        ]

    def calls(self, method: str, path: str, operation: Document) -> st.SearchStrategy[MadeCall]:
        """Calls of one operation: a fourth as well made as we can, most by its description, some beside it.

        The simplest call, with which Hypothesis begins, is a well made one.
        """

        @st.composite
        def make(draw: st.DrawFn) -> MadeCall:
            call = MadeCall(method, path, operation, path)
            well_made = draw(st.sampled_from([True, False, False, False]))
            for parameter in operation["parameters"]:
                self._place(draw, call, parameter, path, well_made)
            self._body(draw, call, well_made)
            return call

        return make()

    def _place(
        self, draw: st.DrawFn, call: MadeCall, parameter: Document, path: str, well_made: bool
    ) -> None:
        name, where = parameter["name"], parameter["in"]
        if where == "path":
            prefixes = [
                prefix for prefix, ids in self.known.items() if ids and path.startswith(prefix)
            ]
            ids = self.known.get(name) or self.known.get(
                max(prefixes, key=len, default=""), ["nothing"]
            )
            real = st.sampled_from(ids)
            value = draw(real if well_made else st.one_of(real, real, self._texts)) or "x"
            call.path = call.path.replace(f"{{{name}}}", quote(value, safe=""))
        elif where == "query":
            given = self.known.get(f"?{name}")
            least = int(parameter["required"] or given is not None)
            for _ in range(least if well_made else draw(st.sampled_from([0, 0, 1, 1, 2]))):
                right = st.sampled_from(given) if given else self.values(parameter["schema"])
                value = draw(right if well_made else st.one_of(right, self._texts))
                call.query.append((name, _written(value)))
        elif where == "header" and not name.startswith("x-"):
            value = draw(st.sampled_from(["*", '"x"', "1.0.0", "bytes=0-5", "bytes=9-", "none"]))
            if parameter["required"] or draw(st.booleans()):
                call.headers[name] = value

    def _body(self, draw: st.DrawFn, call: MadeCall, well_made: bool) -> None:
        for media_type, content in call.operation.get("requestBody", {}).get("content", {}).items():
            name = content["schema"].get("$ref", "").rpartition("/")[2]
            made = self.values(content["schema"])
            sample = self.samples.get(f"{call.method} {call.described}", self.samples.get(name))
            near = made if sample is None else altered(sample)
            good = made if sample is None else st.just(sample)
            value = draw(good if well_made else st.one_of(near, near, made, made, ANYTHING))
            if media_type.startswith("multipart/"):
                text = draw(st.sampled_from(["a,b\n1,2\n", '{"a": 1}', "", "\x00", "[1]"]))
                name = draw(st.sampled_from(["a.csv", "a.json", "a", ""]))
                call.files = {"file": (name, text.encode(), "text/csv")}
            elif media_type.endswith("urlencoded"):
                pairs = value.items() if isinstance(value, dict) else [("a", value)]
                call.headers["content-type"] = media_type
                call.body = str(httpx.QueryParams([(k, _written(v)) for k, v in pairs])).encode()
            else:
                call.headers["content-type"] = media_type
                raw = json.dumps(value).encode()
                call.body = raw if well_made else draw(st.one_of(*[st.just(raw)] * 12, *NESTED))

    def values(self, schema: Document, property: str = "") -> st.SearchStrategy[Any]:
        """Values that a schema describes; for one in nine nodes, anything."""
        found = self._described(schema, property)
        return st.one_of(*[found] * 8, ANYTHING)

    def _described(self, schema: Document, property: str) -> st.SearchStrategy[Any]:
        if "$ref" in schema:
            return self.values(
                self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            )
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return st.one_of(*(self.values(one) for one in schema[key]))
        if "enum" in schema or "const" in schema:
            return st.sampled_from(schema.get("enum") or [schema["const"]])
        if property in self.known:
            return st.one_of(st.sampled_from(self.known[property]), self._texts)
        kind = schema.get("type")
        if kind == "object":
            return self._objects(schema)
        if kind == "array":
            return st.lists(self.values(schema.get("items", {}), property), max_size=3)
        simple = {
            "string": self._texts, "boolean": st.booleans(), "number": st.floats(allow_nan=False),
            "integer": st.one_of(st.integers(0, 200), st.integers()),
        }  # fmt: skip
        return simple.get(str(kind), ANYTHING)

    def _objects(self, schema: Document) -> st.SearchStrategy[Any]:
        properties = {k: self.values(v, k) for k, v in schema.get("properties", {}).items()}
        if not properties:
            return st.dictionaries(self._texts, ANYTHING, max_size=3)
        required = set(schema.get("required", ()))
        return st.fixed_dictionaries(
            {k: v for k, v in properties.items() if k in required},
            optional={k: v for k, v in properties.items() if k not in required},
        )


@st.composite
def altered(draw: st.DrawFn, value: Any) -> Any:
    """A copy of a JSON value with up to two of its parts replaced by anything, or left out."""
    whole = {"": json.loads(json.dumps(value))}
    for _ in range(draw(st.integers(0, 2))):
        node: Any = whole
        while True:
            key = draw(
                st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node)))
            )
            inner = node[key]
            if (
                not inner
                or not isinstance(inner, dict | list)
                or (node is not whole and draw(st.booleans()))
            ):
                break
            node = inner
        if node is not whole and draw(st.booleans()):
            del node[key]
            if not node:
                break
        else:
            node[key] = draw(ANYTHING)
            if node is whole:
                break
    return whole[""]


def _written(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()


def faults(document: Document, operation: Document, answer: httpx.Response) -> list[str]:
    """What is wrong with an answer; empty when the document states its status, its media type and its body."""
    if answer.status_code >= 500:
        return [f"the server failed: {answer.status_code} {answer.text[:300]}"]
    stated = operation["responses"].get(str(answer.status_code))
    if stated is None:
        return [f"the status {answer.status_code} is not stated: {answer.text[:300]}"]
    content = stated.get("content")
    if content is None:
        return [f"{answer.status_code} has a body"] if answer.content else []
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    if media_type not in content:
        return [f"the media type {media_type!r} is not stated for {answer.status_code}"]
    schema = content[media_type].get("schema")
    if schema is None:
        return []
    whole = {**schema, "components": document["components"]}
    errors = jsonschema_rs.validator_for(whole).iter_errors(answer.json())
    return [
        f"the body of a {answer.status_code}: {error.message} {answer.text[:300]}"
        for error in errors
    ]
