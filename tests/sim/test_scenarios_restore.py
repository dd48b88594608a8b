"""etcd is put back to a backup while agents and guests go on (safety rule 10). The judge sees that nothing runs twice;
here it is told what becomes of the VMs."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, large, tell
from tests.sim.test_scenarios_belongings import change, disks
from tests.sim.test_scenarios_fencing import annotate_off, apart, fenced_world, is_armed

from drover.api import names
from drover.api.kinds import node as nodes
from drover.api.kinds.vml import RESTORE_LEAP
from drover.api.scheme import LEASE
from drover.sim.parts import Dice
from drover.sim.qemu_model import Guest

pytestmark = [pytest.mark.sim, pytest.mark.timeout(60)]


async def settled(stage: Stage, limit_s: float = 60.0) -> None:
    await stage.s.until(lambda: not stage.world.settling, "the restore is settled", limit_s)


def test_a_lease_of_the_past_starts_nothing() -> None:
    """It names the first copy of a VM that has moved since, and that copy was to be started just then. The agent of its
    node is being started anew: all that it knows is what is on its disk."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.create_vm("a", guest=large())
        await s.at("vml.acquired")
        backup = world.api.store.backup()
        await s.until(lambda: s.runs("a"), "a runs", 60)
        before = s.node_of("a")
        await s.finished(await s.evict("a"))
        await stage.pause(10)
        stage.do(stage.f.cut_api(s.node_of("a"), 60))
        copies = s.running_copies("a")
        stage.f.kill_agent(before)
        stage.f.restore(backup)
        stage.f.start_agent(before)
        await stage.pause(50)
        assert s.running_copies("a") == copies
        await settled(stage)

    tell(story)


def test_who_runs_where_the_backup_says_runs_on() -> None:
    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        for vm in "abc":
            await s.running_vm(vm)
        backup = world.api.store.backup()
        copies = [s.running_copies(vm) for vm in "abc"]
        await stage.pause(30)
        stage.f.restore(backup)
        await settled(stage)
        await stage.pause(30)
        assert [s.running_copies(vm) for vm in "abc"] == copies
        assert s.lease_spec("a")["epoch"] >= RESTORE_LEAP

    tell(story)


def test_a_vm_that_has_moved_since_is_started_anew_where_there_is_room() -> None:
    """Its Pod is not in the backup, and a Pod's uid cannot be made again."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a", guest=large())
        backup = world.api.store.backup()
        await s.finished(await s.evict("a"))
        stage.f.restore(backup)
        await settled(stage)
        await stage.pause(60)
        assert s.runs("a")

    tell(story)


@pytest.mark.parametrize("seed", range(6))
def test_a_migration_under_way_ends_on_one_side(seed: int) -> None:
    """The backup is of some moment of it, and restored at another."""
    dice = Dice(f"restore-{seed}")

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a", guest=large())
        await s.evict("a")
        await stage.pause(dice.between(0.0, 1.5))
        backup = world.api.store.backup()
        await stage.pause(dice.between(0.0, 1.5))
        stage.f.restore(backup)
        await settled(stage)
        await s.until(lambda: s.runs("a"), "a runs", 90)

    tell(story, seed=seed)


def test_a_node_that_says_nothing_holds_everything_up_until_somebody_says_that_it_is_off() -> None:
    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        node = s.node_of("a")
        backup = world.api.store.backup()
        world.power_off(node)
        stage.f.restore(backup)
        await stage.pause(60)
        assert world.settling
        assert not s.running_copies("a")
        await annotate_off(world, node)
        await settled(stage, 20)
        await s.until(lambda: s.runs("a") and s.node_of("a") != node, "a runs elsewhere", 60)
        world.power_on(node)

    tell(story)


def test_a_vm_that_the_backup_does_not_know_is_ended() -> None:
    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        backup = world.api.store.backup()
        await s.running_vm("a")
        stage.f.restore(backup)
        await settled(stage)
        await s.until(lambda: not s.running_copies("a"), "it has ended", 10)
        await s.running_vm("a")  # a new one of that name

    tell(story)


@pytest.mark.parametrize("known", [True, False])
def test_a_disk_that_another_vm_had_taken_since_is_free_when_that_has_ended(known: bool) -> None:
    """By what the backup says it is its former VM's, or nobody's; so is the address."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        slow = Guest(powerdown_s=30)
        if known:
            await s.running_vm("b", guest=slow, terminationGracePeriodSeconds=60)
        backup = world.api.store.backup()
        await s.delete_vm("a")
        await s.until(lambda: s.vm("a") is None, "a is gone", 60)
        if known:
            await change(stage, "b", blockDeviceRefs=disks("a"))
            await s.finished(await s.operate("Restart", "b"), 200)
            await s.until(lambda: s.runs("b"), "b runs", 60)
        else:
            await s.running_vm("b", blockDeviceRefs=disks("a"))
        assert s.lease_spec("b")["disks"] == ["a"]
        stage.f.restore(backup)
        await stage.pause(15)
        assert world.settling is known  # its guest takes its time
        await settled(stage)
        await s.until(lambda: s.runs("a"), "a runs again", 60)

    tell(story)


def test_a_life_that_began_after_the_backup_takes_its_place_again() -> None:
    """The restored Lease names the life before, which was fenced; no guest of the present one dies of that."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.create_vm("a", policy="Manual", nodeSelector={"kubernetes.io/hostname": "n1"})
        backup = world.api.store.backup()
        former = world.find(LEASE, "n1", names.NODE_LEASE_NAMESPACE)
        assert former is not None
        await apart(stage, "n1", 45)
        await s.until(lambda: world.node_ready("n1"), "n1 is back", 60)
        await s.until(lambda: is_armed(world.nodes["n1"]), "it is armed again", 60)
        await stage.pause(30)
        await s.finished(await s.operate("Start", "a"))
        life = world.nodes["n1"].agent.node_lease.incarnation  # type: ignore[union-attr]
        assert life != nodes.incarnation(former)
        copies = s.running_copies("a")
        stage.f.restore(backup)
        await settled(stage)
        assert world.nodes["n1"].agent.node_lease.incarnation == life  # type: ignore[union-attr]
        # Its Pod is unknown, so it is shut down in order, sooner or later: as the caches hear of the backup.
        assert s.running_copies("a") == copies or world.marks.get("stop.powerdown") == 1

    fenced_world(story)


def test_backups_that_are_tried_one_after_the_other_are_settled_once() -> None:
    """Every agent finds three times that the API has forgotten something, and one settlement stands above all."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a", guest=large())
        backup = world.api.store.backup()
        await s.finished(await s.evict("a"))
        for _ in range(2):
            stage.f.restore(backup)
            await stage.pause(0.1)
            stage.f.kill_controllers()
            await stage.pause(15)
        stage.f.restore(backup)
        await settled(stage)
        await stage.pause(60)
        assert s.runs("a")
        await s.finished(await s.evict("a"))

    tell(story)
