"""One of several equal servers is asked, until it gives no answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from tests.runtime.raw_server import HANG, RawServer, answer

from drover.api.status import ServerError, Unanswered
from drover.api.wire import Request
from drover.runtime.http_transport import HttpTransport

OK = answer(200, {})


@pytest.fixture
def dead() -> Iterator[str]:
    """A server that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


@asynccontextmanager
async def asking(server: str, *more: str) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(server, more=more)
    try:
        yield transport
    finally:
        await transport.aclose()


async def test_a_write_that_was_never_sent_goes_to_the_next_one_and_stays_there(dead: str) -> None:
    async with RawServer(OK, OK) as living, asking(dead, living.url) as http:
        for _ in range(2):
            assert (await http.send(Request("PUT", "/x", body={}))).status == 200
        assert len(living.requests) == 2


async def test_none_answers_and_nothing_was_sent(dead: str) -> None:
    async with asking(dead, dead) as http:
        with pytest.raises(Unanswered) as caught:
            await http.send(Request("PUT", "/x", body={}))
    assert caught.value.sent is False


@pytest.mark.parametrize("silence", [HANG, b""])
async def test_a_write_that_may_have_landed_is_not_repeated_elsewhere(silence: bytes) -> None:
    async with (
        RawServer(silence) as first,
        RawServer(OK) as second,
        asking(first.url, second.url) as http,
    ):
        with pytest.raises(Unanswered) as caught:
            await http.send(Request("PUT", "/x", body={}, timeout_s=0.3))
        assert (caught.value.sent, second.requests) == (True, [])
        assert (await http.send(Request("GET", "/x"))).status == 200
        assert len(second.requests) == 1


async def test_a_caller_that_waits_no_longer_has_had_no_answer_either() -> None:
    async with (
        RawServer(HANG) as first,
        RawServer(OK) as second,
        asking(first.url, second.url) as http,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await http.send(Request("GET", "/x"))
        assert (await http.send(Request("GET", "/x"))).status == 200


async def test_a_server_that_fails_is_left_and_its_answer_is_given() -> None:
    async with (
        RawServer(answer(503, {}), OK) as first,
        RawServer(answer(500, {})) as second,
        asking(first.url, second.url) as http,
    ):
        assert (await http.send(Request("GET", "/x"))).status == 503
        with pytest.raises(ServerError):
            async with http.stream(Request("GET", "/x")):
                pass
        assert (await http.send(Request("GET", "/x"))).status == 200


async def test_requests_that_fail_together_leave_their_server_once() -> None:
    async with (
        RawServer(HANG, HANG) as first,
        RawServer(OK) as second,
        asking(first.url, second.url) as http,
    ):

        async def fails() -> None:
            with pytest.raises(Unanswered):
                await http.send(Request("PUT", "/x", body={}, timeout_s=0.2))

        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(fails())
        assert (await http.send(Request("GET", "/x"))).status == 200
        assert len(second.requests) == 1


async def test_other_servers_are_named_and_one_that_is_no_longer_is_left(dead: str) -> None:
    async with RawServer(OK, OK) as living, asking(dead) as http:
        http.use([living.url, dead])
        assert (await http.send(Request("GET", "/x"))).status == 200
        http.use([dead, living.url])  # the one that answers goes on to be asked
        assert (await http.send(Request("GET", "/x"))).status == 200
