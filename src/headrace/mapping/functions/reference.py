"""The function table as a page of documentation.

python -m headrace.mapping.functions.reference > docs/mapping-functions.md
"""

import json

from headrace.mapping.functions import FUNCTIONS
from headrace.mapping.functions.definition import Function, Parameter

_HEAD = """# Functions of the mapping language

Written by `python -m headrace.mapping.functions.reference`; tests run every example. Arguments in brackets may be
left out, `…` stands for any number of further ones. Dates are shown as they are written to a date-time field;
examples that need a clock see 2021-10-26T10:10:24Z. [The language](mapping-language.md) has the rest.
"""


def page() -> str:
    """Every function by category, in Markdown."""
    categories: dict[str, list[Function]] = {}
    for function in FUNCTIONS.values():
        categories.setdefault(function.category, []).append(function)
    sections = [_section(name, members) for name, members in categories.items()]
    return "\n".join([_HEAD, *sections])


def _section(name: str, functions: list[Function]) -> str:
    rows = [
        f"| {_code(f.signature)} | {f.returns} | {_meaning(f)} | {_shown(f)} |" for f in functions
    ]
    head = ["| Function | Result | Meaning | Examples |", "|---|---|---|---|"]
    return "\n".join([f"## {name}", "", *head, *rows, ""])


def _meaning(function: Function) -> str:
    parameters = "; ".join(map(_parameter, function.parameters))
    return _cell(f"{function.description} {parameters}".strip())


def _parameter(parameter: Parameter) -> str:
    return f"*{parameter.name}*: {parameter.description}"


def _shown(function: Function) -> str:
    parts = [f"{_code(text)} → {_code(result)}" for text, result in function.examples]
    if function.record:
        parts.append(f"for {_code(json.dumps(function.record, separators=(',', ':')))}")
    return "<br>".join(parts)


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    """A bar would end the cell."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
