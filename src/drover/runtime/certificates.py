"""Getting a certificate from the cluster: make the request, wait for the answer. Kubernetes removes old requests."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from drover.api import scheme
from drover.api.status import AlreadyExists
from drover.api.wire import Object
from drover.base.clock import Clock
from drover.runtime.client import Client

POLL_S = 0.2
MOST_ATTEMPTS = 20


class Refused(Exception):
    """The request was denied, or not answered in time; ``str()`` is the cluster's word and the way out."""


@dataclass(frozen=True)
class Request:
    """``name`` is the same whenever the same host asks with the same key: asking again finds the former answer."""

    name: str
    signer: str
    pem: bytes
    usages: tuple[str, ...]


async def obtain(client: Client, clock: Clock, request: Request, limit_s: float) -> bytes:
    """The certificate, PEM. Raises Refused, ApiError, Unanswered."""
    name = await _ask(client, request)
    deadline = clock.monotonic() + limit_s
    while clock.monotonic() < deadline:
        found = await client.get(scheme.CSR, name)
        why = _denied(found)
        if why:
            raise Refused(why)
        certificate = (found.get("status") or {}).get("certificate")
        if certificate:
            return base64.b64decode(certificate)
        await clock.sleep(POLL_S)
    raise Refused(
        f"nobody answered the request {name} within {limit_s:.0f} s: do drover's controllers run, and "
        "does their configuration name migration_ca_cert_file?"
    )


async def _ask(client: Client, request: Request) -> str:
    """The name under which the request is there. A denied one stays for an hour: what it was denied for may be mended
    by now, so that one is asked again under another name."""
    spec = {
        "request": base64.b64encode(request.pem).decode(),
        "signerName": request.signer,
        "usages": list(request.usages),
    }
    for attempt in range(MOST_ATTEMPTS):
        name = f"{request.name}-{attempt}"
        try:
            await client.create(scheme.CSR, {"metadata": {"name": name}, "spec": spec})
            return name
        except AlreadyExists:
            if not _denied(await client.get(scheme.CSR, name)):
                return name
    raise Refused(f"{MOST_ATTEMPTS} requests were denied within an hour; the last was {name}")


def _denied(request: Object) -> str:
    """Why it was; empty: it was not."""
    for condition in (request.get("status") or {}).get("conditions") or []:
        if condition["type"] in ("Denied", "Failed"):
            return str(condition.get("message") or condition["type"])
    return ""
