"""Which addresses an image may be fetched from.

Whoever may create a VirtualImage has the controllers fetch a URL of his choice, from inside the host's network. So
addresses are closed that mean this host or its surroundings: loopback, link-local (metadata services of clouds),
unspecified and multicast ones, each address of the machine the controllers run on, the API server, and what the
configuration adds. An address that another one is wrapped in (IPv4-mapped, 6to4, NAT64) is judged by that.

Names are judged by what they resolve to, and again when the connection is made, by the very addresses it is made to:
a name that means another address the second time gains nothing. Private networks are open: images come from there.
Where a proxy of the environment is in use it makes the connection, and what it lets through is its own rule.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Collection, Iterable

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
RESOLVE_S = 15.0


class Closed(Exception):
    """Nothing is fetched from there; ``str()`` says what it is."""


class Guard:
    """``hosts`` are names or addresses that are closed besides, for example of the API server; ``networks`` CIDRs."""

    def __init__(self, hosts: Iterable[str] = (), networks: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.strip("[]").lower() for host in hosts)
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)

    async def check(self, host: str) -> None:
        """Raises Closed for a host that is, or resolves to, a closed address. Unknown names pass: nobody answers."""
        host = host.strip("[]").rstrip(".").lower()
        if host in self._hosts:
            raise Closed(f"{host} is a host of the cluster")
        self.check_addresses(await _addresses(host), await self.cluster())

    async def cluster(self) -> set[str]:
        """The addresses of the closed hosts, now."""
        return {address for host in sorted(self._hosts) for address in await _addresses(host)}

    def check_addresses(self, found: Iterable[str], cluster: Collection[str]) -> None:
        """Raises Closed when one of them is."""
        for text in found:
            address = _bare(ipaddress.ip_address(text.partition("%")[0]))
            what = "a host of the cluster" if str(address) in cluster else self._what(address)
            if what:
                raise Closed(f"{text} is {what}")

    def _what(self, address: Address) -> str:
        """What is closed about it; empty: nothing."""
        if address.is_loopback or address.is_unspecified or _is_ours(address):
            return "this host itself"
        if address.is_link_local:
            return "link-local"
        if address.is_multicast or (address.version == 4 and address.is_reserved):
            return "no host's address"
        closed = [network for network in self._networks if address in network]
        return f"in {closed[0]}, which is closed for images" if closed else ""


async def _addresses(host: str) -> list[str]:
    """What a name means now; none when nobody knows it."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        return []
    return [str(address[0]) for *_, address in found]


def _bare(address: Address) -> Address:
    """What an IPv6 address that stands for an IPv4 one leads to."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _is_ours(address: Address) -> bool:
    """Whether an interface of this machine has it: only such an address can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
    return True


class GuardedResolver(AbstractResolver):
    """The addresses a connection is made to, closed ones refused."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        try:
            self._guard.check_addresses([one["host"] for one in found], await self._guard.cluster())
        except Closed as closed:
            raise OSError(errno.EACCES, str(closed)) from closed
        return found

    async def close(self) -> None:
        await self._inner.close()
