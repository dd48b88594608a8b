"""The admission webhook: rules that look at other objects, which CEL cannot say. Also pages to read: the metrics.

One HTTPS server in the controllers' process; each rule gives a refusal, a caution or nothing for a review's request,
when it likes: reviews of evictions are held for a while. It reads the controllers' caches, so it may lag behind: what a
rule keeps out is kept out or checked again elsewhere too, and a webhook that is away blocks nobody by itself
(failurePolicy Ignore).

Whoever asks for a review makes things happen: that of an eviction marks the Pod. So where the API server has a
certificate for it (``client_ca_file``), reviews are given to that certificate alone. Without one, as in a cluster whose
API server is not ours, a network policy has to keep others away from the port. Pages are for everybody.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from drover.controllers.config import WEBHOOK_CLIENT
from drover.runtime.tls import peer_name

BODY_MOST_BYTES = 3 * 1024 * 1024
SHUTDOWN_S = 1.0
PIECE_BYTES = 256 * 1024  # of a page that is unpacked for somebody who takes it no other way


@dataclass(frozen=True)
class Refusal:
    """Why a request is denied, and the HTTP status that the caller sees."""

    message: str
    code: int = 403
    reason: str = "Forbidden"


@dataclass(frozen=True)
class Caution:
    """The request is allowed, and the caller told this."""

    message: str


Rule = Callable[[Mapping[str, Any]], Awaitable[Refusal | Caution | None]]


@dataclass(frozen=True)
class Page:
    """What a GET gives to everybody who reaches the port; None: nothing yet (503)."""

    text: Callable[[], Awaitable[bytes | None]]
    content_type: str
    packed: bool = False  # it comes by gzip, which most clients take as it is


@dataclass(frozen=True)
class WebhookSettings:
    address: str
    port: int
    cert_file: str
    key_file: str
    client_ca_file: str = ""


class WebhookServer:
    """Serves ``rules`` and ``pages`` by path, for example ``/vmop`` and ``/metrics``.

    ``reload`` takes a renewed certificate for connections that begin from then on.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        rules: Mapping[str, Rule],
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._pages = pages or {}
        self._tls: ssl.SSLContext | None = None

    def reload(self) -> None:
        """Read certificate and key again."""
        if self._tls is not None:
            self._tls.load_cert_chain(self._settings.cert_file, self._settings.key_file)

    async def run(self) -> None:
        """Serve for ever."""
        app = web.Application(client_max_size=BODY_MOST_BYTES)
        for path, rule in self._rules.items():
            app.router.add_post(path, _handler(rule, bool(self._settings.client_ca_file)))
        for path, page in self._pages.items():
            app.router.add_get(path, _reader(page))
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._tls = context
            self.reload()
            if self._settings.client_ca_file:
                context.load_verify_locations(self._settings.client_ca_file)
                context.verify_mode = ssl.CERT_OPTIONAL  # pages are read without
            address, port = self._settings.address, self._settings.port
            await web.TCPSite(runner, address, port, ssl_context=context).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def _handler(rule: Rule, only_the_api_server: bool) -> Callable[[web.Request], Any]:
    async def handle(request: web.Request) -> web.Response:
        if only_the_api_server and peer_name(request) != WEBHOOK_CLIENT:
            raise web.HTTPForbidden(text=f"only {WEBHOOK_CLIENT} may ask for reviews")
        review = await request.json()
        return web.json_response(answer(review, await rule(review["request"])))

    return handle


def _reader(page: Page) -> Callable[[web.Request], Any]:
    async def read(request: web.Request) -> web.StreamResponse:
        text = await page.text()
        if text is None:
            raise web.HTTPServiceUnavailable()
        headers = {"Content-Type": page.content_type}
        if page.packed and "gzip" not in request.headers.get("Accept-Encoding", ""):
            return await _unpacked(request, text, headers)
        if page.packed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=text, headers=headers)

    return read


async def _unpacked(
    request: web.Request, packed: bytes, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Piece by piece: the whole may be twenty times as large."""
    answer = web.StreamResponse(headers=headers)
    await answer.prepare(request)
    unpacker = zlib.decompressobj(wbits=31)
    while piece := unpacker.decompress(packed, PIECE_BYTES):
        await answer.write(piece)
        packed = unpacker.unconsumed_tail
    await answer.write_eof()
    return answer


def answer(review: Mapping[str, Any], said: Refusal | Caution | None) -> dict[str, Any]:
    """The AdmissionReview to send back."""
    request = review["request"]
    response: dict[str, Any] = {"uid": request["uid"], "allowed": not isinstance(said, Refusal)}
    if isinstance(said, Caution):
        response["warnings"] = [said.message]
    if isinstance(said, Refusal):
        response["status"] = {
            "status": "Failure",
            "code": said.code,
            "reason": said.reason,
            "message": said.message,
        }
    return {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
