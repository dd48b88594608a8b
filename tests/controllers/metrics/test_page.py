"""The page of metrics: packed for those who take it so, and the same in plain for all others."""

from __future__ import annotations

import gzip
from pathlib import Path

import aiohttp
import pytest
from tests.security.test_webhook import Pki, free_port, listening

from drover.base.tasks import TaskScope
from drover.controllers.webhook import PIECE_BYTES, Page, WebhookServer, WebhookSettings

TEXT = b"".join(b'drover_vm{name="a-%d"} 1.0\n' % number for number in range(40_000))


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip", "gzip"), ("identity", None)])
async def test_the_same_text_packed_and_plain(
    tmp_path: Path, accepted: str, encoding: str | None
) -> None:
    assert len(TEXT) > 3 * PIECE_BYTES
    pki, port = Pki(tmp_path), free_port()
    cert, key = pki.leaf("server", "server", names=("127.0.0.1",), server=True)

    async def packed() -> bytes:
        return gzip.compress(TEXT)

    pages = {"/metrics": Page(packed, "text/plain", packed=True)}
    settings = WebhookSettings("127.0.0.1", port, cert, key, str(pki.ca))
    async with TaskScope("webhook") as scope:
        task = scope.spawn(WebhookServer(settings, {}, pages).run(), "webhook")
        await listening(port)
        url, tls = f"https://127.0.0.1:{port}/metrics", pki.client("", "ca")
        async with (
            aiohttp.ClientSession(headers={"Accept-Encoding": accepted}) as session,
            session.get(url, ssl=tls) as answer,
        ):
            assert answer.headers.get("Content-Encoding") == encoding
            assert await answer.read() == TEXT
        task.cancel()
