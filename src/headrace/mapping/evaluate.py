"""The meaning of an expression: a plain walk over its tree."""

from typing import Any

from headrace.mapping.errors import TransformError
from headrace.mapping.functions import FUNCTIONS
from headrace.mapping.functions.definition import Context, key_of
from headrace.mapping.limits import bounded_value
from headrace.mapping.methods import call_method
from headrace.mapping.operators import OPERATORS, UNARY, member
from headrace.mapping.paths import resolve
from headrace.mapping.reads import is_quick
from headrace.mapping.syntax import (
    ArrayLiteral,
    Binary,
    Call,
    Conditional,
    Lambda,
    Literal,
    MapLiteral,
    Member,
    Method,
    Name,
    Node,
    Path,
    Unary,
)
from headrace.mapping.values import truth

__all__ = ["Context", "TransformError", "evaluate"]


def evaluate(node: Node, context: Context) -> Any:
    """The value of an expression for the context's record; TransformError when it has none."""
    return bounded_value(_value(node, context, {}))


def _value(node: Node, context: Context, names: dict[str, Any]) -> Any:
    match node:
        case Literal(value):
            return value
        case Path():
            return resolve(context.record, node)
        case Name(name):
            return names[name]
        case Conditional(test, then, otherwise):
            chosen = then if truth(_value(test, context, names)) else otherwise
            return _value(chosen, context, names)
        case Binary(operator, left, right):
            first = _value(left, context, names)
            if operator == "&&":
                return truth(first) and truth(_value(right, context, names))
            if operator == "||":
                return truth(first) or truth(_value(right, context, names))
            if operator == "?:":
                return first if truth(first) else _value(right, context, names)
            if operator == "??":
                return _value(right, context, names) if first is None else first
            second = _value(right, context, names)
            if is_quick(node):
                return OPERATORS[operator](first, second)
            return context.metered(OPERATORS[operator], first, second)
        case Unary(operator, operand):
            return UNARY[operator](_value(operand, context, names))
        case Call(name, arguments):
            function = FUNCTIONS[name]
            values = [_value(argument, context, names) for argument in arguments]
            if function.needs_context:
                values.insert(0, context)
            return context.metered(function.implementation, *values)
        case Method(target, name, arguments):
            values = [_value(argument, context, names) for argument in (target, *arguments)]
            return context.metered(call_method, values[0], name, *values[1:])
        case Member(target, key):
            return member(_value(target, context, names), _value(key, context, names))
        case ArrayLiteral(elements):
            return [_value(element, context, names) for element in elements]
        case MapLiteral(entries):
            return {
                context.metered(key_of, _value(key, context, names)): _value(value, context, names)
                for key, value in entries
            }
        case Lambda(parameter, body):
            return lambda element: _value(body, context, {**names, parameter: element})
