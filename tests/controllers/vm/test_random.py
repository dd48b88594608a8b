"""Random histories of one VM: whatever users and agents did, it ends as its policy says, with one Pod and one lease."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from tests.controllers.world import NS, World, play

from drover.api import names
from drover.api.kinds import vml as vmls
from drover.api.machine import GuestNetwork
from drover.api.names import LastReason
from drover.api.scheme import POD, VM, VML
from drover.api.status import Conflict, NotFound
from drover.api.wire import Object
from drover.controllers.vm.act import Settings
from drover.controllers.vm.controller import wire

SETTINGS = Settings(GuestNetwork("10.66.10.254", 24), "/shared/disks", "/shared/images")
POLICIES = ("AlwaysOn", "AlwaysOff", "Manual", "AlwaysOnUnlessStoppedManually")
GUEST_ENDS = (
    LastReason.GUEST_RESET,
    LastReason.GUEST_SHUTDOWN,
    LastReason.CRASHED,
    LastReason.GUEST_PANICKED,
)
VM_NAME = "linux-vm"


class History:
    """Chance plays the user, and an agent that is slow but honest: it runs only what the lease names."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.requests = 0
        self.spent: set[str] = set()  # Pods that have held the lease and let it go

    async def lease(self) -> Object | None:
        return await self.world.find(VML, VM_NAME)

    async def living(self) -> list[Object]:
        ended = ("Succeeded", "Failed")
        return [p for p in await self.world.pods(VM_NAME) if p["status"].get("phase") not in ended]

    async def agent(self) -> None:
        """One step of the nodes: bind what waits, run what is named, end what shall end."""
        lease = await self.lease()
        holder = vmls.holder(lease) if lease else ""
        for pod in await self.living():
            meta = pod["metadata"]
            if not pod["spec"].get("nodeName"):
                await self.world.bind(pod, self.chance.choice(("n1", "n2")))
            elif meta["uid"] == holder:
                if names.STOP_ANNOTATION in meta["annotations"]:
                    await self.release(LastReason.STOPPED)
                elif "deletionTimestamp" in meta:
                    await self.release(LastReason.POD_DELETED)
                elif pod["status"].get("phase") != "Running":
                    await self.world.pod_status(pod, pod["spec"]["nodeName"], {"phase": "Running"})
            elif "deletionTimestamp" in meta:
                await self.world.admin.delete(POD, meta["name"], NS, uid=meta["uid"], grace_s=0)
        living = [p["metadata"]["uid"] for p in await self.living()]
        if (
            holder
            and holder not in living
            and vmls.holder(await self.world.get(VML, VM_NAME)) == holder
        ):
            await self.release(LastReason.POD_DELETED)

    async def release(self, reason: str) -> None:
        lease = await self.lease()
        assert lease is not None
        self.spent.add(vmls.holder(lease))
        gap_s = self.chance.choice((0.0, 0.05, 3.0))
        await self.world.release(VM_NAME, vmls.node(lease), reason, gap_s=gap_s)

    async def user(self) -> None:
        what = self.chance.randrange(6)
        living = await self.living()
        if what < 3:
            self.requests += 1
            force = self.chance.choice(("", ";force")) if what else ""
            text = f"op{self.requests};2026-01-01T00:{self.requests:02}:00Z{force}"
            await self.world.ask(VM_NAME, ("start", "stop", "restart")[what], text)
        elif what == 3:
            policy = self.chance.choice(POLICIES)
            await self.world.patch(VM, VM_NAME, {"spec": {"runPolicy": policy}})
        elif what == 4 and living:
            pod = self.chance.choice(living)["metadata"]
            grace = self.chance.choice((None, 0))
            await self.world.admin.delete(POD, pod["name"], NS, grace_s=grace)
        elif what == 5:
            size = self.chance.choice(("1Gi", "2Gi"))
            await self.world.patch(VM, VM_NAME, {"spec": {"memory": {"size": size}}})

    async def guest(self) -> None:
        lease = await self.lease()
        if lease is not None and vmls.holder(lease):
            await self.release(self.chance.choice(GUEST_ENDS))

    async def step(self) -> None:
        act = self.chance.choices((self.agent, self.user, self.guest), (6, 3, 1))[0]
        with suppress(NotFound, Conflict):  # it acted on what was there a moment ago
            await act()
        await self.world.settle(self.chance.choice((0.0, 0.01, 0.3, 2.0, 20.0)))
        lease = await self.lease()
        assert lease is None or vmls.holder(lease) not in self.spent, "a Pod is started once"

    async def calm(self) -> None:
        """No more users and no more crashes: everything must settle."""
        for _ in range(40):
            with suppress(NotFound, Conflict):
                await self.agent()
            await self.world.settle(10)


@pytest.mark.parametrize("seed", range(10))
def test_any_history_ends_as_the_policy_says(seed: int) -> None:
    async def story(world: World) -> None:
        await world.ready_class()
        await world.ready_disk("root")
        await world.ready_address(VM_NAME)
        for node in ("n1", "n2"):
            await world.join(node)
        history = History(world, seed)
        await world.create(VM, VM_NAME, {"runPolicy": history.chance.choice(POLICIES)})
        for _ in range(60):
            await history.step()
        await history.calm()
        vm = await world.get(VM, VM_NAME)
        phase, policy = vm["status"]["phase"], vm["spec"]["runPolicy"]
        assert phase in {"AlwaysOn": ("Running",), "AlwaysOff": ("Stopped",)}.get(
            policy, ("Running", "Stopped")
        )
        assert vm["status"]["power"]["wanted"] is (phase == "Running")
        living = await history.living()
        lease = await history.lease()
        holder = vmls.holder(lease) if lease is not None else ""
        assert [pod["metadata"]["uid"] for pod in living] == ([holder] if holder else [])
        assert bool(holder) is (phase == "Running")

        await world.delete(VM, VM_NAME)
        await history.calm()
        assert await world.find(VM, VM_NAME) is None
        assert await history.lease() is None

    play(story, lambda world: wire(world.manager, SETTINGS), seed)
