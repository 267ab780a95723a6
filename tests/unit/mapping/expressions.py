"""Random texts of the mapping language and records they can be tried on.

Everything is drawn from the grammar, so nearly all texts parse; what they read and the types of their
arguments are only mostly right, so that failing rules are as common as in practice.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from headrace.mapping.functions import FUNCTIONS
from headrace.mapping.functions.definition import Function, Parameter
from headrace.mapping.methods import METHODS

BINARY = [
    "+", "-", "*", "/", "%", "|", "^", "&", "==", "!=", "<", "<=", ">", ">=", "=~", "!~", "=^", "!^", "=$", "!$",
    "&&", "||", "?:", "??", "and", "or", "eq", "ne", "lt", "le", "gt", "ge", "div", "mod",
]  # fmt: skip
UNARY = ["-", "+", "~", "!", "not ", "empty ", "size "]
TEXTS = st.sampled_from(
    ["", "a", "A b", "12", "-3.5", "true", "yes", "a,b;c", "a:1,b:2", "2024-02-29", "é€😀", "'", '"', "\\", "\u2028",
     "2024-01-31T10:00:00Z", "2024-01-31T10:00:00.123Z", "9999-12-31T23:59:59.999Z", "1e400", "NaN", "[1,{}]"]
) | st.text(max_size=4)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.sampled_from([2**31, 2**53 + 1, 2**63, 2**70, -(2**63), 1_700_000_000_000]),
    st.floats(allow_nan=False, allow_infinity=False),
)
_SUITED = {
    "regex": ["[a-z]+", "(a)|b", ",", "(a+)+$", "(", "\\d*"],
    "pattern": ["yyyy-MM-dd", "dd.MM.yyyy HH:mm", "EEE", "'x", "QQQ"],
    "zone": ["UTC", "Europe/Paris", "EST", "+02:00", "Nowhere"],
    "component": ["year", "MM", "hh", "week", "q", "fortnight"],
    "charset": ["UTF-8", "UTF-16", "ISO-8859-1", "EBCDIC"],
    "algorithm": ["SHA-256", "md5", "ROT13"],
    "anchor": ["retain", "remove", "append"],
    "url": ["https://u@h.example:81/a/b.c?x=1&y=%20#z", "mailto:a", "ftp://h"],
    "date": ["2024-02-29", "2024-01-31T23:30:00+02:00", "31.1.2024", "0001-01-01"],
    "events": ["event1=2:id,event3", "event1"],
    "products": ["c;n;2;3.5;event1=2|event3;eVar1=x,;m"],
    "userAgent": ["Mozilla/5.0 (iPhone; CPU iPhone OS 5_1_1 like Mac OS X) Version/5.1 Safari/7534"],
}  # fmt: skip
PATHS = [
    "a", "n", "t", "o", "o.x", "o.y.z", "o['x']", "o.y[\"z\"]", "${o.x}", "${z z}", "${b\\.c}", "b.c", "o.${z z}", "list",
    "list[0]", "list[7]", "list.0", "objs", "objs[0].sku", "objs[1]['qty']", "objs[0].none.x", "missing", "missing.x",
]  # fmt: skip
"""Of the record shape below, as an expression writes them."""
ATTRIBUTES = [p for p in PATHS if "'" not in p and '"' not in p] + [
    "list[*]", "objs[*].sku", "objs[*].qty", "objs[*]", "objs[*].tags[*]", "a[*]", "missing[*].x",
]  # fmt: skip
"""Paths of attribute rules, which may have `[*]`."""


def string_literal(text: str, quote: str = "'") -> str:
    """The text as a string of the language."""
    return quote + text.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


def quoted_name(text: str) -> str:
    """The text as one step, `${…}`."""
    return "${" + "".join(f"\\{c}" if c in "\\}.[" else c for c in text) + "}"


def number_literal(number: float) -> str:
    if isinstance(number, float):
        text = f"{abs(number):.6f}"
        return f"(-{text})" if number < 0 else text
    return f"(-{-number})" if number < 0 else str(number)


STRING_LITERALS = st.builds(string_literal, TEXTS, st.sampled_from("'\""))
NUMBER_LITERALS = NUMBERS.map(number_literal)
ATOMS = st.one_of(
    STRING_LITERALS,
    NUMBER_LITERALS,
    st.sampled_from(["true", "false", "null", "[]", "{}"]),
    st.sampled_from(PATHS),
    st.sampled_from(PATHS),
)


@st.composite
def expressions(draw: DrawFn, depth: int = 3, names: tuple[str, ...] = ()) -> str:
    """An expression of at most `depth` levels in which the lambda parameters `names` may be used."""
    if names and draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(names))
    if depth == 0:
        return draw(ATOMS)
    inner = expressions(depth - 1, names)
    match draw(st.integers(0, 9)):
        case 0 | 1 | 2 | 3:
            return draw(_calls(depth, names))
        case 4 | 5:
            return f"({draw(inner)} {draw(st.sampled_from(BINARY))} {draw(inner)})"
        case 6:
            return f"{draw(st.sampled_from(UNARY))}({draw(inner)})"
        case 7:
            form = draw(st.sampled_from(["({} ? {} : {})", "iif({}, {}, {})", "[{}, {}, {}]"]))
            return form.format(draw(inner), draw(inner), draw(inner))
        case 8:
            name, method = draw(st.sampled_from(list(METHODS.items())))
            count = draw(st.integers(*method.arity))
            return f"({draw(inner)}).{name}({', '.join(draw(inner) for _ in range(count))})"
    form = draw(st.sampled_from(["({})[{}]", "{{{}: {}, 'k': 1}}", "[{}, {}]"]))
    return form.format(draw(inner), draw(inner))


@st.composite
def _calls(draw: DrawFn, depth: int, names: tuple[str, ...]) -> str:
    function = draw(st.sampled_from(list(FUNCTIONS.values())))
    parameters = _given(function, draw(st.integers(0, 3)))
    return (
        f"{function.name}({', '.join(draw(_arguments(p, depth - 1, names)) for p in parameters)})"
    )


def _given(function: Function, more: int) -> list[Parameter]:
    """The parameters a call fills: `more` optional or repeated ones beyond those it must have."""
    given = [p for p in function.parameters if not p.optional]
    given += [p for p in function.parameters if p.optional][:more]
    repeated = [p for p in function.parameters if p.repeated]
    given += repeated * more
    if function.wrong_count(len(given)) and repeated:
        given += repeated
    assert function.wrong_count(len(given)) is None, function.name
    return given


def _arguments(parameter: Parameter, depth: int, names: tuple[str, ...]) -> SearchStrategy[str]:
    if parameter.kind == "lambda":
        name = f"x{len(names)}" if len(names) < 2 else "x0"
        return expressions(depth, (*names, name)).map(lambda body: f"{name} -> {body}")
    suited = _of_kind(parameter)
    return st.one_of(suited, suited, expressions(depth, names))


def _of_kind(parameter: Parameter) -> SearchStrategy[str]:
    if parameter.name in _SUITED:
        return st.sampled_from(_SUITED[parameter.name]).map(string_literal)
    match parameter.kind:
        case "string":
            return STRING_LITERALS | st.sampled_from(["a", "o.x", "objs[0].sku"])
        case "integer" | "number":
            return NUMBER_LITERALS | st.just("n")
        case "array":
            return st.sampled_from(["list", "objs", "[1, 'a', null]", "[[1], [2, [3]]]"])
        case "object" | "map":
            return st.sampled_from(["o", "objs[0]", "{'a': 1, 'b': o.x}", "{}"])
        case "boolean":
            return st.sampled_from(["true", "false", "n > 3"])
    return ATOMS


_SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES: SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "sku", "0", ""]), inner, max_size=2)
    ),
    max_leaves=4,
)
_OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "sku": st.one_of(TEXTS, TEXTS, _SCALARS),
        "qty": st.integers(-1, 9) | _SCALARS,
        "tags": st.lists(TEXTS, max_size=2) | _SCALARS,
    },
)
_WELL_TYPED: dict[str, SearchStrategy[Any]] = {
    "a": TEXTS,
    "n": NUMBERS,
    "t": st.sampled_from(["2024-01-31T10:00:00.123Z", "2024-02-29", "2024-01-31T10:00:00+02:00"]),
    "o": st.fixed_dictionaries(
        {},
        optional={
            "x": VALUES,
            "y": st.fixed_dictionaries({}, optional={"z": VALUES}) | VALUES,
            "z z": VALUES,
        },
    ),
    "z z": TEXTS,
    "b.c": TEXTS,
    "list": st.lists(TEXTS | NUMBERS, max_size=3),
    "objs": st.lists(_OBJECTS, max_size=3),
}
_SOUND = st.fixed_dictionaries(_WELL_TYPED)
_ODD = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.one_of(kind, kind, VALUES) for name, kind in _WELL_TYPED.items()},
        "b": st.fixed_dictionaries({}, optional={"c": VALUES}) | VALUES,
        "o.x": VALUES,
        "objs[0].sku": VALUES,
        "list[0]": VALUES,
    },
)
RECORDS: SearchStrategy[dict[str, Any]] = _SOUND | _ODD
"""Records of the shape that `PATHS` reads: whole, or keys missing, null, of the wrong type, with dots in them."""
