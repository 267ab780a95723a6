"""Where the server may connect to on a user's word.

Names and addresses that lead to this machine, its private networks or link-local services are refused unless
the operator lists them. A name is resolved once and the connection goes to the address that was checked.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.errors import ConfigurationError, Terminal, Transient

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]

# What the standard library takes for public, or not in all its versions.
_ALSO_REFUSED: tuple[Network, ...] = (
    ipaddress.ip_network("100.64.0.0/10"),  # shared address space; a cloud's metadata service
    ipaddress.ip_network("168.63.129.16/32"),  # a cloud's host agent
    ipaddress.ip_network("192.0.0.0/24"),  # protocol assignments; a cloud's metadata service
    ipaddress.ip_network("192.88.99.0/24"),  # relays into 2002::/16
    ipaddress.ip_network("2002::/16"),  # IPv4 addresses in disguise
    ipaddress.ip_network("2001::/32"),
)
# All other IPv6 space is local, unassigned, or IPv4 in disguise (::/96, 64:ff9b::/96, fec0::/10).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NOT_IN_NAMES = re.compile(r"[\x00-\x20\x7f@/\\?#%:\[\]]")


class EgressRefused(Terminal):
    """The address may not be connected to; the text says how an operator allows it."""


class NameUnresolved(Transient):
    """The name has no address at the moment."""


def resolve(host: str, port: int) -> Sequence[str]:
    """Addresses of a name by the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


@dataclass(frozen=True, slots=True)
class _Allowed:
    networks: tuple[Network, ...]
    hosts: frozenset[tuple[str, int | None]]

    def host(self, host: str, port: int) -> bool:
        return (host, None) in self.hosts or (host, port) in self.hosts

    def address(self, address: Address, port: int) -> bool:
        return self.host(str(address), port) or any(address in network for network in self.networks)


def _parse(allow: str) -> _Allowed:
    networks: list[Network] = []
    hosts: set[tuple[str, int | None]] = set()
    for entry in filter(None, (part.strip().lower() for part in allow.split(","))):
        if "/" in entry:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                raise ConfigurationError(
                    f"'{entry}' in the egress allow list is not a CIDR."
                ) from None
            continue
        host, port = entry, ""
        if entry.startswith("["):
            host, _, rest = entry[1:].partition("]")
            port = rest.removeprefix(":")
        elif entry.count(":") == 1:
            host, _, port = entry.partition(":")
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise ConfigurationError(f"'{entry}' in the egress allow list has no valid port.")
        hosts.add((host, int(port) if port else None))
    return _Allowed(tuple(networks), frozenset(hosts))


def _literal(host: str) -> Address | None:
    """The address a host text denotes, in any of the forms the C library accepts (decimal, hex, octal, short)."""
    try:
        return ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _public(address: Address) -> bool:
    if address.is_multicast or any(
        address in network for network in _ALSO_REFUSED if network.version == address.version
    ):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global


class Egress:
    """The rule. `allow` is a comma-separated list of `host[:port]` and CIDR."""

    def __init__(self, allow: str = "", resolver: Resolver = resolve) -> None:
        self._allowed = _parse(allow)
        self._resolver = resolver

    def check(self, host: str, port: int) -> str:
        """The address to connect to; EgressRefused, or NameUnresolved when the name has none."""
        name = host.strip().strip("[]").rstrip(".").lower()
        if not name:
            raise EgressRefused("The host is empty.")
        if not 0 < port < 65536:
            raise EgressRefused(f"{port} is not a port: ports are 1 to 65535.")
        literal = _literal(name)
        if literal is not None:
            self._admit(_plain(literal), name, port)
            return str(_plain(literal))
        if _NOT_IN_NAMES.search(name):
            raise EgressRefused(f"'{name}' is not the name of a host.")
        try:
            addresses = self._resolver(name, port)
        except (OSError, UnicodeError) as error:
            raise NameUnresolved(f"The name '{name}' cannot be resolved: {error}") from None
        if not addresses:
            raise NameUnresolved(f"The name '{name}' has no address.")
        plain = [_plain(ipaddress.ip_address(text.split("%", 1)[0])) for text in addresses]
        if not self._allowed.host(name, port):
            # Every address must pass: a name may not smuggle one private address among public ones.
            for address in plain:
                self._admit(address, name, port)
        return str(plain[0])

    def check_literal(self, host: str, port: int) -> None:
        """Refuse what is forbidden without asking a resolver to answer: unresolvable names pass."""
        try:
            self.check(host, port)
        except NameUnresolved:
            return

    def _admit(self, address: Address, name: str, port: int) -> None:
        if (
            _public(address)
            or self._allowed.host(name, port)
            or self._allowed.address(address, port)
        ):
            return
        raise EgressRefused(
            f"Connections to '{name}' port {port} are not allowed: the address is loopback, private, link-local"
            f" or reserved. An operator allows it by adding '{name}:{port}' to HEADRACE_EGRESS_ALLOW."
        )
