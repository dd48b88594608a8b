"""What the HTTPS transport says about answers, and above all about their absence."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.runtime.raw_server import HANG, RawServer, answer, chunked

from drover.api.status import Gone, Unanswered
from drover.api.wire import MERGE_PATCH, Request
from drover.base.clock import RealClock
from drover.runtime import http_transport
from drover.runtime.http_transport import HttpTransport
from drover.runtime.kubeconfig import from_files
from drover.runtime.pki import Leaf, ensure_authority, ensure_leaf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def served(*answers: bytes) -> AsyncIterator[tuple[RawServer, HttpTransport]]:
    async with RawServer(*answers) as server:
        transport = HttpTransport(server.url)
        try:
            yield server, transport
        finally:
            await transport.aclose()


async def watch(http: HttpTransport, seen: list[Any]) -> None:
    async with http.stream(Request("GET", "/x")) as events:
        async for event in events:
            seen.append(event)


async def test_sends_what_was_asked_and_decodes_the_answer() -> None:
    async with served(answer(200, {"a": [1]}), answer(409, {"reason": "Conflict"})) as (
        server,
        http,
    ):
        query = {"labelSelector": "a in (b,c),d=e/f"}
        got = await http.send(Request("PATCH", "/apis/x", query, {"b": "ü"}, MERGE_PATCH))
        assert (got.status, got.body) == (200, {"a": [1]})
        first, headers, body = server.requests[0]
        assert first.startswith("PATCH /apis/x?labelSelector=")
        assert headers["content-type"] == MERGE_PATCH
        assert json.loads(body) == {"b": "ü"}
        refused = await http.send(Request("DELETE", "/apis/x"))
        assert (refused.status, refused.body) == (409, {"reason": "Conflict"})


async def test_no_connection_means_never_sent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        http = HttpTransport(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(Unanswered) as caught:
            await http.send(Request("PUT", "/x", body={}))
        await http.aclose()
    assert caught.value.sent is False


async def test_a_connection_that_does_not_come_about_in_time_means_never_sent() -> None:
    """The peer takes the connection but never shakes hands."""
    async with RawServer() as server:
        http = HttpTransport(server.url.replace("http:", "https:"))
        with pytest.raises(Unanswered) as caught:
            await http.send(Request("PUT", "/x", body={}, timeout_s=0.3))
        assert caught.value.sent is False
        await http.aclose()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PATCH"])
async def test_a_write_without_answer_may_have_landed_and_is_sent_only_once(method: str) -> None:
    """A fresh connection, and one that was kept: aiohttp itself would repeat PUT and DELETE."""
    async with served(b"", answer(200, {}), b"", answer(200, {})) as (server, http):
        for _ in range(2):
            with pytest.raises(Unanswered) as caught:
                await http.send(Request(method, "/x", body={}))
            assert caught.value.sent is True
            await http.send(Request("GET", "/x"))
        assert [first.split()[0] for first, _, _ in server.requests] == [method, "GET"] * 2


async def test_a_read_on_a_dead_connection_is_repeated_once() -> None:
    async with served(b"", answer(200, {"n": 2}), b"", b"", answer(200, {})) as (server, http):
        assert (await http.send(Request("GET", "/x"))).body == {"n": 2}
        with pytest.raises(Unanswered):
            await http.send(Request("GET", "/x"))
        assert len(server.requests) == 4


async def test_a_time_limit_leaves_the_outcome_open() -> None:
    async with served(HANG, chunked(b'{"half"', end=False)) as (_, http):
        for _ in range(2):
            with pytest.raises(Unanswered) as caught:
                await http.send(Request("PUT", "/x", body={}, timeout_s=0.4))
            assert caught.value.sent is True


async def test_a_body_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "MOST_BODY_BYTES", 100)
    async with served(answer(200, "x" * 200)) as (_, http):
        with pytest.raises(Unanswered, match="larger than 100"):
            await http.send(Request("GET", "/x"))


async def test_a_watch_decodes_lines_however_they_are_cut() -> None:
    lines = b'{"type":"ADDED","object":{"n":1}}\n{"type":"ADDED","object":{"n":2}}\n'
    cuts = (lines[:5], lines[5:40], lines[40:41], lines[41:])
    async with served(chunked(*cuts)) as (server, http):
        async with http.stream(Request("GET", "/x", {"watch": "true"})) as events:
            seen = [event["object"]["n"] async for event in events]
        assert seen == [1, 2]
        assert server.requests[0][0] == "GET /x?watch=true HTTP/1.1"


async def test_a_broken_watch_says_so_after_its_last_whole_event() -> None:
    async with served(chunked(b'{"type":"A"}\n{"ty', end=False)) as (_, http):
        seen: list[Any] = []
        with pytest.raises(Unanswered):
            await watch(http, seen)
        assert seen == [{"type": "A"}]


async def test_a_refused_watch_raises_the_kind_of_its_status() -> None:
    async with served(answer(410, {"reason": "Expired", "message": "old"})) as (_, http):
        with pytest.raises(Gone, match="old"):
            async with http.stream(Request("GET", "/x")):
                pass


async def test_a_watch_that_nobody_answers_ends_at_the_limit() -> None:
    async with served(HANG) as (_, http):
        with pytest.raises(Unanswered):
            async with http.stream(Request("GET", "/x", timeout_s=0.1)):
                pass


async def test_an_event_beyond_the_limit_breaks_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "MOST_EVENT_BYTES", 10)
    async with served(chunked(b'{"type":"ADDED"', end=False)) as (_, http):
        with pytest.raises(Unanswered, match="larger than 10"):
            await watch(http, [])


async def test_a_client_certificate_proves_who_we_are(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    ours = ensure_authority(tmp_path, "ours", now)
    ensure_authority(tmp_path, "foreign", now)
    cert, key = tmp_path / "n1.crt", tmp_path / "n1.key"
    ensure_leaf(ours, Leaf(cert, key, "n1", names=("127.0.0.1",), server=True, client=True), now)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    tls.load_verify_locations(tmp_path / "ours.crt")
    tls.verify_mode = ssl.CERT_REQUIRED
    async with RawServer(answer(200, {"ok": True}), tls=tls) as server:
        http = await from_files(server.url, tmp_path / "ours.crt", cert, key).transport(RealClock())
        assert (await http.send(Request("GET", "/x"))).body == {"ok": True}
        await http.aclose()
        stranger = from_files(server.url, tmp_path / "foreign.crt", cert, key)
        http = await stranger.transport(RealClock())
        with pytest.raises(Unanswered) as caught:
            await http.send(Request("PUT", "/x", body={}))
        assert caught.value.sent is False
        await http.aclose()
