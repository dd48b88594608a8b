"""The Node object against the API model: what an agent that starts anew says of its node, and when it says nothing."""

from __future__ import annotations

from tests.agent.place import Place, play_in

from drover.agent.node import NodeFacts, NodeKeeper
from drover.agent.nodelease import Identity, NodeLease
from drover.api import scheme
from drover.api.wire import Object
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.manager import Manager


class Kept(Place):
    """Agents whose keepers are at work."""

    def agent(self, scope: TaskScope, version: str) -> NodeLease:
        """Its keeper is at work; whether its Lease is renewed is the test's affair."""
        client, log = Client(self.door()), Log(self.clock, lambda entry: None)
        identity = Identity("n1", "life-1", "b1", "m1")
        lease = NodeLease(client, self.clock, self.ids, log, identity, 2.0, 6)
        manager = Manager(client, self.clock, SeededIds(version), log)
        informer = manager.informer(scheme.NODE, fields="metadata.name=n1")
        facts = NodeFacts("n1", "10.0.0.1", 10250, "4", "8Gi", 110, version)
        scope.guard(manager.run(), "manager")
        scope.guard(NodeKeeper(client, informer, lease, facts, self.clock, log).run(), "node")
        return lease

    async def nodes(self) -> list[Object]:
        found, _ = await self.admin.list(scheme.NODE)
        return found


def _said(node: Object) -> tuple[str, str]:
    """What Ready is, and which version wrote it."""
    (ready,) = [c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"]
    return ready, node["status"]["nodeInfo"]["kubeletVersion"]


def test_a_node_is_registered_once_a_renewal_is_acknowledged() -> None:
    async def story(place: Kept) -> None:
        async with TaskScope("agent") as scope:
            lease = place.agent(scope, "v1")
            await place.clock.sleep(5)
            assert await place.nodes() == []
            await lease.renew()
            await place.clock.sleep(1)
            assert [_said(node) for node in await place.nodes()] == [("True", "v1")]

    play_in(Kept, story)


def test_an_agent_that_starts_anew_does_not_take_its_node_out_of_service() -> None:
    """Ready went to False and back while the new agent waited for its first acknowledgement: Kubernetes then tells
    every Pod of the node that it is not ready."""

    async def story(place: Kept) -> None:
        async with TaskScope("first life") as scope:
            await place.agent(scope, "v1").renew()
            await place.clock.sleep(1)
        (before,) = await place.nodes()
        async with TaskScope("second life") as scope:
            lease = place.agent(scope, "v2")
            await place.clock.sleep(3)
            assert await place.nodes() == [before]
            await lease.renew()
            await place.clock.sleep(1)
            assert [_said(node) for node in await place.nodes()] == [("True", "v2")]

    play_in(Kept, story)
