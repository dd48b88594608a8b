"""Who is at the other end of a TLS connection, by its certificate."""

from __future__ import annotations

from aiohttp import web


def peer_name(request: web.Request) -> str:
    """The common name of the client's certificate, which was verified; empty without one, or with several names."""
    transport = request.transport
    cert = transport.get_extra_info("peercert") if transport is not None else None
    subject = (cert or {}).get("subject", ())
    found = [str(value) for part in subject for key, value in part if key == "commonName"]
    return found[0] if len(found) == 1 else ""
