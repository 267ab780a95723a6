"""Where the server may connect to: every spelling of a forbidden address, and names that lie."""

import ipaddress
import socket
from collections.abc import Sequence

import pytest

from headrace.errors import ConfigurationError
from headrace.security.egress import Egress, EgressRefused, NameUnresolved


class Names:
    """A resolver that answers from a table; each answer is used once, the last one for ever."""

    def __init__(self, **table: list[list[str]]) -> None:
        self.table = {name.replace("_", "."): answers for name, answers in table.items()}
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        if host not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = self.table[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def nobody(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"the resolver was asked for {host}")


FORBIDDEN = [
    # loopback and this host, in all spellings of the C library
    "127.0.0.1", "127.8.8.8", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0", "0.0.0.0",
    "0.1.2.3", "::1", "[::1]", "0:0:0:0:0:0:0:1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1",
    # private, shared, link-local, unique local, site local
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "100.127.255.255", "169.254.1.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1",
    "::ffff:10.0.0.1", "::ffff:192.168.0.1",
    # metadata services and host agents of clouds
    "169.254.169.254", "2852039166", "0xa9fea9fe", "::ffff:169.254.169.254", "fd00:ec2::254",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "169.254.170.2",
    # IPv4 in disguise, multicast, broadcast, reserved, documentation
    "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "192.88.99.1", "224.0.0.1", "ff02::1",
    "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1",
    "2001:db8::1", "100::1", "4000::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "169.253.0.1", "2606:4700:4700::1111", "192.0.1.1"]  # fmt: skip


@pytest.mark.parametrize("host", FORBIDDEN)
def test_an_address_that_leads_inside_is_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(EgressRefused, match="HEADRACE_EGRESS_ALLOW"):
        Egress(resolver=nobody).check(host, 443)


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_address_passes_unresolved(host: str) -> None:
    assert Egress(resolver=nobody).check(host, 443) == host


def canonical(text: str) -> bool:
    """Whether a resolver could answer it: not the short, octal and hexadecimal spellings."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("address", [text for text in FORBIDDEN if canonical(text)])
def test_a_name_may_not_stand_for_a_forbidden_address(address: str) -> None:
    with pytest.raises(EgressRefused):
        Egress(resolver=Names(trap_example=[[address]])).check("trap.example", 443)


def test_a_name_leads_to_the_address_that_was_checked_and_is_resolved_once() -> None:
    names = Names(api_example=[["93.184.216.34"], ["127.0.0.1"]])
    assert Egress(resolver=names).check("api.example", 443) == "93.184.216.34"
    assert names.asked == [("api.example", 443)]


def test_a_name_that_is_bound_anew_is_refused_at_the_next_connection() -> None:
    names = Names(api_example=[["93.184.216.34"], ["169.254.169.254"]])
    egress = Egress(resolver=names)
    egress.check("api.example", 443)
    with pytest.raises(EgressRefused):
        egress.check("api.example", 443)


def test_a_redirect_is_a_connection_like_any_other() -> None:
    names = Names(api_example=[["93.184.216.34"]], metadata_internal=[["169.254.169.254"]])
    egress = Egress(resolver=names)
    egress.check("api.example", 443)
    for target in ("metadata.internal", "169.254.169.254", "[::ffff:a9fe:a9fe]"):
        with pytest.raises(EgressRefused):
            egress.check(target, 80)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_private_address_among_public_ones_is_enough_to_refuse(place: int) -> None:
    answer = ["93.184.216.34", "93.184.216.35"]
    answer.insert(place, "10.0.0.1")
    with pytest.raises(EgressRefused):
        Egress(resolver=Names(api_example=[answer])).check("api.example", 443)


def test_a_name_is_compared_without_case_and_final_dot() -> None:
    names = Names(api_example=[["93.184.216.34"]])
    assert Egress(resolver=names).check("API.Example.", 443) == "93.184.216.34"
    assert names.asked == [("api.example", 443)]


@pytest.mark.parametrize(
    "host",
    [
        "user@10.0.0.1", "api.example@127.0.0.1", "user:pw@api.example", "api.example/path", "api.example?x",
        "api.example#x", "api.example\\@127.0.0.1", "api example", "api.example\r\nx", "api\x00.example",
        "api.example:80", "127.0.0.1:80", "127.0.0.1%00.example", "http://127.0.0.1", "unix:/run/x.sock",
        "api.example%eth0",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused_unresolved(host: str) -> None:
    with pytest.raises(EgressRefused):
        Egress(resolver=nobody).check(host, 443)


@pytest.mark.parametrize("host", ["", " ", ".", "[]"])
def test_an_empty_host_is_refused(host: str) -> None:
    with pytest.raises(EgressRefused, match="empty"):
        Egress(resolver=nobody).check(host, 443)


@pytest.mark.parametrize("port", [0, -1, 65536, 10**9])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(EgressRefused, match="port"):
        Egress("10.0.0.0/8", nobody).check("10.0.0.1", port)


@pytest.mark.parametrize("port", [1, 22, 6379, 65535])
def test_any_port_of_a_public_address_passes(port: int) -> None:
    assert Egress(resolver=nobody).check("8.8.8.8", port) == "8.8.8.8"


def test_a_name_without_an_address_may_come_back_later() -> None:
    with pytest.raises(NameUnresolved):
        Egress(resolver=Names()).check("gone.example", 443)
    with pytest.raises(NameUnresolved):
        Egress(resolver=lambda host, port: []).check("empty.example", 443)
    with pytest.raises(NameUnresolved):
        Egress().check("a" * 64 + ".example", 443)  # the resolver cannot even spell it


def test_checking_a_setting_lets_unresolvable_names_pass_but_nothing_forbidden() -> None:
    names = Names(trap_example=[["10.0.0.1"]])
    egress = Egress(resolver=names)
    egress.check_literal("gone.example", 443)
    for host in ("127.0.0.1", "trap.example", "user@gone.example"):
        with pytest.raises(EgressRefused):
            egress.check_literal(host, 443)


# -- the allow list -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allow", "host", "port", "passes"),
    [
        ("10.0.0.5", "10.0.0.5", 443, True),
        ("10.0.0.5", "10.0.0.6", 443, False),
        ("10.0.0.5:9092", "10.0.0.5", 9092, True),
        ("10.0.0.5:9092", "10.0.0.5", 443, False),
        ("10.0.0.0/8", "10.9.9.9", 1, True),
        ("10.0.0.0/8", "11.0.0.1", 443, True),  # public anyway
        ("10.0.0.0/8", "192.168.0.1", 443, False),
        ("10.0.0.7/8", "10.1.1.1", 443, True),
        ("10.0.0.0/8", "::ffff:10.0.0.1", 443, True),
        ("10.0.0.0/8", "0x0a000001", 443, True),
        ("::1", "::1", 443, True),
        ("[::1]:9092", "::1", 9092, True),
        ("[::1]:9092", "::1", 443, False),
        ("[::1]", "[::1]", 443, True),
        ("fd00::/8", "fd12::1", 443, True),
        ("fd00::/8", "fe80::1", 443, False),
        (" 10.0.0.5 , 10.0.0.6 ,", "10.0.0.6", 443, True),
        ("", "10.0.0.5", 443, False),
    ],
)
def test_the_operator_allows_addresses(allow: str, host: str, port: int, passes: bool) -> None:
    egress = Egress(allow, nobody)
    if passes:
        assert egress.check(host, port)
    else:
        with pytest.raises(EgressRefused):
            egress.check(host, port)


def test_the_operator_allows_names_wherever_they_lead() -> None:
    names = Names(kafka_internal=[["10.0.0.5"]], other_internal=[["10.0.0.5"]])
    egress = Egress("Kafka.Internal:9092", names)
    assert egress.check("kafka.internal", 9092) == "10.0.0.5"
    assert egress.check("KAFKA.internal.", 9092) == "10.0.0.5"
    for host, port in (("kafka.internal", 443), ("other.internal", 9092), ("10.0.0.5", 9092)):
        with pytest.raises(EgressRefused):
            egress.check(host, port)


def test_a_network_is_allowed_for_names_too() -> None:
    names = Names(kafka_internal=[["10.0.0.5"]], both_internal=[["10.0.0.5", "192.168.0.1"]])
    egress = Egress("10.0.0.0/8", names)
    assert egress.check("kafka.internal", 9092) == "10.0.0.5"
    with pytest.raises(EgressRefused):
        egress.check("both.internal", 9092)


@pytest.mark.parametrize("allow", ["10.0.0.0/33", "a/b", "host:0", "host:65536", "host:x", "host:-1", "[::1]:x"])  # fmt: skip
def test_a_malformed_allow_list_refuses_to_start(allow: str) -> None:
    with pytest.raises(ConfigurationError):
        Egress(allow)


def test_the_refusal_tells_the_operator_what_to_add() -> None:
    with pytest.raises(EgressRefused, match=r"'10\.0\.0\.5:9092'"):
        Egress(resolver=nobody).check("10.0.0.5", 9092)
