"""What the function table promises: documentation, and examples that hold in both back ends."""

import json
from pathlib import Path

import pytest

from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.functions import FUNCTIONS
from headrace.mapping.functions.reference import page
from headrace.mapping.parser import parse
from tests.unit.mapping.back_ends import evaluated, generated, same

PAGE = Path(__file__).parents[3] / "docs" / "mapping-functions.md"
EXAMPLES = [
    pytest.param(text, function.record, json.loads(result), id=f"{function.name}-{number}")
    for function in FUNCTIONS.values()
    for number, (text, result) in enumerate(function.examples)
]


@pytest.mark.parametrize(("text", "record", "expected"), EXAMPLES)
def test_an_example_holds_in_the_evaluator_and_in_generated_code(text, record, expected):
    plain, fast = evaluated(text, record), generated(text, record)
    assert same(plain, expected), plain
    assert same(fast, expected), fast


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_is_documented(function):
    assert function.description.endswith(".")
    assert function.examples
    assert any(f"{function.name}(" in text for text, _ in function.examples)
    assert function.signature.startswith(f"{function.name}(")
    assert [p.name for p in function.parameters if not p.description] == []


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_wrong_number_of_arguments_is_refused(function):
    least = sum(not p.optional for p in function.parameters)
    least = least if function.least is None else function.least
    repeated = any(p.repeated for p in function.parameters)
    wrong = [n for n in (least - 1,) if n >= 0]
    wrong += [] if repeated else [len(function.parameters) + 1]
    wrong += [least + 3 - least % 2] if function.pairs else []  # an odd number
    lambdas = function.name in ("filterArray", "transformArray")
    for count in wrong:
        filled = ["[]", "x -> x"][:count] + ["1"] * (count - 2) if lambdas else ["1"] * count
        with pytest.raises(MappingSyntaxError):
            parse(f"{function.name}({', '.join(filled)})")


@pytest.mark.parametrize("name", ["Concat", "CONCAT", "filterarray", "toInteger", "Lower"])
def test_names_are_matched_in_their_letter_case(name):
    with pytest.raises(MappingSyntaxError, match="no function"):
        parse(f"{name}('a')")


def test_the_page_of_functions_is_the_generated_one():
    assert PAGE.read_text() == page()
