"""The node network in real network namespaces: two nodes on one switch, guests played by raw frames."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from tests.agent.net import contract
from tests.agent.net.guest import ACK, DISCOVER, OFFER, REQUEST, Card

from drover.agent.net.commands import exists
from drover.agent.net.dhcp import DhcpServer, DhcpSettings
from drover.agent.net.network import BridgeNetwork
from drover.agent.ports import MachineSpec, tap_name
from drover.base.clock import RealClock
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.lab import links, processes
from drover.lab.processes import Program
from drover.lab.topology import Topology

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not shutil.which("dnsmasq"), reason="dnsmasq is not installed"),
]
TOPOLOGY = Topology(3)
SPEC = MachineSpec(
    vm="default/a", vm_uid="u", cores=1, memory_bytes=2**27, mac="52:54:00:00:00:0a",
    ip=f"{TOPOLOGY.vm_net}.10", gateway=TOPOLOGY.vm_gateway, prefix=24,
)  # fmt: skip
_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def inside(pid: int) -> Iterator[None]:
    """This thread, and what it starts, works in the network namespace of ``pid``."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        assert libc.setns(theirs, _CLONE_NEWNET) == 0
        yield
    finally:
        assert libc.setns(own, _CLONE_NEWNET) == 0
        os.close(own)
        os.close(theirs)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[int]]:
    """Pids of two nodes' namespaces, cabled as in a lab."""
    lab = f"t{os.getpid()}"

    def launch(part: str) -> AbstractContextManager[int]:
        argv = ("drover-test", "infinity")
        return processes.launch(
            lab, Program(part, argv, tmp_path / "log", ("net",), program="/bin/sleep")
        )

    try:
        with launch("switch") as switch:
            links.make_switch(switch)
        pids = []
        for number in (1, 2):
            with launch(f"n{number}") as pid:
                links.plug_node(switch, pid, f"n{number}", number, TOPOLOGY)
            pids.append(pid)
        yield pids
    finally:
        for part in list(processes.find(lab)):
            processes.kill_part(lab, part)


def dhcp(directory: Path) -> DhcpServer:
    directory.mkdir(exist_ok=True)
    network = IPv4Network(TOPOLOGY.vm_cidr)
    settings = DhcpSettings(links.BRIDGE, links.UPLINK, network, TOPOLOGY.vm_gateway, directory)
    return DhcpServer(settings, RealClock(), Log(RealClock(), lambda entry: None))


@contextlib.asynccontextmanager
async def opened(pid: int, directory: Path):  # type: ignore[no-untyped-def]
    """A node's network, and its DHCP server, ended at the end."""
    server = dhcp(directory)
    network = BridgeNetwork(links.BRIDGE, server)
    with inside(pid):
        await network.open()
    try:
        yield network, server
    finally:
        await server.close()


@pytest.mark.parametrize("promise", contract.ALL, ids=lambda promise: promise.__name__)
async def test_contract(nodes, tmp_path, promise):
    async with opened(nodes[0], tmp_path / "n1") as (network, _):
        with inside(nodes[0]):
            await promise(network, SPEC)
            assert not exists(tap_name("copy-a"))
            assert not exists(tap_name("copy-b"))


async def test_guest_gets_its_address_from_its_own_node_only(nodes, tmp_path):
    async with (
        opened(nodes[0], tmp_path / "n1") as (one, _),
        opened(nodes[1], tmp_path / "n2") as (two, _),
    ):
        with inside(nodes[1]):
            await two.attach("target", SPEC)  # the end of a move knows the guest as well
        with inside(nodes[0]):
            await one.attach("source", SPEC)
            card = Card(tap_name("source"), SPEC.mac)
        try:
            (offer,) = card.ask(DISCOVER)
            assert (offer.kind, offer.address, offer.router) == (OFFER, SPEC.ip, SPEC.gateway)
            (ack,) = card.ask(REQUEST, offer.address, offer.server)
            assert (ack.kind, ack.address) == (ACK, SPEC.ip)
        finally:
            card.close()


async def test_moved_guest_renews_at_its_new_node(nodes, tmp_path):
    async with (
        opened(nodes[0], tmp_path / "n1") as (one, _),
        opened(nodes[1], tmp_path / "n2") as (two, _),
    ):
        with inside(nodes[0]):
            await one.attach("source", SPEC)
            card = Card(tap_name("source"), SPEC.mac)
        (before,) = card.ask(REQUEST, SPEC.ip)
        card.close()
        with inside(nodes[0]):
            await one.detach("source")
        with inside(nodes[1]):
            await two.attach("target", SPEC)
            card = Card(tap_name("target"), SPEC.mac)
        try:
            (after,) = card.ask(REQUEST, SPEC.ip)
        finally:
            card.close()
    assert before == after  # same address, same server, same MAC of the server


async def test_unknown_mac_gets_no_answer(nodes, tmp_path):
    async with opened(nodes[0], tmp_path / "n1") as (network, _):
        with inside(nodes[0]):
            await network.attach("copy", SPEC)
            card = Card(tap_name("copy"), "52:54:00:00:00:99")
        try:
            assert card.ask(DISCOVER, tries=4) == []
        finally:
            card.close()


async def test_address_of_a_dropped_guest_is_free_at_once(nodes, tmp_path):
    """dnsmasq keeps a lease for ten minutes; the next VM with this address must not wait for that."""
    async with opened(nodes[0], tmp_path / "n1") as (network, _):
        with inside(nodes[0]):
            await network.attach("old", SPEC)
            card = Card(tap_name("old"), SPEC.mac)
            assert card.ask(REQUEST, SPEC.ip)
            card.close()
            await network.detach("old")
            heir = MachineSpec(**{**vars(SPEC), "mac": "52:54:00:00:00:0b"})
            await network.attach("new", heir)
            card = Card(tap_name("new"), heir.mac)
        try:
            (offer,) = card.ask(DISCOVER)
        finally:
            card.close()
    assert offer.address == SPEC.ip


async def test_dnsmasq_is_adopted_by_the_next_agent(nodes, tmp_path):
    async with opened(nodes[0], tmp_path / "n1") as (_, first):
        second = dhcp(tmp_path / "n1")
        with inside(nodes[0]):
            await second.open()
        assert second.pid == first.pid


async def test_dnsmasq_is_started_again(nodes, tmp_path):
    async with opened(nodes[0], tmp_path / "n1") as (network, server), TaskScope("test") as scope:
        with inside(nodes[0]):
            scope.guard(network.keep(), "keep")
            killed = server.pid
            clock = RealClock()
            await clock.sleep(0.05)
            os.kill(killed, signal.SIGKILL)
            for _ in range(200):
                await clock.sleep(0.05)
                if server.pid not in (0, killed):
                    break
            assert server.pid not in (0, killed)
