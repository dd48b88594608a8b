"""The fetcher against a real server on loopback and real files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Collection, Iterable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from drover.controllers.images.fetch import FetchError, Source, UrlFetcher
from drover.controllers.images.guard import Guard

BODY = b"disk" * 100_000


class Open(Guard):
    """These tests fetch from loopback; ``tests/security`` has those of the guard."""

    def check_addresses(self, found: Iterable[str], cluster: Collection[str]) -> None:
        pass


@pytest.fixture
async def url(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)

    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(BODY))})
        await response.prepare(request)
        await response.write(BODY[:1000])
        assert request.transport is not None
        request.transport.close()
        return response

    async def image(request: web.Request) -> web.Response:
        return web.Response(body=BODY)

    async def busy(request: web.Request) -> web.Response:
        return web.Response(status=503)

    async def loop(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/loop"})

    app = web.Application()
    app.router.add_get("/image", image)
    app.router.add_get("/busy", busy)
    app.router.add_get("/loop", loop)
    app.router.add_get("/broken", broken)
    server = TestServer(app)
    await server.start_server()
    yield str(server.make_url("")).rstrip("/")
    await server.close()


async def fetch(
    url: str, target: Path, checksums: dict[str, str] | None = None
) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    fetcher = UrlFetcher(closed=(target.parent / "disks",), most_bytes=len(BODY), guard=Open())
    await fetcher.fetch(
        Source(url, checksums or {}),
        target,
        lambda done, total: seen.append((done, total)),
    )
    return seen


async def test_content_checksums_and_progress(url: str, tmp_path: Path) -> None:
    sums = {
        "sha256": hashlib.sha256(BODY).hexdigest().upper(),
        "md5": hashlib.md5(BODY).hexdigest(),
    }
    seen = await fetch(f"{url}/image", tmp_path / "t", sums)
    assert (tmp_path / "t").read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))


@pytest.mark.parametrize(
    ("path", "word", "again"),
    [
        ("/missing", "404", False),
        ("/busy", "503", True),
        ("/loop", "cannot fetch", True),
        ("/broken", "cannot fetch", True),
    ],
)
async def test_bad_answers(url: str, tmp_path: Path, path: str, word: str, again: bool) -> None:
    with pytest.raises(FetchError, match=word) as caught:
        await fetch(url + path, tmp_path / "t")
    assert caught.value.again is again


async def test_a_bad_checksum(url: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="expected 00") as caught:
        await fetch(f"{url}/image", tmp_path / "t", {"sha256": "00" * 32})
    assert not caught.value.again


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FetchError) as caught:
        await fetch("http://127.0.0.1:9/image", tmp_path / "t")
    assert caught.value.again


async def test_too_large(url: str, tmp_path: Path) -> None:
    fetcher = UrlFetcher(most_bytes=1000, guard=Open())
    with pytest.raises(FetchError, match="more than the 1000"):
        await fetcher.fetch(Source(f"{url}/image", {}), tmp_path / "t", lambda done, total: None)


async def test_files_but_no_devices_links_out_or_disks_of_others(tmp_path: Path) -> None:
    (tmp_path / "disks").mkdir()
    (tmp_path / "disks" / "d").write_bytes(b"secret")
    (tmp_path / "image").write_bytes(BODY)
    (tmp_path / "link").symlink_to(tmp_path / "disks" / "d")
    os.mkfifo(tmp_path / "disks" / "fifo")
    await fetch(f"file://{tmp_path}/image", tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == BODY
    for name, word in (
        ("disks/d", "own files"),
        ("link", "own files"),
        ("none", "No such file"),
        ("disks", "own files"),
    ):
        with pytest.raises(FetchError, match=word):
            await fetch(f"file://{tmp_path}/{name}", tmp_path / "t")
    with pytest.raises(FetchError, match="no regular file"):
        await fetch("file:///dev/null", tmp_path / "t")
    with pytest.raises(FetchError, match="another host"):
        await fetch("file://server/image", tmp_path / "t")
