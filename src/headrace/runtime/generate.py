"""One Python function per flow revision: read, map, coerce, check, append to columns.

The text of the function is written from syntax trees only. Names in it are counters; every literal, key and
message of a user is an object in the function's globals, so no user text is ever part of the source.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.mapping.coerce import COERCERS, coerce
from headrace.mapping.errors import TransformError
from headrace.mapping.functions import FUNCTIONS
from headrace.mapping.functions.definition import key_of
from headrace.mapping.limits import bounded_value
from headrace.mapping.methods import call_method
from headrace.mapping.operators import OPERATORS, UNARY, member
from headrace.mapping.reads import is_quick, needs_context, paths_of, reads_record
from headrace.mapping.syntax import (
    STAR,
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
from headrace.runtime import inline
from headrace.runtime.columns import instant
from headrace.runtime.shapes import Column, NoShape, Template, rules_of
from headrace.runtime.sources import SourceReader, supported
from headrace.xdm.check import FORMATS, Violation, conform, constrained, constraint
from headrace.xdm.fields import INTEGER_BOUNDS, Field

_EXACT = {"string": "str", "boolean": "bool", "number": "float"} | dict.fromkeys(
    INTEGER_BOUNDS, "int"
)


@dataclass(slots=True)
class GeneratedFunction:
    """`run(records, columns, failed, warned, context)` appends to `columns` (a list a column).

    A record that breaks the schema is not appended: `failed` receives (index, the value of each rule).
    `warned` receives (rule, message). `context(index)` gives functions what they may know of the record.
    """

    run: Callable[..., None]
    record_type: Any
    source: str


class Generator:
    """Writes the function for rules given as (expression, destination) with their columns."""

    def __init__(self, nodes: Sequence[Node], columns: Sequence[Column], tree: Field) -> None:
        self._nodes = nodes
        self._columns = columns
        self._tree = tree
        paths = [path for node in nodes for path in paths_of(node)]
        if any(STAR in path.steps for path in paths):
            raise NoShape("a path selects every element of an array")
        if not supported(paths) or any(reads_record(node) for node in nodes):
            raise NoShape("the mapping reads the whole record")
        self._reader = SourceReader(paths)
        self._globals: dict[str, Any] = {"truth": truth, "Exception": Exception, "type": type}
        self._names: dict[int, str] = {}
        self._keep: list[Any] = []
        self._parameters: list[tuple[str, str]] = []
        self._needs_context = any(needs_context(node) for node in nodes)
        values = ", ".join(f"v{rule}" for rule in range(len(nodes)))
        self._fail = f"fail((i, [{values}])); continue"

    def constant(self, value: Any) -> str:
        """A global name for an object."""
        name = self._names.get(id(value))
        if name is None:
            name = f"k{len(self._keep)}"
            self._keep.append(value)
            self._names[id(value)] = name
            self._globals[name] = value
        return name

    def build(self) -> GeneratedFunction:
        lines = ["def run(records, columns, failed, warned, context):"]
        lines += [f"    a{n} = columns[{n}].append" for n in range(len(self._columns))]
        lines += ["    fail = failed.append", "    warn = warned.append"]
        lines += ["    for i, r in enumerate(records):"]
        lines += [f"        {line}" for line in self._reader.statements()]
        if self._needs_context:
            lines.append("        c = context(i)")
        targets = self._targets()
        for rule, node in enumerate(self._nodes):
            lines += [f"        {line}" for line in self._rule(rule, node, targets[rule])]
        lines += [f"        {line}" for line in self._checks(targets)]
        for number, column in enumerate(self._columns):
            value = self._assemble(column.template)
            lines.append(f"        a{number}({value})")
        self._globals |= self._reader.constants()
        source = "\n".join(lines)
        namespace = dict(self._globals)
        exec(compile(source, "<flow revision>", "exec"), namespace)
        return GeneratedFunction(namespace["run"], self._reader.record_type, source)

    def _targets(self) -> dict[int, Field]:
        found: dict[int, Field] = {}

        def visit(template: Template) -> None:
            if template.rule is not None:
                found[template.rule] = template.field
            for child in template.children.values():
                visit(child)

        for column in self._columns:
            visit(column.template)
        return found

    def _rule(self, rule: int, node: Node, field: Field) -> list[str]:
        value = f"v{rule}"
        if isinstance(node, Literal):
            return self._literal_rule(rule, node, field)
        lines = [f"{value} = {self._expression(node)}", *self._coercion(value, field, rule)]
        return [
            "try:",
            *[f"    {line}" for line in lines],
            "except Exception as error:",
            f"    {value} = None",
            f"    warn(({rule}, str(error)))",
        ]

    def _literal_rule(self, rule: int, node: Literal, field: Field) -> list[str]:
        """A constant is coerced once, here; a constant that does not fit warns for every record."""
        blank = node.value == "" and field.scalar and field.kind != "string"
        try:
            constant = None if node.value is None or blank else coerce(node.value, field)
        except TransformError as error:
            return [f"v{rule} = None", f"warn(({rule}, {self.constant(str(error))}))"]
        return [f"v{rule} = {self.constant(constant)}"]

    def _coercion(self, value: str, field: Field, rule: int) -> list[str]:
        if not field.scalar:
            whole = self.constant(_coerce_whole)
            return [
                f"if {value} is not None: {value} = {whole}({value}, {self.constant(field)}, {rule}, warn)"
            ]
        instants = field.kind == "date-time"
        coercer = self.constant(instant if instants else COERCERS[field.kind])
        exact = _EXACT.get(field.kind)
        wrong = (
            f"type({value}) is not {exact} and {value} is not None"
            if exact
            else f"{value} is not None"
        )
        if field.kind == "string":
            return [f"if {wrong}: {value} = {coercer}({value})"]
        lines = [f"if {wrong}: {value} = {coercer}({value}) if {value} != '' else None"]
        if instants:  # what `instant` does with the usual form, without the call
            lines = [
                f"if type({value}) is str and len({value}) == 24 and {value}[10] == 'T' and {value}[19] == '.'"
                f" and {value}[4] == '-' and {value}[7] == '-' and {value}[23] == 'Z':",
                f"    try: {self.constant(datetime.fromisoformat)}({value})",
                f"    except ValueError: {value} = {coercer}({value})",
                f"el{lines[0]}",
            ]
        if field.kind in INTEGER_BOUNDS:
            low, high = INTEGER_BOUNDS[field.kind]
            lines.append(
                f"elif {value} is not None and not {low} <= {value} <= {high}: {coercer}({value})"
            )
        elif field.kind == "number":  # the coercer refuses what JSON has no form for
            lines.append(f"elif {value} is not None and {value} - {value} != 0: {coercer}({value})")
        return lines

    # -- checks ---------------------------------------------------------------------------------------------

    def _checks(self, targets: dict[int, Field]) -> list[str]:
        lines: list[str] = []
        self._required(self._tree, (), lines)
        for rule, field in targets.items():
            if not field.scalar:
                check = f"{self.constant(_breaks)}(v{rule}, {self.constant(field)})"
                lines.append(f"if v{rule} is not None and {check}: {self._fail}")
            elif constrained(field):
                lines += self._constraint(f"v{rule}", field)
        for column in self._columns:
            self._required_inside(column.template, lines)
        return lines

    def _constraint(self, value: str, field: Field) -> list[str]:
        """Bounds and enumerations are compared in place; `constraint` checks the rest."""
        tests = []
        if field.kind in ("string", "date", "date-time"):
            if field.kind != "string":
                return []
            if field.enum is not None:
                tests.append(f"{value} not in {self.constant(frozenset(field.enum))}")
            if any(b is not None for b in (field.pattern, field.min_length, field.max_length)) or (
                field.format in FORMATS
            ):
                tests = [
                    f"{self.constant(constraint)}({value}, {self.constant(field)}) is not None"
                ]
        else:
            if field.minimum is not None:
                tests.append(f"{value} < {self.constant(field.minimum)}")
            if field.maximum is not None:
                tests.append(f"{value} > {self.constant(field.maximum)}")
        return [f"if {value} is not None and ({' or '.join(tests)}): {self._fail}"] if tests else []

    def _present(self, path: tuple[str, ...]) -> list[str]:
        """Variables of which one must be filled for the object at `path` to exist."""
        return [
            f"v{rule}"
            for column in self._columns
            if column.path[: len(path)] == path
            for rule in rules_of(column.template)
        ]

    def _required(self, node: Field, path: tuple[str, ...], lines: list[str]) -> None:
        inside = self._present(path)
        if path and not inside:
            return
        for name in node.required:
            child = self._present((*path, name))
            missing = " and ".join(f"{v} is None" for v in child) or "True"
            exists = " or ".join(f"{v} is not None" for v in inside) if path else "True"
            lines.append(f"if ({missing}) and ({exists}): {self._fail}")
        for name, child_field in node.properties.items():
            if child_field.kind == "object":
                self._required(child_field, (*path, name), lines)

    def _required_inside(self, template: Template, lines: list[str]) -> None:
        for child in template.children.values():
            self._required_inside(child, lines)
        if template.field.kind != "object" or not template.children:
            return
        inside = [f"v{rule}" for rule in rules_of(template)]
        for name in template.field.required:
            part = template.children.get(name)
            mine = [f"v{rule}" for rule in rules_of(part)] if part else []
            missing = " and ".join(f"{v} is None" for v in mine) or "True"
            exists = " or ".join(f"{v} is not None" for v in inside)
            lines.append(f"if ({missing}) and ({exists}): {self._fail}")

    # -- values of arrays and maps --------------------------------------------------------------------------

    def _assemble(self, template: Template) -> str:
        if template.rule is not None:
            return f"v{template.rule}"
        guard = " and ".join(f"v{rule} is None" for rule in rules_of(template))
        return f"(None if {guard} else {self._literal(template)})"

    def _literal(self, template: Template) -> str:
        kind = template.field.kind
        if kind == "array":
            last = max(step for step in template.children if isinstance(step, int))
            parts = [
                self._assemble(template.children[n]) if n in template.children else "None"
                for n in range(last + 1)
            ]
            return f"{self.constant(_trimmed)}([{', '.join(parts)}])"
        entries = [
            (self.constant(key), self._assemble(child)) for key, child in template.children.items()
        ]
        if len(entries) == 1:
            return f"{{{entries[0][0]}: {entries[0][1]}}}"
        pairs = ", ".join(f"({key}, {value})" for key, value in entries)
        return f"{{key: value for key, value in ({pairs},) if value is not None}}"

    # -- expressions ----------------------------------------------------------------------------------------

    def _expression(self, node: Node) -> str:
        match node:
            case Literal(value):
                return self.constant(value) if value is not None else "None"
            case Path():
                return self._reader.variables[node]
            case Name(name):
                return next(v for n, v in reversed(self._parameters) if n == name)
            case Call():
                return self._call(node)
            case Method(target, name, arguments):
                values = [
                    self._expression(target),
                    self.constant(name),
                    *map(self._expression, arguments),
                ]
                return self._applied(call_method, *values)
            case Member(target, key):
                return (
                    f"{self.constant(member)}({self._expression(target)}, {self._expression(key)})"
                )
            case Unary(operator, operand):
                return f"{self.constant(UNARY[operator])}({self._expression(operand)})"
            case Binary():
                return self._binary(node)
            case Conditional(test, then, otherwise):
                chosen = self._expression(test)
                if not inline.is_test(test):
                    chosen = f"truth({chosen})"
                return f"({self._expression(then)} if {chosen} else {self._expression(otherwise)})"
            case ArrayLiteral(elements):
                return f"[{', '.join(map(self._expression, elements))}]"
            case MapLiteral(entries):
                pairs = [
                    f"{self._applied(key_of, self._expression(k))}: {self._expression(v)}"
                    for k, v in entries
                ]
                return f"{{{', '.join(pairs)}}}"
            case Lambda(parameter, body):
                variable = f"p{len(self._parameters)}"
                self._parameters.append((parameter, variable))
                text = self._expression(body)
                self._parameters.pop()
                return f"(lambda {variable}: {text})"

    def _applied(self, function: Callable[..., Any], *arguments: str) -> str:
        """A call, which counts against the limits inside of a lambda."""
        name = self.constant(function)
        if self._parameters:
            return f"c.metered({', '.join((name, *arguments))})"
        return f"{name}({', '.join(arguments)})"

    def _binary(self, node: Binary) -> str:
        left, right = self._expression(node.left), self._expression(node.right)
        match node.operator:
            case "&&":
                return f"(truth({left}) and truth({right}))"
            case "||":
                return f"(truth({left}) or truth({right}))"
            case "?:":
                return f"(y if truth(y := {left}) else {right})"
            case "??":
                return f"(y if (y := {left}) is not None else {right})"
        if not is_quick(node):
            return self._applied(OPERATORS[node.operator], left, right)
        call = f"{self.constant(OPERATORS[node.operator])}({left}, {right})"
        return inline.comparison(node, left, right, call) or call

    def _call(self, node: Call) -> str:
        function = FUNCTIONS[node.name]
        arguments = [self._expression(argument) for argument in node.arguments]
        if function.needs_context:
            arguments.insert(0, "c")
        call = self._applied(function.implementation, *arguments)
        if self._parameters:
            return call
        return inline.function(function.implementation, node.arguments, arguments, call) or call


def _coerce_whole(
    value: Any, field: Field, rule: int, warn: Callable[[tuple[int, str, str]], None]
) -> Any:
    """An array, map or object; children that do not fit are left out and warned of."""
    failures: list[tuple[str, str]] = []
    try:
        return coerce(bounded_value(value), field, failures)
    finally:
        for path, message in failures:
            warn((rule, message, path))


def _trimmed(elements: list[Any]) -> list[Any]:
    """Elements that no rule filled do not lengthen an array."""
    while elements and elements[-1] is None:
        elements.pop()
    return elements


def _breaks(value: Any, field: Field) -> bool:
    """Whether a whole value breaks its field."""
    found: list[Violation] = []
    conform(value, field, "", found)
    return bool(found)
