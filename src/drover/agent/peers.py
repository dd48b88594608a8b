"""Nodes vouch for each other over mutual TLS: a small HTTPS server, and its client. Used while the API is away.

Who asks is told by the certificate alone (its common name), so that nobody can ask for another. The certificates are
those of migration streams: only nodes have them. A voucher says nothing but the nonce it answers.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from drover.api.kinds.nodefence import Member
from drover.runtime.tls import peer_name

PATH = "/voucher"
MOST_BYTES = 4096
_SHUTDOWN_S = 0.5


@dataclass(frozen=True)
class PeerSettings:
    address: str
    port: int
    pki: Path  # ca-cert.pem, {server,client}-{cert,key}.pem


def _context(purpose: ssl.Purpose, pki: Path, side: str) -> ssl.SSLContext:
    context = ssl.create_default_context(purpose, cafile=str(pki / "ca-cert.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(str(pki / f"{side}-cert.pem"), str(pki / f"{side}-key.pem"))
    return context


class PeerServer:
    """``asked`` decides for a node name, and has noted what it gives before it says True."""

    def __init__(self, settings: PeerSettings, asked: Callable[[str], bool]) -> None:
        self._settings = settings
        self._asked = asked

    async def run(self) -> None:
        """Serve for ever."""
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_post(PATH, self._answer)
        runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            settings = self._settings
            tls = _context(ssl.Purpose.CLIENT_AUTH, settings.pki, "server")
            await web.TCPSite(runner, settings.address, settings.port, ssl_context=tls).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        node = peer_name(request)
        nonce = await request.text()
        if not node or not nonce or len(nonce) > MOST_BYTES:
            raise web.HTTPForbidden(text="only a node may ask, and with a nonce")
        if not self._asked(node):
            raise web.HTTPConflict(text=f"no voucher for {node} now")
        return web.Response(text=nonce)


class HttpPeers:
    """The other nodes. Use as an async context manager."""

    def __init__(self, pki: Path) -> None:
        self._pki = pki
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> HttpPeers:
        tls = _context(ssl.Purpose.SERVER_AUTH, self._pki, "client")
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, member: Member, nonce: str, limit_s: float) -> bool:
        """See ``rounds.Peers``."""
        assert self._session is not None
        url = f"https://{member.address}:{member.port}{PATH}"
        try:
            async with asyncio.timeout(limit_s):
                async with self._session.post(
                    url, data=nonce, server_hostname=member.node
                ) as answer:
                    said = (await answer.content.read(MOST_BYTES)).decode(errors="replace")
                    return answer.status == 200 and said == nonce
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False


class NoPeers:
    """Nobody to ask."""

    async def ask(self, member: Member, nonce: str, limit_s: float) -> bool:
        return False
