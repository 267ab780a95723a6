"""Objects from JSON text."""

from typing import Any

import msgspec

from headrace.mapping.errors import TransformError
from headrace.mapping.functions.definition import Function, Parameter, examples, null_to_null
from headrace.mapping.values import text_of


@null_to_null
def json_to_object(text: Any) -> Any:
    if isinstance(text, dict | list):
        return text
    try:
        return msgspec.json.decode(text_of(text))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise TransformError(f"json_to_object: {error}.") from None


FUNCTIONS = (
    Function(
        "json_to_object",
        "JSON",
        (Parameter("text", "string", "JSON, or an object or array that stays as it is"),),
        "object",
        "Reads JSON.",
        examples(("json_to_object('{\"a\": [1, null]}').a", "[1,null]", "json_to_object(null)", "null")),
        json_to_object,
    ),
)  # fmt: skip
