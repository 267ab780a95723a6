import pytest

from headrace.mapping.rules import rule_of
from headrace.model.flow import Rule


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ({"source": "a", "destination": "b"}, ("ATTRIBUTE", "a", "b")),
        ({"sourceAttribute": "a", "destinationXdmPath": "b"}, ("ATTRIBUTE", "a", "b")),
        ({"source": "a", "sourceAttribute": "x", "destination": "b"}, ("ATTRIBUTE", "a", "b")),
        ({"source": None, "sourceAttribute": "a", "destination": "b"}, ("ATTRIBUTE", "a", "b")),
        (
            {"sourceType": "text/x.aep-xl", "source": "1", "destination": "b"},
            ("EXPRESSION", "1", "b"),
        ),
        ({"sourceType": "expression", "source": "1", "destination": "b"}, ("EXPRESSION", "1", "b")),
        ({"sourceType": "text/plain", "source": "", "destination": "b"}, ("STATIC", "", "b")),
        ({"sourceType": None, "source": "a", "destination": "b"}, ("ATTRIBUTE", "a", "b")),
    ],
)
def test_both_shapes_and_all_names_of_source_types_are_read(entry, rule) -> None:
    assert rule_of(entry) == Rule(*rule)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("a", "must be an object"),
        ({"source": "a"}, "'source' and 'destination'"),
        ({"source": 1, "destination": "b"}, "'source' and 'destination'"),
        ({"sourceType": "MACRO", "source": "a", "destination": "b"}, "'MACRO' is none of"),
        ({"sourceType": [], "source": "a", "destination": 0}, "'source' and 'destination'"),
    ],
)
def test_what_is_no_rule_is_told_why(entry, said) -> None:
    with pytest.raises(ValueError, match=said):
        rule_of(entry)
