"""Texts of users are data: none of them changes the source that is generated for a mapping."""

import ast
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.log.frames import MESSAGES, Frame, Meta
from headrace.mapping.errors import MappingInvalid
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.batch import Batch
from headrace.runtime.pipeline import Pipeline
from headrace.xdm.fields import Field
from tests.unit.mapping.expressions import quoted_name, string_literal

PIECES = [
    "'", '"', '"""', "\\", "\\\\", "\\'", "\\u0027", "\n", "\r", "\x00", "\x1b", "\x85", "\u2028", "\u2029", "\ufeff", "{", "}",
    "{0}", "${a}", "%s", "#", ";", ")", "]", ".", "[", "[0]", "*", " ", "é", "😀", "\u202e",
    "__import__('os').system('false')", "'); raise SystemExit #", "\n    raise SystemExit\n", "' + str(globals()) + '",
    "{r.__class__}", "lambda: 0", "k0", "v0", "records", "truth", "header", "body", "header_",
]  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join) | st.text(
    min_size=1, max_size=8
)
# a control character, a quote or a backslash in a field's name is rare and not to hide what else is wrong
TAME = HOSTILE.filter(lambda text: not any(c in "\"\\'" or c < " " for c in text))


def texts(count: int, of: st.SearchStrategy[str] = HOSTILE) -> st.SearchStrategy[list[str]]:
    """Different texts, none of them blank or of one character (of those Python keeps a single object)."""
    return st.lists(of, min_size=count, max_size=count).map(
        lambda found: [f"{text}{number}z" for number, text in enumerate(found)]
    )


def harmless(count: int) -> list[str]:
    return [f"plain{number}z" for number in range(count)]


def compiled(rules: list[Rule], tree: Field) -> Pipeline:
    schema = tree.to_json()
    return Pipeline(FlowRevision("flow", 1, "org", "prod", "set", "s", "1.0", schema, tuple(rules)))


def ran(pipeline: Pipeline, *records: Any) -> Batch:
    body = json.dumps({"messages": records}).encode()
    batch = pipeline.batch(envelope=False)
    batch.add(Frame(0, len(records), 0, Meta(MESSAGES, "flow", 1, 0, "r"), body))
    return batch


def rows(batch: Batch) -> list[dict[str, Any]]:
    table = batch.good("b")
    return [] if table is None else table.drop(["_acp_system_metadata"]).to_pylist()


def shape(pipeline: Pipeline) -> Counter[tuple[str, Any]]:
    """How often each kind of node, name, attribute, argument, function and constant occurs in the source."""
    assert pipeline.generated is not None, pipeline.plain_because
    found: Counter[tuple[str, Any]] = Counter()
    for node in ast.walk(ast.parse(pipeline.generated.source)):
        found[type(node).__name__, ""] += 1
        match node:
            case ast.Name(name) | ast.Attribute(attr=name) | ast.arg(name):
                found[type(node).__name__, name] += 1
            case ast.FunctionDef(name):
                found["FunctionDef", name] += 1
            case ast.Constant(value):
                found["Constant", repr(value)] += 1
            case ast.Call(function):
                found["Call", ast.dump(function)] += 1
    return found


def literals(t: list[str]) -> tuple[list[Rule], Field]:
    """Texts as strings of the language, static texts, keys of maps and indices, schema texts and names."""
    string = Field("string")
    tree = Field(
        "object",
        properties={
            t[0]: string,
            "object": Field("object", required=(t[1],), properties={t[1]: string, t[2]: string}),
            "chosen": Field("string", enum=(t[3], t[4])),
            "map": Field("map", values=string),
            "maps": Field("map", values=Field("array", items=string)),
            "size": Field("int"),
            "shown": string,
        },
    )
    rules = [
        Rule("STATIC", t[3], "chosen"),
        Rule("EXPRESSION", f"concat(a, {string_literal(t[4])})", quoted_name(t[0])),
        Rule("EXPRESSION", string_literal(t[5], '"'), f"object.{quoted_name(t[1])}"),
        Rule("EXPRESSION", f"[{string_literal(t[6])}][0]", f"object.{quoted_name(t[2])}"),
        Rule("EXPRESSION", f"{{{string_literal(t[7])}: a}}[{string_literal(t[7])}]", f"map.{quoted_name(t[8])}"),
        Rule("EXPRESSION", f"({string_literal(t[6])}).toLowerCase()", f"map.{quoted_name(t[9])}"),
        Rule("STATIC", t[8], f"maps.{quoted_name(t[9])}[0]"),
        Rule("EXPRESSION", f"size {string_literal(t[5])}", "size"),
        Rule("EXPRESSION", f"iif({string_literal(t[2])} == {string_literal(t[1])}, 1, {string_literal(t[0])})", "shown"),
    ]  # fmt: skip
    return rules, tree


@settings(max_examples=100, deadline=None)
@given(texts(10))
def test_texts_never_change_the_source_and_arrive_unchanged(t: list[str]) -> None:
    hostile = compiled(*literals(t))
    assert shape(hostile) == shape(compiled(*literals(harmless(10))))
    batch = ran(hostile, {"a": "A"})
    assert not batch.failures
    assert not batch.warnings
    (row,) = rows(batch)
    assert row == {
        t[0]: f"A{t[4]}",
        "object": {t[1]: t[5], t[2]: t[6]},
        "chosen": t[3],
        "map": [(t[8], "A"), (t[9], t[6].lower())],
        "maps": [(t[9], [t[8]])],
        "size": len(t[5]),
        "shown": t[0],
    }


@settings(max_examples=100, deadline=None)
@given(texts(5))
@example(["enum", "number", "a]b", "other", "x"])
@example(["enum", "number", "a/b~c", "other", "x"])
def test_texts_in_messages_are_told_as_they_are(t: list[str]) -> None:
    def rules(u: list[str]) -> tuple[list[Rule], Field]:
        number, named = Field("int"), Field("string", enum=(u[0],))
        tree = Field(
            "object",
            properties={
                u[1]: number,
                "o": Field("object", required=(u[2],), properties={u[2]: named, u[3]: named}),
            },
        )
        return [
            Rule("EXPRESSION", f"{string_literal(u[4])} * 2", quoted_name(u[1])),
            Rule("ATTRIBUTE", "x", f"o.{quoted_name(u[2])}"),
            Rule("ATTRIBUTE", "y", f"o.{quoted_name(u[3])}"),
        ], tree

    hostile = compiled(*rules(t))
    assert shape(hostile) == shape(compiled(*rules(harmless(5))))
    plain = compiled(*rules(t))
    plain.generated = None
    for pipeline in (hostile, plain):
        batch = ran(pipeline, {"x": t[0], "y": t[0]}, {"x": "other"}, {"y": t[0]})
        (row,) = rows(batch)
        assert row["o"] == {t[2]: t[0], t[3]: t[0]}
        assert row.get(t[1]) is None
        assert [(f.path, f.message) for f in batch.failures] == [
            (f"o.{t[2]}", "other is not a valid enum value"),
            (f"o.{t[2]}", f"required key [{t[2]}] not found"),
        ]
        ((destination, message),) = batch.warnings
        assert destination == quoted_name(t[1])
        assert "is not a number" in message


def paths(t: list[str]) -> tuple[list[Rule], Field]:
    """Texts as names of the source's fields, in every way a path can spell them."""
    rules = [
        Rule("ATTRIBUTE", quoted_name(t[0]), "m.a"),
        Rule("ATTRIBUTE", f"o.{quoted_name(t[1])}.x", "m.b"),
        Rule("EXPRESSION", f"concat({quoted_name(t[2])}, '')", "m.c"),
        Rule("EXPRESSION", f"o[{string_literal(t[3])}]", "m.d"),
        Rule("EXPRESSION", f"list[0].{quoted_name(t[4])}", "m.e"),
        Rule("EXPRESSION", f"o.{string_literal(t[5])}", "m.f"),
    ]
    return rules, Field("object", properties={"m": Field("map", values=Field("string"))})


def check_paths(t: list[str]) -> None:
    hostile = compiled(*paths(t))
    if hostile.generated is not None:
        assert shape(hostile) == shape(compiled(*paths(harmless(6))))
    record = {
        t[0]: "A",
        t[2]: "C",
        "o": {t[1]: {"x": "B"}, t[3]: "D", t[5]: "F"},
        "list": [{t[4]: "E"}],
    }
    batch = ran(hostile, record)
    assert not batch.failures
    assert not batch.warnings
    assert rows(batch) == [{"m": list(zip("abcdef", "ABCDEF", strict=True))}]


@settings(max_examples=60, deadline=None)
@given(texts(6, TAME))
def test_names_of_source_fields_never_change_the_source(t: list[str]) -> None:
    check_paths(t)


@settings(max_examples=20, deadline=None)
@given(texts(6))
@example(['a"b', "plain", "plain2", "plain3", "plain4", "plain5"])
@example(["plain", "a\\b", "plain2", "plain3", "plain4", "plain5"])
@example(["plain", "plain1", "a\nb", "plain3", "plain4", "plain5"])
def test_names_of_source_fields_may_hold_quotes_backslashes_and_controls(t: list[str]) -> None:
    check_paths(t)


@pytest.mark.parametrize("path", ["header", "body.x", "header.body", "${body}", "header[0]"])
def test_a_field_named_like_a_part_of_the_envelope_can_be_read(path: str) -> None:
    tree = Field("object", properties={"m": Field("map", values=Field("string"))})
    pipeline = compiled([Rule("ATTRIBUTE", path, "m.a")], tree)
    records = [
        {"header": "H", "body": "B"},
        {"header": {"body": "HB"}},
        {"header": ["H0"], "body": {"x": "BX"}},
    ]
    found = rows(ran(pipeline, *records))
    wanted = {
        "header": ["H", None, None],
        "body.x": [None, None, "BX"],
        "header.body": [None, "HB", None],
        "${body}": ["B", None, None],
        "header[0]": [None, None, "H0"],
    }
    assert [dict(row.get("m") or {}).get("a") for row in found] == wanted[path]


@pytest.mark.parametrize(
    "name", ["__import__", "exec", "records", "r", "k0", "v0", "s0", "c", "warn"]
)
def test_a_parameter_of_a_lambda_stands_for_nothing_but_its_element(name: str) -> None:
    tree = Field("object", properties={"a": Field("array", items=Field("long"))})

    def rules(parameter: str) -> list[Rule]:
        text = f"transformArray(filterArray(list, {parameter} -> {parameter} > 1), {parameter} -> {parameter} + n)"
        return [Rule("EXPRESSION", text, "a")]

    pipeline = compiled(rules(name), tree)
    assert shape(pipeline) == shape(compiled(rules("plain"), tree))
    assert rows(ran(pipeline, {"list": [1, 2, 3], "n": 10})) == [{"a": [12, 13]}]


@pytest.mark.parametrize(
    "source", ["'\\ud800'", "explode('\\ud800', ',')", "a['\\udc00']", "'\\ud83d' + '\\ude00'"]
)
def test_half_a_surrogate_pair_is_refused_or_warned_of_and_stops_nothing(source: str) -> None:
    tree = Field("object", properties={"s": Field("string"), "t": Field("string")})
    try:
        pipeline = compiled([Rule("EXPRESSION", source, "s"), Rule("ATTRIBUTE", "t", "t")], tree)
    except MappingInvalid:
        return
    plain = compiled(list(pipeline.revision.rules or ()), tree)
    plain.generated = None
    for each in (pipeline, plain):
        (row,) = rows(ran(each, {"t": "kept"}))
        assert row["t"] == "kept"
