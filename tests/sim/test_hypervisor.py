"""The model hardware in a world of virtual time: it outlives agents, records double runs, repeats.

What it has in common with real QEMU is in ``tests/contract/test_hypervisor.py``.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from drover.agent.ports import (
    Disk,
    Machine,
    MachineSpec,
    MigrationOptions,
    MigrationState,
    MonitorSilent,
    RunState,
)
from drover.base.tasks import TaskScope
from drover.sim.clock import SimClock
from drover.sim.hypervisor import ModelHypervisor, Site
from drover.sim.loop import VirtualLoop, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SPEC = MachineSpec(
    vm="default/linux-vm",
    vm_uid="6f6f6b1e-4f0e-4a57-9a5b-0d6c2d1f0a11",
    cores=1,
    memory_bytes=1 << 30,
    mac="52:54:00:00:00:01",
    ip="10.66.10.10",
    gateway="10.66.10.254",
    prefix=24,
    disks=(Disk("root", "/disks/root"),),
)


class Hardware:
    """A site with two nodes, and a place for agents that can be frozen and killed."""

    def __init__(self, scope: TaskScope) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.scope = scope
        self.site = Site(SimClock(), scope, loop.process)

    def hypervisor(self, node: str) -> ModelHypervisor:
        return ModelHypervisor(self.site, node, f"address-of-{node}")

    async def pair(self, spec: MachineSpec = SPEC) -> tuple[Machine, Machine, MigrationOptions]:
        """A guest that runs on a, a QEMU that waits on b."""
        source = await self.hypervisor("a").launch("copy-a", spec)
        await source.cont()
        hypervisor = self.hypervisor("b")
        listener = await hypervisor.listen("a")
        target = await hypervisor.launch("copy-b", spec, listener)
        return source, target, MigrationOptions(listener.address, listener.port, "b")


def simulate(story: Callable[[Hardware], Awaitable[object]]) -> object:
    async def main() -> object:
        async with TaskScope("hardware") as scope:
            value = await story(Hardware(scope))
            assert scope.failure is None, scope.failure
            return value

    return run(main())


def test_copy_goes_on_while_the_agent_is_frozen_or_dead() -> None:
    async def story(hardware: Hardware) -> None:
        source, _, options = await hardware.pair()
        with hardware.loop.process("agent"):
            hardware.scope.spawn(source.migrate(options), "agent")
        await asyncio.sleep(0.01)
        hardware.loop.freeze("agent")
        await asyncio.sleep(5)
        (adopted,) = await hardware.hypervisor("a").adopt()
        assert await adopted.status() is RunState.POSTMIGRATE

    simulate(story)


def test_a_copy_that_is_cancelled_before_the_target_has_taken_it_stays_cancelled() -> None:
    """The target's agent listens first, so the source may connect before QEMU has started there."""

    async def story(hardware: Hardware) -> None:
        source = await hardware.hypervisor("a").launch("copy-a", SPEC)
        await source.cont()
        hypervisor = hardware.hypervisor("b")
        listener = await hypervisor.listen("a")
        launched = hardware.scope.spawn(hypervisor.launch("copy-b", SPEC, listener), "launch")
        await asyncio.sleep(
            0.005
        )  # so that it looks at the door some milliseconds after the launch
        await source.migrate(MigrationOptions(listener.address, listener.port, "b"))
        await launched
        await source.cancel()
        await asyncio.sleep(1)
        assert (await source.migration()).state is MigrationState.CANCELLED
        assert await source.status() is RunState.RUNNING

    simulate(story)


def test_power_off_ends_processes_and_frees_disks_and_ports() -> None:
    async def story(hardware: Hardware) -> None:
        source, target, options = await hardware.pair()
        hardware.site.power_off("b")
        assert await hardware.hypervisor("b").adopt() == []
        await source.migrate(options)
        await asyncio.sleep(1)
        assert (await source.migration()).state is MigrationState.FAILED
        hardware.site.power_off("a")
        assert not source.alive
        assert not target.alive
        assert hardware.site.ledger.running == {SPEC.vm: []}
        again = await hardware.hypervisor("b").launch("copy-c", SPEC)
        await again.cont()
        assert hardware.site.ledger.violations == []

    simulate(story)


def test_ledger_records_a_guest_that_runs_twice() -> None:
    async def story(hardware: Hardware) -> None:
        """A lost last word, and an agent that does not wait for the lease; no disk stops it."""
        source, target, options = await hardware.pair(replace(SPEC, disks=()))
        hardware.site.link("a", "b").loses_last_word = True
        await source.migrate(options)
        await asyncio.sleep(5)
        assert await source.status() is RunState.RUNNING
        assert hardware.site.ledger.violations == []
        await target.cont()
        assert hardware.site.ledger.violations == [
            "default/linux-vm runs as copy-b while it runs as copy-a"
        ]

    simulate(story)


def test_auto_converge_ends_a_copy_that_would_not_end() -> None:
    async def story(hardware: Hardware) -> None:
        source, target, options = await hardware.pair()
        hardware.site.link("a", "b").bytes_per_second = 50 << 20
        hardware.site.qemu("copy-a").guest.dirty_bytes_per_second = 100 << 20
        await source.migrate(options)
        await asyncio.sleep(60)
        assert (await source.migration()).state is MigrationState.ACTIVE
        await source.cancel()
        assert not target.alive
        hypervisor = hardware.hypervisor("b")
        listener = await hypervisor.listen("a")
        await hypervisor.launch("copy-c", SPEC, listener)
        await source.migrate(
            MigrationOptions(listener.address, listener.port, "b", auto_converge=True)
        )
        await asyncio.sleep(20)
        info = await source.migration()
        assert info.state is MigrationState.COMPLETED
        assert info.throttle_percent > 0

    simulate(story)


def test_hang_in_switchover_lets_no_new_agent_in_until_it_heals() -> None:
    async def story(hardware: Hardware) -> None:
        source, target, options = await hardware.pair()
        link = hardware.site.link("a", "b")
        link.bytes_per_second = 50 << 20
        await source.migrate(replace(options, downtime_limit_ms=10_000))
        await asyncio.sleep(0.1)
        link.up = False
        (adopted,) = await hardware.hypervisor("a").adopt()
        before_s = hardware.loop.time()
        status = hardware.scope.spawn(adopted.status(), "status")
        await asyncio.wait([status])
        assert isinstance(status.exception(), MonitorSilent)
        assert hardware.loop.time() - before_s > 5
        link.up = True
        await asyncio.sleep(5)
        assert await adopted.status() is RunState.POSTMIGRATE
        assert await target.status() is RunState.PAUSED

    async def main() -> None:
        async with TaskScope("hardware") as scope:
            await story(Hardware(scope))

    run(main())
