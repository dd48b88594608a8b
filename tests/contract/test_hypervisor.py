"""The Hypervisor port's contract: the model and real QEMU do the same, dangerous things included.

The real leg (marker ``e2e``) runs two nodes' QEMUs under TCG on loopback; its guest is one boot
sector.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from tests.agent.qemu.rig import qemu_rig, until
from tests.contract.hypervisor_rig import Rig, model_rig

from drover.agent.ports import (
    HypervisorError,
    ImageLocked,
    Listener,
    Machine,
    MachineEvent,
    MachineGone,
    MachineSpec,
    MigrationInfo,
    MigrationOptions,
    MigrationState,
    MonitorSilent,
    RunState,
)
from drover.agent.resume import Ground, NotAllowed, resume

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.timeout(60)

_QEMU = "qemu-system-x86_64"
_LEGS = [
    "model",
    pytest.param(
        "qemu",
        marks=[
            pytest.mark.e2e,
            pytest.mark.skipif(not shutil.which(_QEMU), reason=f"needs {_QEMU}"),
        ],
    ),
]
_FINAL = (MigrationState.COMPLETED, MigrationState.FAILED, MigrationState.CANCELLED)


@pytest_asyncio.fixture(params=_LEGS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    make = model_rig if request.param == "model" else qemu_rig
    async with make() as made:
        yield made


@dataclass
class Seen:
    """A machine and every event of it so far."""

    machine: Machine
    events: list[MachineEvent] = field(default_factory=list)

    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def reasons(self) -> list[object]:
        return [event.data["reason"] for event in self.events if event.name == "SHUTDOWN"]

    def migration(self) -> list[object]:
        return [event.data["status"] for event in self.events if event.name == "MIGRATION"]

    async def saw(self, name: str) -> None:
        await until(lambda: name in self.names(), f"{self.machine.copy} emits {name}")

    async def status(self, state: RunState) -> None:
        async with asyncio.timeout(10):
            while await self.machine.status() is not state:  # noqa: ASYNC110 - not every state has an event
                await asyncio.sleep(0.02)


def watch(rig: Rig, machine: Machine) -> Seen:
    seen = Seen(machine)

    async def collect() -> None:
        async for event in machine.events():
            seen.events.append(event)

    rig.scope.spawn(collect(), f"events of {machine.copy}")
    return seen


async def running(rig: Rig, copy: str = "copy-a", spec: MachineSpec | None = None) -> Seen:
    """A guest that runs on the first node."""
    machine = await rig.nodes[0].hypervisor.launch(copy, spec or rig.spec())
    seen = watch(rig, machine)
    await machine.cont()
    await rig.booted(copy)
    return seen


async def waiting(
    rig: Rig, peer: str = "node-1", spec: MachineSpec | None = None
) -> tuple[Seen, Listener]:
    """A QEMU on the second node that waits for a copy from ``peer``."""
    listener = await rig.nodes[1].hypervisor.listen(peer)
    machine = await rig.nodes[1].hypervisor.launch("copy-b", spec or rig.spec(), listener)
    return watch(rig, machine), listener


def options(where: tuple[str, int], bandwidth: int = 640 << 20, **changes: int) -> MigrationOptions:
    return MigrationOptions(*where, "node-2", bandwidth_bytes_per_second=bandwidth, **changes)


async def settled(machine: Machine) -> MigrationInfo:
    """How the migration of a source ended."""
    async with asyncio.timeout(20):
        while (info := await machine.migration()).state not in _FINAL:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return info


async def moved(rig: Rig) -> tuple[Seen, Seen]:
    """Source and target after a complete copy; nobody runs."""
    source = await running(rig)
    target, listener = await waiting(rig)
    await source.machine.migrate(options(rig.wire(listener)))
    assert (await settled(source.machine)).state is MigrationState.COMPLETED
    await target.status(RunState.PAUSED)
    return source, target


async def copying(rig: Rig, bandwidth: int = 4 << 20, **changes: int) -> tuple[Seen, Seen]:
    """A copy that never converges."""
    source = await running(rig)
    await rig.guest("copy-a", "dirty")
    target, listener = await waiting(rig)
    await source.machine.migrate(options(rig.wire(listener), bandwidth, **changes))
    async with asyncio.timeout(10):
        while (await source.machine.migration()).transferred_bytes < 1 << 19:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return source, target


# --- one copy ---


async def test_starts_stopped_and_runs_when_told(rig: Rig) -> None:
    machine = await rig.nodes[0].hypervisor.launch("copy-a", rig.spec())
    seen = watch(rig, machine)
    assert machine.spec == rig.spec()
    assert await machine.status() is RunState.PRELAUNCH
    assert (await machine.migration()).state is MigrationState.NONE
    await machine.cont()
    assert await machine.status() is RunState.RUNNING
    await rig.booted("copy-a")
    assert seen.names() == ["RESUME"]


async def test_power_button_ends_the_guest_and_leaves_the_process(rig: Rig) -> None:
    seen = await running(rig)
    await seen.machine.powerdown()
    await seen.saw("SHUTDOWN")
    await seen.status(RunState.SHUTDOWN)
    assert seen.reasons() == ["guest-shutdown"]
    assert seen.machine.alive
    with pytest.raises(HypervisorError):
        await seen.machine.cont()


@pytest.mark.parametrize(
    ("act", "reason"), [("reset", "guest-reset"), ("poweroff", "guest-shutdown")]
)
async def test_guest_that_ends_says_why(rig: Rig, act: str, reason: str) -> None:
    seen = await running(rig)
    await rig.guest("copy-a", act)
    await seen.saw("SHUTDOWN")
    assert seen.reasons() == [reason]
    await seen.status(RunState.SHUTDOWN)


async def test_panic_pauses_the_guest(rig: Rig) -> None:
    seen = await running(rig)
    await rig.guest("copy-a", "panic")
    await seen.saw("GUEST_PANICKED")
    await seen.status(RunState.PANICKED)


async def test_kill_reaps_and_is_idempotent(rig: Rig) -> None:
    seen = await running(rig)
    await seen.machine.kill()
    assert not seen.machine.alive
    await seen.machine.kill()
    await seen.saw("EXIT")
    assert seen.events[-1].data == {"status": -9}
    for ask in (seen.machine.status, seen.machine.migration, seen.machine.cont):
        with pytest.raises(MachineGone):
            await ask()
    assert await rig.nodes[0].hypervisor.adopt() == []
    await rig.nodes[0].hypervisor.forget("copy-a")


async def test_crash_is_an_event(rig: Rig) -> None:
    seen = await running(rig)
    await rig.crash("copy-a")
    await seen.saw("EXIT")
    assert seen.events[-1].data == {"status": -6}
    assert not seen.machine.alive


async def test_one_process_per_copy(rig: Rig) -> None:
    seen = await running(rig)
    with pytest.raises(HypervisorError, match="runs already"):
        await rig.nodes[0].hypervisor.launch("copy-a", rig.spec())
    assert await rig.runs("copy-a")
    assert seen.machine.alive


async def test_second_writer_is_refused_by_the_image_lock(rig: Rig) -> None:
    await running(rig)
    with pytest.raises(ImageLocked):
        await rig.nodes[1].hypervisor.launch("copy-b", rig.spec())
    assert await rig.nodes[1].hypervisor.adopt() == []
    assert await rig.runs("copy-a")


async def test_new_agent_adopts_what_runs(rig: Rig) -> None:
    await running(rig)
    await rig.nodes[0].restart_agent()
    (machine,) = await rig.nodes[0].hypervisor.adopt()
    seen = watch(rig, machine)
    assert (machine.copy, machine.spec) == ("copy-a", rig.spec())
    assert await machine.status() is RunState.RUNNING
    assert await rig.nodes[0].hypervisor.adopt() == [machine]
    await rig.guest("copy-a", "poweroff")
    await seen.saw("SHUTDOWN")
    await rig.nodes[0].restart_agent()
    (again,) = await rig.nodes[0].hypervisor.adopt()
    assert await again.status() is RunState.SHUTDOWN
    await again.kill()
    assert await rig.nodes[0].hypervisor.adopt() == []


@pytest.mark.parametrize(
    ("act", "reason"),
    [("reset", "guest-reset"), ("poweroff", "guest-shutdown"), ("panic", "guest-panic")],
)
async def test_guest_that_ends_while_no_agent_listens_says_why(
    rig: Rig, act: str, reason: str
) -> None:
    await running(rig)
    await rig.nodes[0].restart_agent()
    await rig.guest("copy-a", act)
    (machine,) = await rig.nodes[0].hypervisor.adopt()
    seen = watch(rig, machine)
    await seen.status(RunState.PANICKED if act == "panic" else RunState.SHUTDOWN)
    assert machine.guest_end() == reason


async def test_process_that_was_asked_for_is_told_from_one_that_was_not(rig: Rig) -> None:
    seen = await running(rig)
    for _ in range(2):
        assert await rig.nodes[0].hypervisor.was_made("copy-a")
        assert not await rig.nodes[0].hypervisor.was_made("copy-b")
        await seen.machine.kill()
        await rig.nodes[0].restart_agent()


# --- two copies ---


async def test_complete_copy_waits_for_cont_on_both_sides(rig: Rig) -> None:
    source, target = await moved(rig)
    info = await source.machine.migration()
    assert info.downtime_ms > 0
    assert info.total_ms >= info.downtime_ms
    assert await source.machine.status() is RunState.POSTMIGRATE
    assert (await target.machine.migration()).state is MigrationState.COMPLETED
    assert not await rig.runs("copy-a")
    assert not await rig.runs("copy-b")
    await target.machine.cont()
    assert await target.machine.status() is RunState.RUNNING
    await target.machine.announce()
    assert await rig.runs("copy-b")
    assert source.migration() == ["setup", "active", "completed"] or source.migration() == [
        "setup",
        "active",
        "device",
        "completed",
    ]
    assert target.migration()[-1] == "completed"
    await source.machine.kill()
    assert await rig.runs("copy-b")


async def test_source_may_connect_before_the_target_is_up(rig: Rig) -> None:
    source = await running(rig)
    listener = await rig.nodes[1].hypervisor.listen("node-1")
    await source.machine.migrate(options(rig.wire(listener)))
    machine = await rig.nodes[1].hypervisor.launch("copy-b", rig.spec(), listener)
    assert (await settled(source.machine)).state is MigrationState.COMPLETED
    await watch(rig, machine).status(RunState.PAUSED)


async def test_target_listens_again_after_its_agent_was_away(rig: Rig) -> None:
    source = await running(rig)
    _, listener = await waiting(rig)
    await rig.nodes[1].restart_agent()
    again = rig.nodes[1].hypervisor
    (machine,) = await again.adopt()
    assert await machine.status() is RunState.INMIGRATE
    assert (await machine.migration()).state is MigrationState.NONE
    await again.listen_again(machine, listener)
    with pytest.raises(HypervisorError):
        await again.listen_again(machine, listener)
    await source.machine.migrate(options(rig.wire(listener)))
    assert (await settled(source.machine)).state is MigrationState.COMPLETED
    await watch(rig, machine).status(RunState.PAUSED)


async def test_there_and_back_again(rig: Rig) -> None:
    source, target = await moved(rig)
    await target.machine.cont()
    await source.machine.kill()
    listener = await rig.nodes[0].hypervisor.listen("node-2")
    back = await rig.nodes[0].hypervisor.launch("copy-c", rig.spec(), listener)
    where = (listener.address, listener.port)
    await target.machine.migrate(MigrationOptions(*where, "node-1"))
    assert (await settled(target.machine)).state is MigrationState.COMPLETED
    await watch(rig, back).status(RunState.PAUSED)
    await back.cont()
    assert await rig.runs("copy-c")


async def test_closed_listener_fails_the_copy_and_the_source_runs(rig: Rig) -> None:
    source = await running(rig)
    listener = await rig.nodes[1].hypervisor.listen("node-1")
    for _ in range(2):
        await rig.nodes[1].hypervisor.unlisten(listener)
    with pytest.raises(HypervisorError):
        await rig.nodes[1].hypervisor.launch("copy-b", rig.spec(), listener)
    await source.machine.migrate(options((listener.address, listener.port)))
    info = await settled(source.machine)
    assert info.state is MigrationState.FAILED
    assert info.error
    assert await source.machine.status() is RunState.RUNNING


async def test_target_refuses_a_source_it_does_not_expect(rig: Rig) -> None:
    source = await running(rig)
    target, listener = await waiting(rig, peer="node-3")
    await source.machine.migrate(options(rig.wire(listener)))
    assert (await settled(source.machine)).state is MigrationState.FAILED
    assert await rig.runs("copy-a")
    assert await target.machine.status() is RunState.INMIGRATE


async def test_source_refuses_a_target_it_does_not_expect(rig: Rig) -> None:
    source = await running(rig)
    _, listener = await waiting(rig)
    wrong = MigrationOptions(*rig.wire(listener), "node-3")
    await source.machine.migrate(wrong)
    assert (await settled(source.machine)).state is MigrationState.FAILED
    assert await rig.runs("copy-a")


async def test_cancel_while_copying_leaves_the_source_running(rig: Rig) -> None:
    source, target = await copying(rig)
    await source.machine.cancel()
    assert (await settled(source.machine)).state is MigrationState.CANCELLED
    assert await rig.runs("copy-a")
    await target.saw("EXIT")
    await source.machine.cancel()


async def test_second_attempt_after_a_cancelled_one(rig: Rig) -> None:
    source, target = await copying(rig)
    with pytest.raises(HypervisorError):
        await source.machine.migrate(options(("127.0.0.1", 1)))
    await asyncio.sleep(0.2)
    assert (await source.machine.migration()).state is MigrationState.ACTIVE
    await source.machine.cancel()
    await settled(source.machine)
    await target.saw("EXIT")
    listener = await rig.nodes[1].hypervisor.listen("node-1")
    again = await rig.nodes[1].hypervisor.launch("copy-c", rig.spec(), listener)
    await source.machine.migrate(options((listener.address, listener.port), downtime_limit_ms=2000))
    assert (await settled(source.machine)).state is MigrationState.COMPLETED
    await watch(rig, again).status(RunState.PAUSED)


async def test_target_that_dies_fails_the_copy(rig: Rig) -> None:
    source, target = await copying(rig)
    await target.machine.kill()
    assert (await settled(source.machine)).state is MigrationState.FAILED
    assert await rig.runs("copy-a")


async def test_source_that_dies_ends_an_incomplete_target(rig: Rig) -> None:
    source, target = await copying(rig)
    await source.machine.kill()
    await target.saw("EXIT")
    assert not target.machine.alive


async def test_dead_wire_is_no_error_while_copying(rig: Rig) -> None:
    source, _ = await copying(rig)
    rig.cut()
    await asyncio.sleep(1.0)
    info = await source.machine.migration()
    assert info.state is MigrationState.ACTIVE
    await source.machine.cancel()
    assert await rig.runs("copy-a")


async def test_dead_wire_in_switchover_hangs_the_monitor_and_cancel_frees_the_guest(
    rig: Rig,
) -> None:
    source = await running(rig)
    await rig.guest("copy-a", "dirty")
    _, listener = await waiting(rig)
    where = rig.wire(listener)
    rig.slow(4 << 20)
    await source.machine.migrate(options(where, downtime_limit_ms=20_000))
    await source.saw("STOP")
    rig.cut()
    with pytest.raises(MonitorSilent):
        await source.machine.status()
    await source.machine.cancel()
    await source.status(RunState.RUNNING)
    assert await rig.runs("copy-a")


async def test_lost_last_word_leaves_the_source_running_and_the_target_complete(rig: Rig) -> None:
    source = await running(rig)
    target, listener = await waiting(rig)
    where = rig.wire(listener)
    rig.swallow_last_word()
    await source.machine.migrate(options(where))
    assert (await settled(source.machine)).state is MigrationState.FAILED
    await source.status(RunState.RUNNING)  # QEMU says that it failed, and then goes on
    assert await rig.runs("copy-a")
    assert await target.machine.status() is RunState.PAUSED
    assert (await target.machine.migration()).state is MigrationState.COMPLETED
    with pytest.raises(ImageLocked):  # the second guard; a diskless guest would run twice here
        await target.machine.cont()
    assert await rig.runs("copy-a")


async def test_last_word_on_its_way_for_ever_is_ended_by_cancel_and_the_source_runs(
    rig: Rig,
) -> None:
    source = await running(rig)
    target, listener = await waiting(rig)
    where = rig.wire(listener)
    rig.hold_last_word()
    await source.machine.migrate(options(where))
    await target.status(RunState.PAUSED)
    await asyncio.sleep(0.5)
    assert await source.machine.status() is RunState.FINISH_MIGRATE
    await source.machine.cancel()
    assert (await settled(source.machine)).state is not MigrationState.COMPLETED
    await source.status(RunState.RUNNING)
    assert await rig.runs("copy-a")


async def test_rollback_after_a_complete_copy(rig: Rig) -> None:
    source, target = await moved(rig)
    await target.machine.kill()
    await source.machine.cont()
    assert await source.machine.status() is RunState.RUNNING
    assert await rig.runs("copy-a")


async def test_source_continued_after_the_target_is_refused_by_the_image_lock(rig: Rig) -> None:
    source, target = await moved(rig)
    await target.machine.cont()
    with pytest.raises(ImageLocked):
        await source.machine.cont()
    assert await rig.runs("copy-b")
    assert not await rig.runs("copy-a")


async def test_cont_of_an_incoming_copy_is_accepted_and_must_never_be_sent(rig: Rig) -> None:
    """A guest without a writable disk: no lock stands in the way of running twice."""
    spec = rig.spec()
    spec = rig.spec(disks=(replace(spec.disks[0], read_only=True),))
    source = await running(rig, spec=spec)
    target, listener = await waiting(rig, spec=spec)
    await target.machine.cont()
    assert await target.machine.status() is RunState.INMIGRATE
    await source.machine.migrate(options(rig.wire(listener)))
    await settled(source.machine)
    await target.status(RunState.RUNNING)


async def test_the_one_cont_is_refused_while_the_guest_is_not_complete(rig: Rig) -> None:
    """QEMU itself would take it, as above; ``agent.resume`` does not send it (safety rule 6)."""
    await running(rig)
    target, _ = await waiting(rig)

    async def holds() -> bool:
        return True

    with pytest.raises(NotAllowed):
        await resume(target.machine, Ground.ARRIVAL, holds)
    assert await target.machine.status() is RunState.INMIGRATE
    assert await rig.runs("copy-a")


async def test_cont_of_an_incoming_copy_is_refused_while_the_source_holds_the_disk(
    rig: Rig,
) -> None:
    await running(rig)
    target, _ = await waiting(rig)
    with pytest.raises(ImageLocked):
        await target.machine.cont()
    assert await rig.runs("copy-a")


@pytest.mark.parametrize("act", ["reset", "poweroff"])
async def test_guest_that_ends_during_the_copy(rig: Rig, act: str) -> None:
    source, target = await copying(rig)
    await rig.guest("copy-a", act)
    await source.saw("SHUTDOWN")
    assert (await settled(source.machine)).state is MigrationState.COMPLETED
    await target.status(RunState.SHUTDOWN)
    assert target.reasons() == []
    with pytest.raises(HypervisorError):
        await target.machine.cont()


async def test_guest_that_panics_during_the_copy(rig: Rig) -> None:
    source, target = await copying(rig)
    await rig.guest("copy-a", "panic")
    await source.saw("GUEST_PANICKED")
    assert (await settled(source.machine)).state is MigrationState.COMPLETED
    await target.status(RunState.PANICKED)
    assert "GUEST_PANICKED" not in target.names()
