"""What each start of a server has to do once its parts run; the supervisor repeats it until it has succeeded.

    1. a new server among others: from learner to member of etcd, when it has caught up
    2. kinds, policies and settings, when they are newer than those that are there
    3. the word that the controllers may begin, and that hosts may ask this server too, and none that a restore has left

All of it can be repeated, and several servers may be at it at once.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from drover.api import names, scheme
from drover.api.status import AlreadyExists
from drover.base.clock import Clock, RealClock
from drover.runtime import kubeconfig, process
from drover.runtime.client import Client
from drover.server import bootstrap, one_cluster
from drover.server.config import ServerConfig
from drover.server.errors import ControlPlaneError
from drover.server.etcd import Etcd
from drover.server.webhooks import ensure_webhooks

_API_LIMIT_S = 300.0
_PROMOTE_LIMIT_S = 300.0
_POLL_S = 0.5


async def serve(config: ServerConfig) -> None:
    """Raises ControlPlaneError, ApiError, Unanswered: to be tried again."""
    clock, plane = RealClock(), config.plane
    await promote(config, clock)
    transport = await kubeconfig.load(plane.kubeconfig).transport(clock)
    try:
        client = Client(transport)
        await bootstrap.wait_api(transport, clock, _API_LIMIT_S, lambda: None)
        plane.begun.touch()
        if await bootstrap.apply_manifests(client, clock):
            await bootstrap.ensure_module_config(client)
            await bootstrap.ensure_node_group(client)
        await ensure_webhooks(client, plane.controllers_file)
        await bootstrap.wait_service_account(client, clock, _API_LIMIT_S)
        plane.manifests_applied.touch()
        for name in one_cluster.left(config, Etcd(Path(config.engine), plane).seen().members):
            await announce(client, name, None)
        await announce(client, config.name, plane.api_server)
    finally:
        await transport.aclose()


async def promote(config: ServerConfig, clock: Clock) -> None:
    """Until this server is no learner. A learner answers no such question: then the others are asked, who may not be
    those any more that there were when it joined."""
    others = [at for name, at in config.servers.items() if name != config.name]
    limit_s = clock.monotonic() + _PROMOTE_LIMIT_S
    etcd = Etcd(Path(config.engine), config.plane, others)
    while config.joins and others and not _answers(config):
        own = [one for one in etcd.members() if one.address == config.address]
        if not own:
            raise ControlPlaneError(f"{config.name} is no member of etcd: it was removed")
        if not own[0].learner:
            return
        try:
            etcd.promote(own[0])
        except ControlPlaneError:
            if clock.monotonic() > limit_s:
                raise
            await clock.sleep(_POLL_S)


def _answers(config: ServerConfig) -> bool:
    try:
        return bool(Etcd(Path(config.engine), config.plane).members())
    except ControlPlaneError:
        return False


async def announce(client: Client, server: str, url: str | None) -> None:
    """Tell hosts of this server, or with None that it is gone."""
    meta = {"name": names.SERVERS, "namespace": names.SYSTEM_NAMESPACE}
    with contextlib.suppress(AlreadyExists):
        await client.create(scheme.CONFIGMAP, {"metadata": meta, "data": {}})
    await client.patch(
        scheme.CONFIGMAP, names.SERVERS, names.SYSTEM_NAMESPACE, {"data": {server: url}}
    )


def main() -> None:
    process.run("drover-prepare", "Prepare the API of a server.", ServerConfig, serve)


if __name__ == "__main__":
    main()
