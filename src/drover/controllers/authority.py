"""Certificate authorities that live in the cluster: a Secret of ``drover-system`` each, shared by all our processes.

Whoever is first makes it; the others meet AlreadyExists and read what is there, so two processes never sign with two
keys. Nobody else writes there. An administrator may put another one in its place: it is read at the next start.

It does not renew the authority of migration streams, whose certificate the hosts hold too; it lasts ten years.
"""

from __future__ import annotations

import base64
import binascii
import datetime

from drover.api import names, scheme
from drover.api.status import AlreadyExists, Conflict, NotFound, Unanswered
from drover.api.wire import Object
from drover.base.clock import Clock
from drover.base.config_file import BadConfig
from drover.runtime import pki
from drover.runtime.client import Client

TYPE = "kubernetes.io/tls"
TRIES = 5
AWAY_S = 2.0  # between two questions to an API that does not answer


async def kept(client: Client, clock: Clock, name: str, *, renew: bool = False) -> pki.Authority:
    """The authority in the Secret ``name``; ``renew``: a new one before its end. Waits for an API that is away.

    Raises BadConfig for a Secret that holds none, ApiError.
    """
    while True:
        try:
            return await _kept(client, clock, name, renew)
        except Unanswered:
            await clock.sleep(AWAY_S)


async def _kept(client: Client, clock: Clock, name: str, renew: bool) -> pki.Authority:
    for _ in range(TRIES):
        now = datetime.datetime.fromtimestamp(clock.wall(), datetime.UTC)
        try:
            found: Object | None = await client.get(scheme.SECRET, name, names.SYSTEM_NAMESPACE)
        except NotFound:
            found = None
        if found is not None:
            authority = _read(found, name)
            if not renew or pki.lasts(authority, now):
                return authority
        made = pki.new_authority(f"drover {name}", now)
        try:
            await _write(client, name, made, found)
        except (AlreadyExists, Conflict, NotFound):
            continue  # another process of ours was faster
        return made
    raise BadConfig(f"Secret {name} of {names.SYSTEM_NAMESPACE} is changed all the time")


def _read(secret: Object, name: str) -> pki.Authority:
    data = secret.get("data") or {}
    try:
        return pki.read_authority(
            base64.b64decode(data["tls.crt"], validate=True),
            base64.b64decode(data["tls.key"], validate=True),
        )
    except (KeyError, ValueError, binascii.Error) as error:
        raise BadConfig(
            f"Secret {name} of {names.SYSTEM_NAMESPACE} holds no authority ({error}): put one there as tls.crt and "
            "tls.key (an elliptic key), or delete the Secret to have one made"
        ) from error


async def _write(client: Client, name: str, made: pki.Authority, over: Object | None) -> None:
    pair = {"tls.crt": pki.cert_pem(made.cert), "tls.key": pki.key_pem(made.key)}
    data = {key: base64.b64encode(pem).decode() for key, pem in pair.items()}
    space = names.SYSTEM_NAMESPACE
    if over is not None:
        await client.patch(scheme.SECRET, name, space, {"data": data}, version=over)
        return
    meta = {"name": name, "namespace": space}
    await client.create(scheme.SECRET, {"metadata": meta, "type": TYPE, "data": data})
