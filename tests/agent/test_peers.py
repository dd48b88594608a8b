"""Who asks for a voucher is told by its certificate, and only certificates of nodes count. Real TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drover.agent.peers import HttpPeers, PeerServer, PeerSettings
from drover.api.kinds.nodefence import Member
from drover.base.tasks import TaskScope
from drover.runtime.pki import Authority, Leaf, ensure_authority, ensure_leaf

NOW = datetime.datetime.now(datetime.UTC)
LIMIT_S = 5.0


def papers(directory: Path, authority: Authority, ca: Path, node: str) -> Path:
    """The files of one node, as the lab lays them."""
    mine = directory / f"{ca.stem}-{node}"
    for side in ("server", "client"):
        cert, key = mine / f"{side}-cert.pem", mine / f"{side}-key.pem"
        names, server = (node, "127.0.0.1"), side == "server"
        leaf = Leaf(cert, key, node, names=names, server=server, client=not server)
        ensure_leaf(authority, leaf, NOW)
    (mine / "ca-cert.pem").write_bytes(ca.read_bytes())
    return mine


@contextlib.asynccontextmanager
async def served(pki: Path, asked: list[str], gives: bool = True) -> AsyncIterator[Member]:
    """A node's server; who asked is noted."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def decide(node: str) -> bool:
        asked.append(node)
        return gives

    async with TaskScope("peers") as scope:
        scope.spawn(PeerServer(PeerSettings("127.0.0.1", port, pki), decide).run(), "serve")
        for _ in range(100):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.02)
        yield Member("n1", "127.0.0.1", port)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of n1 and n2; ``stranger`` calls itself n2 by another authority."""
    directory = tmp_path_factory.mktemp("pki")
    ours, other = (ensure_authority(directory, name, NOW) for name in ("ours", "other"))
    found = {n: papers(directory, ours, directory / "ours.crt", n) for n in ("n1", "n2")}
    stranger = papers(directory, other, directory / "other.crt", "n2")
    (stranger / "ca-cert.pem").write_bytes((directory / "ours.crt").read_bytes())
    return {**found, "stranger": stranger}


async def test_a_node_is_known_by_its_certificate(nodes: dict[str, Path]) -> None:
    asked: list[str] = []
    async with served(nodes["n1"], asked) as n1, HttpPeers(nodes["n2"]) as n2:
        assert await n2.ask(n1, "nonce", LIMIT_S)
    assert asked == ["n2"]


async def test_a_refusal_is_no_voucher(nodes: dict[str, Path]) -> None:
    asked: list[str] = []
    async with served(nodes["n1"], asked, gives=False) as n1, HttpPeers(nodes["n2"]) as n2:
        assert not await n2.ask(n1, "nonce", LIMIT_S)
    assert asked == ["n2"]


async def test_who_has_no_certificate_of_a_node_is_not_heard(nodes: dict[str, Path]) -> None:
    asked: list[str] = []
    async with served(nodes["n1"], asked) as n1, HttpPeers(nodes["stranger"]) as stranger:
        assert not await stranger.ask(n1, "nonce", LIMIT_S)
    assert asked == []


async def test_a_node_in_anothers_place_gives_no_voucher(nodes: dict[str, Path]) -> None:
    """The server must be the node that the roster names."""
    asked: list[str] = []
    async with served(nodes["n2"], asked) as n2, HttpPeers(nodes["n2"]) as client:
        assert not await client.ask(Member("n1", n2.address, n2.port), "nonce", LIMIT_S)
    assert asked == []
