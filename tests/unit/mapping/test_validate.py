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


@pytest.mark.parametrize(
    ("expression", "word"),
    [
        ("matches_regex(a, '(?=x)y')", "look-around"),
        ("a =~ '(a)\\\\1'", "back references"),
        ("a !~ 'x++'", "possessive"),
        ("explode(a, '(?>x)')", "atomic groups"),
        ("explode(a, '(').get(0)", "not valid"),
        ("a.split('[a&&b]').get(0)", "character classes"),
        ("format(a, 'yyyy-bb')", "no letter of date patterns"),
        ("date(a, 'yyyy w')", "cannot be read"),
        ("date_part('fortnight', a)", "not a component"),
        ("set_date_part('quarter', 1, a)", "cannot set the quarter"),
        ("zone_date_to_zone(a, 'Atlantis/City')", "no time zone"),
        ("md5(a, 'UTF-7')", "Unknown character set"),
        ("hash('sha3', a)", "Unknown hash"),
        ("get_url_query_str(a, 'keep')", "retain, remove or append"),
        ("join('', transformArray(a, x -> extract_regex(x, '(?!b)')))", "look-around"),
    ],
)
def test_a_constant_that_fails_for_every_record_is_told(expression, word):
    assert word in " ".join(verdicts(("EXPRESSION", expression, "name"))[0])


@pytest.mark.parametrize(
    "expression",
    [
        "matches_regex(a, b)",
        "explode(a, null).get(0)",
        "format(a, b)",
        "md5(a, null)",
        "a =~ ['(']",
    ],
)
def test_what_only_a_record_can_tell_is_no_problem(expression):
    assert verdicts(("EXPRESSION", expression, "name")) == [[]]
