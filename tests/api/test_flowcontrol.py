"""A flood of requests that last long starves the crowd it comes from, and not the controllers."""

from __future__ import annotations

import asyncio
import base64
import gc
import warnings
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from tests.support.cluster import EDITOR

from drover.api import scheme
from drover.api.status import ApiError, TooManyRequests, Unanswered
from drover.base.clock import RealClock
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.http_transport import MOST_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from tests.support.cluster import Cluster
    from tests.support.engine import Engine

    from drover.api.wire import Object

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

NAMESPACE = "default"
FLOOD = 700  # more than the API server's seats, 600
LASTS_S = 25
STARVED_S, TRIES = 2.0, 3
_REVIEWS = scheme.Kind(
    "admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"
)  # fmt: skip


@pytest.fixture(autouse=True)
def _swept() -> Iterator[None]:
    """Of so many calls some are cut off half way. What asyncio has to say of their sockets is said of no later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class SilentReview:
    """ConfigMaps that are made with the label ``flood`` are reviewed by somebody who takes the call and is silent."""

    def __init__(self, cluster: Cluster, authority: bytes) -> None:
        self._cluster = cluster
        self._authority = authority
        self._name = cluster.name("flood")
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._hold, "127.0.0.1", 0, backlog=1024)
        port = self._server.sockets[0].getsockname()[1]
        review: Object = {
            "name": "flood.drover.test",
            "clientConfig": {
                "url": f"https://127.0.0.1:{port}/",
                "caBundle": base64.b64encode(self._authority).decode(),
            },
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
            ],
            "objectSelector": {"matchLabels": {"flood": "yes"}},
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": LASTS_S,
            "admissionReviewVersions": ["v1"],
        }  # fmt: skip
        made = {"metadata": {"name": self._name}, "webhooks": [review]}
        await self._cluster.admin.create(_REVIEWS, made)

    async def _hold(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)

    async def hang_up(self) -> None:
        """On those who wait, and whoever calls after: the API server refuses what they asked for."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def aclose(self) -> None:
        await self.hang_up()
        await self._cluster.admin.delete(_REVIEWS, self._name)


async def answered(asked: Awaitable[Object]) -> bool:
    try:
        async with asyncio.timeout(STARVED_S):
            await asked
    except (TimeoutError, TooManyRequests):
        return False
    return True


async def pour(client: Client, number: int) -> None:
    """One request that lasts until the review gives up, or we do."""
    meta = {"name": f"flood-{number}", "namespace": NAMESPACE, "labels": {"flood": "yes"}}
    with suppress(ApiError, Unanswered):
        await client.create(scheme.CONFIGMAP, {"metadata": meta})


async def test_the_controllers_are_heard_while_others_wait(
    cluster: Cluster, engine: Engine
) -> None:
    clock = RealClock()
    authority = engine.access(EDITOR).ca
    assert authority is not None
    async with AsyncExitStack() as stack:
        crowd = []
        for _ in range(0, FLOOD, MOST_CONNECTIONS):
            transport = await engine.access(EDITOR).transport(clock)
            stack.push_async_callback(transport.aclose)
            crowd.append(Client(transport, timeout_s=LASTS_S))
        review = SilentReview(cluster, authority)
        await review.open()
        stack.push_async_callback(review.aclose)
        async with TaskScope("flood") as flood:
            pouring = [
                flood.spawn(pour(crowd[number % len(crowd)], number), f"pour {number}")
                for number in range(FLOOD)
            ]
            root = (scheme.CONFIGMAP, "kube-root-ca.crt", NAMESPACE)
            async with asyncio.timeout(LASTS_S):
                while await answered(cluster.editor.get(*root)):
                    await clock.sleep(0.1)
            for who in (cluster.controllers, cluster.node_a):
                tries = [await answered(who.get(scheme.NODE, "node-a")) for _ in range(TRIES)]
                assert tries[-1]  # the first ones share the machine with the calls that come in
            assert not await answered(cluster.editor.get(*root))  # it was a flood still
            await review.hang_up()
            await asyncio.wait(pouring, timeout=2 * LASTS_S)  # none is cut off half way
