"""A clock that is off is named with how far and what to do."""

from __future__ import annotations

import pytest
from tests.runtime.raw_server import RawServer

from drover.runtime.server_clock import clock_fault, server_time

DATED = b"HTTP/1.1 401 X\r\nDate: Sun, 29 Nov 2026 18:00:00 GMT\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("off_s", "words"),
    [
        (0, ""),
        (59, ""),
        (-59, ""),
        (3600, "3600 s ahead of that of https://a"),
        (-3600, "3600 s behind"),
    ],
)
def test_a_minute_is_borne_and_an_hour_is_not(off_s: float, words: str) -> None:
    fault = clock_fault("https://a", 1e9, 1e9 + off_s)
    assert words in fault
    assert bool(fault) == bool(words)


async def test_the_time_of_any_answer_is_taken_and_of_none_is_none() -> None:
    async with RawServer(DATED, b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n") as server:
        assert await server_time(server.url) == 1795975200
        assert await server_time(server.url) is None
    assert await server_time("http://127.0.0.1:1") is None
