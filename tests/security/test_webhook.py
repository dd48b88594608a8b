"""Whoever is not the API server gets no review: a forged one would mark a VM's Pod for eviction."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from drover.agent.kubelet.server import KubeletServer, KubeletSettings
from drover.base.clock import RealClock
from drover.base.tasks import TaskScope
from drover.controllers.config import WEBHOOK_CLIENT
from drover.controllers.webhook import Page, Refusal, WebhookServer, WebhookSettings
from drover.runtime.pki import Leaf, ensure_authority, ensure_leaf

REVIEW = {"apiVersion": "admission.k8s.io/v1", "request": {"uid": "u", "name": "d8v-vm-x"}}
NODE = "system:node:node-b"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


class Pki:
    """Two authorities: the cluster's, and one that somebody made for himself."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._now = datetime.datetime.now(datetime.UTC)
        self.ca = directory / "ca.crt"
        self.leaf("server", "server", names=("127.0.0.1",), server=True)

    def leaf(self, file: str, name: str, ca: str = "ca", **more: Any) -> tuple[str, str]:
        authority = ensure_authority(self._directory, ca, self._now)
        cert, key = self._directory / f"{file}.crt", self._directory / f"{file}.key"
        ensure_leaf(authority, Leaf(cert, key, name, **more), self._now)
        return str(cert), str(key)

    def client(self, name: str = "", ca: str = "ca") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        if name:
            file = f"{ca}-{name}".replace(":", "-")
            context.load_cert_chain(*self.leaf(file, name, ca, client=True))
        return context


async def ask(pki: Pki, method: str, url: str, name: str = "", ca: str = "ca") -> int:
    """The HTTP status; 0: the connection was not taken."""
    port = int(url.split(":")[2].split("/")[0])
    async with asyncio.timeout(10):
        await listening(port)
    tls = pki.client(name, ca)
    async with aiohttp.ClientSession() as session:
        try:
            async with session.request(method, url, json=REVIEW, ssl=tls) as answer:
                return answer.status
        except (aiohttp.ClientError, OSError):
            return 0


async def listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[tuple[Pki, str, list[str]]]:
    pki, port, asked = Pki(tmp_path), free_port(), []

    async def rule(request: Any) -> Refusal | None:
        asked.append(str(request["name"]))
        return None

    async def text() -> bytes:
        return b"x 1\n"

    cert, key = pki.leaf("server", "server", names=("127.0.0.1",), server=True)
    settings = WebhookSettings("127.0.0.1", port, cert, key, str(pki.ca))
    pages = {"/metrics": Page(text, "text/plain")}
    async with TaskScope("webhook") as scope:
        task = scope.spawn(WebhookServer(settings, {"/evict": rule}, pages).run(), "webhook")
        yield pki, f"https://127.0.0.1:{port}", asked
        task.cancel()


async def test_anybody_review(webhook: tuple[Pki, str, list[str]]) -> None:
    pki, url, asked = webhook
    assert await ask(pki, "GET", f"{url}/metrics") == 200
    assert await ask(pki, "POST", f"{url}/evict") == 403  # a guest
    assert await ask(pki, "POST", f"{url}/evict", NODE) == 403
    assert await ask(pki, "POST", f"{url}/evict", WEBHOOK_CLIENT, ca="other") == 0
    assert asked == []
    assert await ask(pki, "POST", f"{url}/evict", WEBHOOK_CLIENT) == 200
    assert asked == ["d8v-vm-x"]


async def test_anybody_kubelet(tmp_path: Path) -> None:
    pki, port = Pki(tmp_path), free_port()
    cert, key = pki.leaf("server", "server", names=("127.0.0.1",), server=True)
    settings = KubeletSettings("127.0.0.1", port, cert, key, str(pki.ca))
    url = f"https://127.0.0.1:{port}/containerLogs/default/d8v-vm-x/compute"
    async with TaskScope("kubelet") as scope:
        server = KubeletServer(settings, lambda namespace, pod: None, RealClock(), scope)
        task = scope.spawn(server.run(), "kubelet")
        assert await ask(pki, "GET", url, "kube-apiserver-kubelet-client") == 404  # no such Pod
        assert await ask(pki, "GET", url) == 0
        assert await ask(pki, "GET", url, NODE) == 403
        assert await ask(pki, "GET", url, "kube-apiserver-kubelet-client", ca="other") == 0
        task.cancel()
