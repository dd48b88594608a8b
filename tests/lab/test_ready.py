"""What ``up`` says of nodes that do not come."""

from __future__ import annotations

import pytest

from drover.api import names, scheme
from drover.base.clock import rfc3339
from drover.base.ids import SeededIds
from drover.runtime.client import Client
from drover.server import bootstrap
from drover.server.errors import ControlPlaneError
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run

WORDS = {"n1": "all is well", "n2": "address already in use"}


def test_the_last_words_of_those_that_are_not_ready() -> None:
    async def main() -> list[str]:
        clock = SimClock()
        client = Client(ApiModel(clock, SeededIds(1)).transport("admin", ("system:masters",)))
        lease = {"metadata": {"name": "n1", "namespace": names.NODE_LEASE_NAMESPACE}}
        await client.create(
            scheme.LEASE, {**lease, "spec": {"renewTime": rfc3339(clock.wall() + 1)}}
        )
        node = {"metadata": {"name": "n1"}}
        await client.create(scheme.NODE, node)
        good = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await client.patch(scheme.NODE, "n1", "", good, subresource="status")
        ready: list[str] = []
        with pytest.raises(ControlPlaneError) as raised:
            await bootstrap.wait_nodes(
                client, clock, ["n1", "n2"], clock.wall(), ready.append, WORDS.__getitem__, 5.0
            )
        assert str(raised.value).startswith("n2: ")
        assert str(raised.value).endswith("n2 says: address already in use")
        return ready

    assert run(main(), 0) == ["n1"]
