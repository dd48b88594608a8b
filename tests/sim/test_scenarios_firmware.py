"""A firmware rollout and changes of placement, with controllers that die and targets that do not start."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, large, tell

from drover.api import conditions, names, scheme
from drover.api.wire import Object

pytestmark = pytest.mark.sim

OLD, NEW = "7.2.22", "10.0.2"
BOTH = (OLD, NEW)
VMS = ("a", "b", "c")


async def wants(stage: Stage, version: str, token: str = "") -> None:
    user, spec = stage.world.user, {"settings": {"firmware": {"version": version}}}
    change: Object = {"spec": spec, "metadata": {"annotations": {"drover.dev/firmware-set": token}}}
    if stage.world.find(scheme.MODULECONFIG, names.MODULE_CONFIG) is None:
        fresh = {**change, "metadata": {**change["metadata"], "name": names.MODULE_CONFIG}}
        await user.create(scheme.MODULECONFIG, fresh)
    else:
        await user.patch(scheme.MODULECONFIG, names.MODULE_CONFIG, "", change)


def rollout(stage: Stage) -> str:
    config = stage.world.find(scheme.MODULECONFIG, names.MODULE_CONFIG) or {"metadata": {}}
    return str((conditions.get_condition(config, "FirmwareRolledOut") or {}).get("reason", ""))


def versions(stage: Stage) -> list[str]:
    return [(stage.s.vm_status(vm).get("versions") or {}).get("qemu", "") for vm in VMS]


def operations(stage: Stage, prefix: str) -> list[Object]:
    found = stage.world.api.store.all(scheme.VMOP)
    return [op for op in found if op["metadata"]["name"].startswith(prefix)]


def updates(stage: Stage) -> list[Object]:
    return operations(stage, names.FIRMWARE_UPDATE_PREFIX)


async def up_to_date(stage: Stage, version: str) -> None:
    def done() -> bool:
        return rollout(stage) == "UpToDate" and versions(stage) == [version] * len(VMS)

    await stage.s.until(done, f"every VM is on {version}", 900.0)


async def three_run(stage: Stage) -> None:
    for vm in VMS:
        await stage.s.running_vm(vm, guest=large())
    await stage.s.until(lambda: versions(stage) == [OLD] * 3, "all tell their version", 60.0)


def test_every_vm_is_brought_to_the_wanted_version_and_back() -> None:
    async def story(stage: Stage) -> None:
        await three_run(stage)
        await wants(stage, NEW)
        await up_to_date(stage, NEW)
        assert len(updates(stage)) == len(VMS)
        await wants(stage, OLD)
        await up_to_date(stage, OLD)
        assert len(updates(stage)) == 2 * len(VMS)
        assert all(stage.s.runs(vm) for vm in VMS)

    tell(story, firmware=BOTH)


@pytest.mark.parametrize("mark", ["firmware.rollout", "firmware.update", "evict.copy"])
def test_a_restart_of_the_controllers_repeats_nothing(mark: str) -> None:
    async def story(stage: Stage) -> None:
        await three_run(stage)
        await wants(stage, NEW)
        await stage.s.at(mark)
        stage.world.kill_controllers()
        await stage.pause(2.0)
        stage.world.start_controllers()
        await up_to_date(stage, NEW)
        assert len(updates(stage)) == len(VMS)

    tell(story, firmware=BOTH)


def test_it_stops_after_three_failures_and_goes_on_when_set_again() -> None:
    async def story(stage: Stage) -> None:
        await three_run(stage)
        for node in stage.world.nodes:
            stage.world.site.refuse_launch[node] = "could not load PC BIOS"
        await wants(stage, NEW)
        await stage.s.until(lambda: rollout(stage) == "Stopped", "it stops", 600.0)
        failed = len(updates(stage))
        assert failed == 3
        await stage.pause(400.0)
        assert len(updates(stage)) == failed
        assert versions(stage) == [OLD] * len(VMS)
        stage.world.site.refuse_launch.clear()
        await wants(stage, NEW, "again")
        await up_to_date(stage, NEW)

    tell(story, firmware=BOTH)


def test_a_single_failure_is_tried_again() -> None:
    async def story(stage: Stage) -> None:
        await three_run(stage)
        stage.world.site.refuse_launch["n1"] = (
            "could not load PC BIOS"  # three at once would stop it
        )
        await wants(stage, NEW)

        def one_failed() -> bool:
            return any((op.get("status") or {}).get("phase") == "Failed" for op in updates(stage))

        await stage.s.until(one_failed, "one has failed", 300.0)
        stage.world.site.refuse_launch.clear()
        await up_to_date(stage, NEW)
        assert len(updates(stage)) > len(VMS)

    tell(story, firmware=BOTH)


def test_a_changed_wish_moves_a_vm_once_and_only_when_it_must() -> None:
    async def story(stage: Stage) -> None:
        s, user = stage.s, stage.world.user
        await s.running_vm("a", guest=large())
        home = s.node_of("a")
        away = next(node for node in stage.world.nodes if node != home)

        async def ask(node: str) -> None:
            spec = {"nodeSelector": {"kubernetes.io/hostname": node}}
            await user.patch(scheme.VM, "a", "default", {"spec": spec})

        moves = names.PLACEMENT_UPDATE_PREFIX
        await ask(home)
        await stage.pause(200.0)
        assert (s.node_of("a"), operations(stage, moves)) == (home, [])
        await ask(away)
        await stage.pause(30.0)
        assert operations(stage, moves) == []  # it may be changed once more
        await s.until(lambda: s.node_of("a") == away and s.phase("a") == "Running", "moved", 300.0)
        await stage.pause(200.0)
        assert len(operations(stage, moves)) == 1
        await ask("nowhere")
        await stage.pause(200.0)
        assert len(operations(stage, moves)) == 1  # no node would take it
        assert s.runs("a")
        await ask(away)

    tell(story, firmware=BOTH)
