"""Choice: decode and iif."""

from typing import Any

from headrace.mapping.errors import TransformError
from headrace.mapping.functions.definition import Function, Parameter, examples
from headrace.mapping.operators import equals
from headrace.mapping.values import truth

CATEGORY = "Logical"


def decode(key: Any, *choices: Any) -> Any:
    for i in range(0, len(choices) - 1, 2):
        try:
            if equals(key, choices[i]):
                return choices[i + 1]
        except TransformError:  # a text that is no number differs from a number
            continue
    return choices[-1] if len(choices) % 2 else None


def iif(test: Any, then: Any, otherwise: Any) -> Any:
    return then if truth(test) else otherwise


FUNCTIONS = (
    Function(
        "decode",
        CATEGORY,
        (
            Parameter("key", "any", "what to look for"),
            Parameter("choices", "any", "keys and results in turn, a default last", repeated=True),
        ),
        "any",
        "The result of the first equal key, else the default, else null.",
        examples(('decode(state, "ca", "California", "N/A")', '"California"', 'decode("x", "ca", 1)', "null")),
        decode,
        least=2,
        record={"state": "ca"},
    ),
    Function(
        "iif",
        CATEGORY,
        (
            Parameter("condition", "boolean", "null is false"),
            Parameter("then", "any", "the value when it is true"),
            Parameter("otherwise", "any", "the value when it is not"),
        ),
        "any",
        "One of two values; the other is not evaluated.",
        examples(('iif("s".equalsIgnoreCase("S"), "True", 1 / 0)', '"True"', "iif(null, 1, 2)", "2")),
        iif,
        lazy=True,
    ),
)  # fmt: skip
