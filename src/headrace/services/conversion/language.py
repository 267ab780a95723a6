"""The mapping language described to clients, and expressions tried out."""

from typing import Any

from headrace.mapping.constants import unusable_constants
from headrace.mapping.errors import MappingSyntaxError, TransformError
from headrace.mapping.evaluate import evaluate
from headrace.mapping.functions import FUNCTIONS, Parameter
from headrace.mapping.parser import parse
from headrace.services.conversion.trial import context_of, plain

_JAVA = {
    "string": ("String", "java.lang.String"),
    "integer": ("Integer", "java.lang.Integer"),
    "number": ("Double", "java.lang.Double"),
    "boolean": ("Boolean", "java.lang.Boolean"),
    "date": ("ZonedDateTime", "java.time.ZonedDateTime"),
    "array": ("Object[]", "[Ljava.lang.Object;"),
    "object": ("Object", "java.lang.Object"),
    "map": ("Map", "java.util.Map"),
    "lambda": ("Function", "java.util.function.Function"),
    "any": ("T", "java.lang.Object"),
}
"""Short and full names of the types by which clients of the original service know them."""

_BINARY = [
    ("+", "add", "The sum of two numbers, or two texts joined.", "1 + 2"),
    ("-", "subtract", "The difference of two numbers.", "3 - 1"),
    ("*", "multiply", "The product of two numbers.", "2 * 3"),
    ("/", "divide", "The quotient of two numbers, without its fraction for integers.", "1 / 2"),
    ("%", "mod", "The remainder of a division, never negative.", "7 % 3"),
    ("|", "or", "The bits set in either integer.", "1 | 2"),
    ("^", "xor", "The bits set in one of two integers only.", "3 ^ 1"),
    ("&", "and", "The bits set in both integers.", "3 & 1"),
    ("==", "equals", "Whether two values are equal.", '1 == "1"'),
    ("!=", "notEquals", "Whether two values differ.", "1 != 2"),
    ("<", "lessThan", "Whether the left value comes before the right one.", "1 < 2"),
    ("<=", "lessThanOrEqual", "Whether the left value does not come after the right one.", "1 <= 1"),
    (">", "greaterThan", "Whether the left value comes after the right one.", "2 > 1"),
    (">=", "greaterThanOrEqual", "Whether the left value does not come before the right one.", "1 >= 1"),
    ("=~", "contains", "Whether a text matches a pattern whole, or an array has an element.", '"a1" =~ "a[0-9]"'),
    ("!~", "notContains", "The opposite of =~.", "3 !~ [1, 2]"),
    ("=^", "startsWith", "Whether a text starts with another.", '"abc" =^ "ab"'),
    ("!^", "notStartsWith", "The opposite of =^.", '"abc" !^ "b"'),
    ("=$", "endsWith", "Whether a text ends with another.", '"abc" =$ "bc"'),
    ("!$", "notEndsWith", "The opposite of =$.", '"abc" !$ "b"'),
    ("&&", "logicalAnd", "Whether both are true; the right one is left alone when the left is not.", "true && false"),
    ("||", "logicalOr", "Whether one is true; the right one is left alone when the left is.", "true || false"),
    ("?:", "elvis", "The left value, or the right one when the left is null, false, 0 or empty.", 'null ?: "none"'),
    ("??", "coalesce", "The left value, or the right one when the left is null.", "null ?? 0"),
]  # fmt: skip
_UNARY = [
    ("-", "negate", "The number with the other sign.", "-12"),
    ("+", "positivize", "The number itself.", "+12"),
    ("~", "complement", "The bits that an integer has not.", "~44"),
    ("!", "not", "The opposite of a truth value.", "!cond1"),
    ("empty", "empty", "Whether a value is null, empty, false or zero.", "empty name"),
    ("size", "size", "The number of elements or characters.", "size [1, 2]"),
]


def operators() -> list[dict[str, Any]]:
    """Every operator of one or two operands."""
    table = [(*entry, 2) for entry in _BINARY] + [(*entry, 1) for entry in _UNARY]
    return [
        {
            "operatorSymbol": symbol,
            "methodName": method,
            "numberOfOperands": operands,
            "description": description,
            "example": example,
        }
        for symbol, method, description, example, operands in table
    ]


def functions() -> list[dict[str, Any]]:
    """Every function of the language."""
    return [_function(name) for name in FUNCTIONS]


def _function(name: str) -> dict[str, Any]:
    function = FUNCTIONS[name]
    short, full = _JAVA[function.returns]
    example, result = function.examples[0]
    shown = ", ".join(_JAVA[p.kind][0] + ("..." if p.repeated else "") for p in function.parameters)
    return {
        "category": function.category,
        "function": name,
        "description": function.description,
        "syntax": f"{short} {name}({shown})",
        "returns": "one of its arguments or their parts"
        if function.returns == "any"
        else f"a value of type {function.returns}",
        "returnType": full,
        "example": example,
        "result": result,
        "params": [_parameter(p, at) for at, p in enumerate(function.parameters, 1)],
        "since": function.since,
    }


def _parameter(parameter: Parameter, position: int) -> dict[str, Any]:
    short, full = _JAVA[parameter.kind]
    array = f"[L{full};" if not full.startswith("[") else f"[{full}"
    words = [parameter.description, "optional" if parameter.optional else ""]
    return {
        "name": parameter.name,
        "description": ", ".join(filter(None, words)) or parameter.name,
        "type": f"{short}..." if parameter.repeated else short,
        "dataType": array if parameter.repeated else full,
        "position": position,
    }


def checked(expression: str, record: dict[str, Any] | None) -> dict[str, Any]:
    """The verdict on an expression; with a record it must also have a value there, which is then answered."""
    try:
        node = parse(expression)
        unusable = unusable_constants(node)
        if unusable:
            return {"validationStatus": "failed", "error": " ".join(unusable)}
        if record is None:
            return {"validationStatus": "succeeded", "error": "none"}
        value = plain(evaluate(node, context_of(record)))
    except (MappingSyntaxError, TransformError) as error:
        return {"validationStatus": "failed", "error": str(error)}
    except RecursionError:
        return {"validationStatus": "failed", "error": "The value is nested too deeply."}
    return {"validationStatus": "succeeded", "error": "none", "result": value}
