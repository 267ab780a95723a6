"""Tokens of an expression to its syntax tree, by precedence climbing.

Depth is counted on the way, in the text and in the tree, so that neither parsing nor a walk over the tree
can exhaust the stack. Unknown functions and wrong argument counts are refused here.
"""

from difflib import get_close_matches

from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.functions import FUNCTIONS
from headrace.mapping.lexer import Token, tokens_of
from headrace.mapping.limits import MAX_DEPTH
from headrace.mapping.methods import METHODS
from headrace.mapping.paths import (
    Destination,
    parse_attribute,
    parse_destination,
    split_name,
    unescaped,
)
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

__all__ = ["Destination", "parse", "parse_attribute", "parse_destination"]

_LEVELS: dict[str, int] = {
    "||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6,
    "<": 7, "<=": 7, ">": 7, ">=": 7, "=~": 7, "!~": 7, "=^": 7, "!^": 7, "=$": 7, "!$": 7,
    "+": 8, "-": 8, "*": 9, "/": 9, "%": 9,
}  # fmt: skip
_LAMBDA_FUNCTIONS = frozenset({"filterArray", "transformArray"})


def parse(text: str) -> Node:
    """The tree of an expression; MappingSyntaxError says what is wrong and where."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens_of(text)
        self.at = 0
        self.level = 0
        self.names: list[str] = []
        self.depths: dict[int, int] = {}
        self.kept: list[Node] = []

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def whole(self) -> Node:
        if self.token.kind == "end":
            raise MappingSyntaxError("The expression is empty.", 0)
        node = self.expression()
        if self.token.kind != "end":
            raise self.unexpected("an operator or the end")
        return node

    def unexpected(self, wanted: str) -> MappingSyntaxError:
        token = self.token
        shown = self.text[token.begin : token.end] or "the end"
        return MappingSyntaxError(f"Expected {wanted}, found {shown!r}.", token.begin)

    def is_op(self, *symbols: str) -> bool:
        return self.token.kind == "op" and self.token.value in symbols

    def accept(self, symbol: str) -> bool:
        if self.is_op(symbol):
            self.at += 1
            return True
        return False

    def expect(self, symbol: str) -> None:
        if not self.accept(symbol):
            raise self.unexpected(f"'{symbol}'")

    def built(self, node: Node, *children: Node) -> Node:
        """Registers a node's depth; nodes are kept alive so that ids stay unique."""
        depth = 1 + max((self.depths.get(id(child), 1) for child in children), default=0)
        if depth > MAX_DEPTH:
            raise self.too_deep()
        self.depths[id(node)] = depth
        self.kept.append(node)
        return node

    def too_deep(self) -> MappingSyntaxError:
        return MappingSyntaxError(
            f"The expression is nested more than {MAX_DEPTH} levels deep.", self.token.begin
        )

    def enter(self) -> None:
        self.level += 1
        if self.level > MAX_DEPTH:
            raise self.too_deep()

    def expression(self) -> Node:
        self.enter()
        node = self.binary(1)
        if self.accept("?"):
            then = self.expression()
            self.expect(":")
            otherwise = self.expression()
            node = self.built(Conditional(node, then, otherwise), node, then, otherwise)
        elif self.is_op("?:", "??"):
            symbol = self.token.value
            self.at += 1
            right = self.expression()
            node = self.built(Binary(symbol, node, right), node, right)
        self.level -= 1
        return node

    def binary(self, minimum: int) -> Node:
        left = self.unary()
        while self.token.kind == "op" and _LEVELS.get(self.token.value, 0) >= minimum:
            symbol = self.token.value
            level = _LEVELS[symbol]
            if symbol in ("&&", "||"):
                left = self.chain(symbol, level, left)
                continue
            self.at += 1
            right = self.binary(level + 1)
            left = self.built(Binary(symbol, left, right), left, right)
        return left

    def chain(self, symbol: str, level: int, first: Node) -> Node:
        """`a || b || c …` as a balanced tree: both orders mean the same and long lists stay shallow."""
        parts = [first]
        while self.accept(symbol):
            parts.append(self.binary(level + 1))
        while len(parts) > 1:
            pairs = [
                self.built(Binary(symbol, parts[i], parts[i + 1]), parts[i], parts[i + 1])
                for i in range(0, len(parts) - 1, 2)
            ]
            parts = pairs + parts[len(pairs) * 2 :]
        return parts[0]

    def unary(self) -> Node:
        operators: list[str] = []
        while self.is_op("-", "+", "~", "!") or (
            self.token.kind == "word" and self.token.value in ("empty", "size")
        ):
            operators.append(self.token.value)
            self.at += 1
            if len(operators) > MAX_DEPTH:
                raise self.too_deep()
        node = self.postfix()
        for operator in reversed(operators):
            node = self.built(Unary(operator, node), node)
        return node

    def postfix(self) -> Node:
        node = self.primary()
        while True:
            if self.accept("."):
                node = self.member(node)
            elif self.accept("["):
                key = self.expression()
                self.expect("]")
                node = self.indexed(node, key)
            else:
                return node

    def member(self, node: Node) -> Node:
        token = self.token
        if token.kind not in ("name", "string", "quoted", "number"):
            raise self.unexpected("a name")
        self.at += 1
        if token.kind == "name" and self.accept("("):
            arguments = self.arguments()
            if token.value not in METHODS:
                known = ", ".join(sorted(METHODS))
                raise MappingSyntaxError(
                    f"There is no method '{token.value}'; the methods are {known}.", token.begin
                )
            least, most = METHODS[token.value].arity
            if not least <= len(arguments) <= most:
                raise MappingSyntaxError(
                    f"The method '{token.value}' takes {_count(least, most)},"
                    f" {len(arguments)} are given.",
                    token.begin,
                )
            return self.built(Method(node, token.value, arguments), node, *arguments)
        steps: list[str | int] = [token.value]
        if token.kind == "quoted":
            steps = split_name(token.value, token.begin + 2)
        if isinstance(node, Path):
            flat = token.value if token.kind != "quoted" else unescaped(token.value)
            return self.path((*node.steps, *steps), f"{node.flat}.{flat}")
        for step in steps:
            key = Literal(step)
            node = self.built(Member(node, key), node)
        return node

    def path(self, steps: tuple[str | int, ...], flat: str) -> Path:
        if len(steps) > MAX_DEPTH:
            raise self.too_deep()
        return Path(steps, flat)

    def indexed(self, node: Node, key: Node) -> Node:
        if isinstance(node, Path) and isinstance(key, Literal):
            step = key.value
            if isinstance(step, str) or (type(step) is int and step < 2**31):
                return self.path((*node.steps, step), f"{node.flat}[{step}]")
        return self.built(Member(node, key), node, key)

    def primary(self) -> Node:
        token = self.token
        if token.kind in ("number", "string"):
            self.at += 1
            return Literal(token.value)
        if token.kind == "quoted":
            self.at += 1
            return self.path(
                tuple(split_name(token.value, token.begin + 2)), unescaped(token.value)
            )
        if token.kind == "name":
            self.at += 1
            if self.accept("("):
                return self.call(token)
            if token.value in self.names:
                return Name(token.value)
            return Path((token.value,), token.value)
        if token.kind == "word" and token.value in ("true", "false", "null"):
            self.at += 1
            return Literal({"true": True, "false": False, "null": None}[token.value])
        if token.kind == "word":
            raise MappingSyntaxError(
                f"'{token.value}' is a reserved word; a field of that name is written ${{{token.value}}}.",
                token.begin,
            )
        if self.accept("("):
            node = self.expression()
            self.expect(")")
            return node
        if self.accept("["):
            elements = self.list_until("]")
            return self.built(ArrayLiteral(elements), *elements)
        if self.accept("{"):
            return self.map_literal()
        raise self.unexpected("a value")

    def map_literal(self) -> Node:
        if self.accept(":"):
            self.expect("}")
            return MapLiteral(())
        if self.accept("}"):
            return MapLiteral(())
        entries: list[tuple[Node, Node]] = []
        while True:
            key = self.expression()
            self.expect(":")
            entries.append((key, self.expression()))
            if self.accept("}"):
                break
            self.expect(",")
        return self.built(
            MapLiteral(tuple(entries)), *(node for entry in entries for node in entry)
        )

    def list_until(self, close: str) -> tuple[Node, ...]:
        out: list[Node] = []
        if self.accept(close):
            return ()
        while True:
            out.append(self.expression())
            if self.accept(close):
                return tuple(out)
            if not self.accept(","):
                raise self.unexpected(f"',' or '{close}'")

    def arguments(self) -> tuple[Node, ...]:
        return self.list_until(")")

    def call(self, token: Token) -> Node:
        name = token.value
        function = FUNCTIONS.get(name)
        if function is None:
            near = get_close_matches(name, FUNCTIONS, 1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            raise MappingSyntaxError(f"There is no function '{name}'{hint}", token.begin)
        begin = self.token.begin
        arguments = self.lambda_arguments() if name in _LAMBDA_FUNCTIONS else self.arguments()
        problem = function.wrong_count(len(arguments))
        if problem:
            raise MappingSyntaxError(problem, token.begin)
        if name == "iif":
            return self.built(Conditional(*arguments), *arguments)
        if name in ("contains_key", "is_set") and isinstance(arguments[0], Path):
            close = self.tokens[self.at - 1].begin
            arguments = (Literal(self.text[begin:close].strip()),)
        if name == "object_to_map" and len(arguments) == 2 and isinstance(arguments[1], Path):
            # A bare attribute name is itself when it leads to nothing; the implementation decides.
            arguments = (*arguments, Literal(arguments[1].flat))
        return self.built(Call(name, arguments), *arguments)

    def lambda_arguments(self) -> tuple[Node, ...]:
        array = self.expression()
        self.expect(",")
        parameter = self.token
        if parameter.kind != "name":
            raise self.unexpected("the name of the lambda's parameter")
        self.at += 1
        self.expect("->")
        self.names.append(parameter.value)
        body = self.expression()
        self.names.pop()
        self.expect(")")
        return array, self.built(Lambda(parameter.value, body), body)


def _count(least: int, most: int) -> str:
    if least == most:
        return f"{least} argument{'' if least == 1 else 's'}"
    return f"{least} to {most} arguments"
