import pytest

from headrace.mapping.validate import problems_of
from headrace.model.flow import Rule
from headrace.xdm.fields import Field

STRING = Field("string")
TARGET = Field(
    "object",
    properties={
        "name": STRING,
        "_acp_system_metadata": Field("object"),
        "home": Field("object", properties={"city": STRING}),
        "tags": Field("array", items=STRING),
        "mails": Field("array", items=Field("object", properties={"to": STRING})),
        "codes": Field("map", values=STRING),
    },
)


def verdicts(*rules: tuple[str, str, str]) -> list[list[str]]:
    return problems_of([Rule(*rule) for rule in rules], TARGET)


@pytest.mark.parametrize(
    "rule",
    [
        ("ATTRIBUTE", "a", "name"),
        ("ATTRIBUTE", "a.b[0].c", "home.city"),
        ("ATTRIBUTE", "a", "home"),
        ("ATTRIBUTE", "a[*].b", "mails[*].to"),
        ("ATTRIBUTE", "a[*].b[*]", "mails[*].to"),
        ("ATTRIBUTE", "a[*].b", "tags"),
        ("ATTRIBUTE", "a", "mails[2].to"),
        ("ATTRIBUTE", "a", "codes.any key"),
        ("EXPRESSION", "to_object('city', a)", "home"),
        ("EXPRESSION", "null", "home"),
        ("STATIC", "a text (not an expression", "name"),
        ("STATIC", "one", "tags"),
    ],
)
def test_a_sound_rule_has_no_problem(rule):
    assert verdicts(rule) == [[]]


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        (("ATTRIBUTE", " ", "name"), "source is empty"),
        (("ATTRIBUTE", "a", ""), "destination is empty"),
        (("MACRO", "a", "name"), "source type"),
        (("ATTRIBUTE", "a..b", "name"), "name is missing"),
        (("EXPRESSION", "concat(a", "name"), "Expected"),
        (("EXPRESSION", "concta(a)", "name"), "did you mean 'concat'"),
        (("EXPRESSION", "lower(a, b)", "name"), "takes 1 argument, 2 are given"),
        (("EXPRESSION", "to_object('a')", "home"), "pairs"),
        (("EXPRESSION", "a.frobnicate()", "name"), "no method"),
        (("EXPRESSION", "mod", "name"), "Expected a value"),
        (("EXPRESSION", "a[*].b", "tags"), "Expected a value"),
        (("ATTRIBUTE", "a", "nickname"), "has no field"),
        (("ATTRIBUTE", "a", "home.zip"), "has no field"),
        (("ATTRIBUTE", "a", "name.first"), "has no field"),
        (("ATTRIBUTE", "a", "name[0]"), "not an array"),
        (("ATTRIBUTE", "a", "mails.to"), "add [*] or an index"),
        (("ATTRIBUTE", "a", "mails[*].to"), "more [*]"),
        (("ATTRIBUTE", "a", "_acp_system_metadata"), "managed by the system"),
        (("STATIC", "x", "home"), "a literal cannot fill it"),
        (("EXPRESSION", "'x'", "codes"), "a literal cannot fill it"),
        (("EXPRESSION", "1" + " + 1" * 2000, "name"), "at most 4096 characters"),
    ],
)
def test_a_faulty_rule_is_told_why(rule, word):
    assert word in " ".join(verdicts(rule)[0])


@pytest.mark.parametrize("again", ["home.city", "${home.city}", "home.${city}"])
def test_the_later_of_two_rules_for_one_destination_is_at_fault(again):
    first, later = verdicts(("ATTRIBUTE", "a", "home.city"), ("ATTRIBUTE", "b", again))
    assert first == []
    assert "Another rule already writes" in later[0]
