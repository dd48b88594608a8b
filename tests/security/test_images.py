"""Where a tenant's image URL leads, and what its content may lead QEMU to: lines ``user.host``, ``user.image``."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from drover.controllers.images import guard as guards
from drover.controllers.images.fetch import FetchError, Source, UrlFetcher
from drover.controllers.images.guard import Closed, Guard, GuardedResolver
from drover.controllers.storage import BadImage, FileStorage

API_SERVER = "192.0.2.6"
GUARD = Guard([API_SERVER], ["10.67.10.0/24"])

# Loopback and this host in the spellings that libc and URLs know, link-local, metadata, wrapped, no host at all.
HOST = (
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.255.255.254",
    "localhost", "LOCALHOST", "localhost.", "0.0.0.0", "0",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]", "[0:0:0:0:0:0:0:1]",
    "169.254.169.254", "0xa9fea9fe", "[::ffff:169.254.169.254]", "[fe80::1]", "[64:ff9b::a9fe:a9fe]",
    "224.0.0.1", "255.255.255.255", "240.0.0.1", "[ff02::1]",
    "192.0.2.6", "[::ffff:192.0.2.6]", "10.67.10.1", "[::ffff:10.67.10.11]",
)  # fmt: skip


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, list[str]]]:
    """A service of this host, and what it was asked for."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        target = request.query.get("to")
        if target:
            return web.Response(status=302, headers={"Location": target})
        return web.Response(body=b"the secrets of this host")

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    running = TestServer(app)
    await running.start_server()
    yield str(running.make_url("")).rstrip("/"), asked
    await running.close()


async def fetch(url: str, target: Path, trusted: bool = False, guard: Guard = GUARD) -> str:
    """What is said to it."""
    source = Source(url, {}, trusted)
    with pytest.raises(FetchError) as refusal:
        await UrlFetcher(guard=guard).fetch(source, target, lambda done, total: None)
    assert not target.exists() or not target.read_bytes()
    return str(refusal.value)


@pytest.mark.parametrize("host", HOST)
async def test_user_host(server: tuple[str, list[str]], tmp_path: Path, host: str) -> None:
    url, asked = server
    port = url.rpartition(":")[2]
    for scheme in ("http", "https", "HTTP"):
        assert "is not fetched" in await fetch(f"{scheme}://{host}:{port}/x", tmp_path / "t")
    assert asked == []


async def test_a_redirect_leads_nowhere_else(server: tuple[str, list[str]], tmp_path: Path) -> None:
    """The first hop is an administrator's and may be this host; where it leads to is not his."""
    url, asked = server
    for target in (
        f"{url}/second",
        "http://169.254.169.254/latest",
        "//127.1:80/x",
        "http://[::1]/",
    ):
        asked.clear()
        said = await fetch(f"{url}/first?to={target}", tmp_path / "t", trusted=True)
        assert "is not fetched" in said
        assert asked == ["/first"]
    for target in ("file:///etc/shadow", "gopher://x/", "ftp://x/y"):
        said = await fetch(f"{url}/first?to={target}", tmp_path / "t", trusted=True)
        assert "only http and https" in said


async def test_a_name_that_changes_its_meaning_gains_nothing(
    server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged as an outside address, connected to as loopback: the connection is judged again."""
    url, asked = server
    port = url.rpartition(":")[2]

    async def resolved(host: str) -> list[str]:
        return ["198.51.100.7"] if host == "localhost" else []

    monkeypatch.setattr(guards, "_addresses", resolved)  # a name server is not ours to run
    said = await fetch(f"http://localhost:{port}/x", tmp_path / "t")
    assert "cannot fetch" in said
    assert asked == []
    with pytest.raises(OSError, match="this host itself"):
        await GuardedResolver(GUARD).resolve("localhost", 80, socket.AF_INET)


async def test_outside_hosts_and_private_networks_are_open() -> None:
    for host in (
        "198.51.100.7",
        "10.1.2.3",
        "192.168.7.7",
        "[2001:db8::1]",
        "no.such.host.invalid",
    ):
        await GUARD.check(host.strip("[]"))


async def test_each_address_of_this_machine_is_closed() -> None:
    """Not only loopback: a veth, a bridge, the office network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.7", 9))  # sends nothing; tells the own address
        except OSError:
            pytest.skip("this machine has no route")
        own = str(probe.getsockname()[0])
    with pytest.raises(Closed, match="this host itself"):
        await Guard().check(own)


async def test_user_image(tmp_path: Path) -> None:
    """A guest would read the file that its image names."""
    secret = tmp_path / "secret.raw"
    secret.write_bytes(b"\0" * (1 << 20))
    backed, outside = tmp_path / "backed", tmp_path / "outside"
    await qemu_img("create", "-q", "-f", "qcow2", "-b", str(secret), "-F", "raw", str(backed))
    data = f"data_file={tmp_path}/data,data_file_raw=on"
    await qemu_img("create", "-q", "-f", "qcow2", "-o", data, str(outside), "1M")
    storage = FileStorage(tmp_path, tmp_path)
    (tmp_path / "vmdk").write_text(f'# Disk DescriptorFile\nRW 2048 FLAT "{secret}" 0\n')
    (tmp_path / "json").write_text(json.dumps({"driver": "file", "filename": str(secret)}))
    for name in ("backed", "outside", "vmdk", "json"):
        with pytest.raises(BadImage):
            await storage.import_image("u", tmp_path / name, lambda percent: None)
    assert not (tmp_path / "u.qcow2").exists()


async def qemu_img(*argv: str) -> None:
    child = await asyncio.create_subprocess_exec("qemu-img", *argv)
    assert await child.wait() == 0


async def test_secrets_messages(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, _ = server
    port = url.rpartition(":")[2]
    for text, trusted in (
        (f"http://bob:hunter2@127.0.0.1:{port}/a?sig=5ec12e7", False),
        (f"http://bob:hunter2@127.0.0.1:{port}/a?to=http://bob:hunter2@[::1]/b?sig=5ec12e7", True),
        ("http://bob:hunter2@no.such.host.invalid/a?sig=5ec12e7", True),
        ("http://bob:hunter2@127.0.0.1:99999999/a?sig=5ec12e7", True),
        ("http://bob:hunter2@127.0.0.1:1/a?sig=5ec12e7#5ec12e7", True),
    ):
        said = await fetch(text, tmp_path / "t", trusted)
        assert "hunter2" not in said, said
        assert "5ec12e7" not in said, said
        assert "/a" in said or "/b" in said, said
