"""What a renewal leaves on a real API server, which costs more than the model knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drover.agent.nodelease import Identity, NodeLease
from drover.api import names, scheme
from drover.base.clock import RealClock
from drover.base.ids import RealIds
from drover.base.log import Log
from drover.runtime.client import Client

if TYPE_CHECKING:
    from tests.support.engine import Engine

pytestmark = pytest.mark.engine


async def test_who_wrote_which_field_of_a_lease_is_not_noted_for_long(engine: Engine) -> None:
    clock, node = RealClock(), f"n-{RealIds().suffix(8)}"
    transport = await engine.access(names.NODE_USER_PREFIX + node, [names.NODES_GROUP]).transport(clock)  # fmt: skip
    try:
        client = Client(transport)
        log = Log(clock, lambda entry: None)
        lease = NodeLease(client, clock, RealIds(), log, Identity(node, "life-1", "b", "m"), 2.0, 6)
        for _ in range(3):
            assert await lease.renew()
        found = await client.get(scheme.LEASE, node, names.NODE_LEASE_NAMESPACE)
        assert "managedFields" not in found["metadata"]
        assert found["spec"]["holderIdentity"] == node
    finally:
        await transport.aclose()
