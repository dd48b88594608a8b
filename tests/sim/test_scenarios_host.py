"""What an agent finds when it comes back, and a host that fails: disks, marks, user data."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, large, tell

from drover.agent.ports import HostError, RunState
from drover.api.scheme import EVENT, NODE, POD, SECRET, VMM
from drover.api.status import TooManyRequests
from drover.api.wire import Object
from drover.sim.parts import MemoryJournal

pytestmark = pytest.mark.sim


def events(stage: Stage, reason: str) -> list[str]:
    found = stage.world.api.objects(EVENT)
    return [str(e["message"]) for e in found if e.get("reason") == reason]


def condition(stage: Stage, vm: str, kind: str) -> Object:
    found = stage.s.vm_status(vm).get("conditions") or []
    return next((c for c in found if c["type"] == kind), {})


# --- while the agent was away ---


@pytest.mark.parametrize(("ends", "stays_off"), [("guest_reset", False), ("guest_poweroff", True)])
def test_a_guest_that_ends_while_its_agent_is_away_ends_for_its_own_reason(
    ends: str, stays_off: bool
) -> None:
    """A reset that was taken for a power-off left the VM stopped for good."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", policy="AlwaysOnUnlessStoppedManually")
        (qemu,) = s.living("a")
        stage.f.kill_agent(qemu.node)
        getattr(qemu, ends)()
        await stage.pause(5)
        stage.f.start_agent(qemu.node)
        if stays_off:
            await s.until(lambda: s.phase("a") == "Stopped", "a stays off", 60)
        else:
            await s.until(lambda: s.running_copies("a") not in ([], [qemu.copy]), "it reboots", 60)

    tell(story)


def test_a_guest_that_resets_during_the_copy_while_its_agent_is_away_is_not_handed_over() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await stage.moving()
        source, target = s.source("a"), s.target("a")
        stage.f.kill_agent(source.node)
        source.guest_reset()
        stage.f.start_agent(source.node)
        await s.until(lambda: s.lease_spec("a").get("lastReason") == "GuestReset", "the end", 30)
        await s.until(lambda: s.runs("a"), "the policy starts it anew", 60)
        assert target.copy not in [copy for _, copy in stage.world.site.ledger.history]

    tell(story)


def test_an_agent_that_dies_before_it_starts_a_qemu_starts_it_later() -> None:
    """Between the mark and the process. It was taken for a crash, with a back-off."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.create_vm("a")
        died: list[str] = []

        def strike(name: str, entry: dict[str, object]) -> None:
            if name == "start.launch" and not died:
                died.append(str(entry["node"]))
                world.kill_agent(died[0])

        world.on_mark.append(strike)
        await s.until(lambda: bool(died), "the agent dies", 30)
        (pod,) = s.pods_of("a")
        await stage.pause(1)
        world.site.qemus.clear()  # the model's launch had begun: what was asked for never came
        stage.f.start_agent(died[0])
        await s.until(lambda: s.runs("a"), "a runs", 30)
        assert s.running_copies("a") == [pod["metadata"]["uid"]]
        assert s.lease_spec("a").get("lastReason", "") == ""

    tell(story)


def test_a_pod_that_goes_before_its_qemu_is_adopted_is_stopped_with_grace() -> None:
    """The agent that has just started hears of it while other caches are still filling."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        node, (pod,) = s.node_of("a"), s.pods_of("a")
        stage.f.kill_agent(node)
        held = stage.f.hold(node, lambda asked: asked.path == VMM.path() and asked.method == "GET")
        stage.f.start_agent(node)
        await stage.pause(1)
        await s.delete_pod(pod["metadata"]["name"], grace_s=0)
        await stage.pause(1)
        held.let_go()
        await s.at("stop.powerdown", 10)
        assert (await s.at("released"))["why"] == "PodDeleted"

    tell(story)


def test_a_target_whose_agent_was_away_is_reached_all_the_same() -> None:
    """Its listener was closed with the agent, and was reported for ever."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        operation = await s.evict("a")
        entry = await s.at("evict.listening")
        target = str(entry["node"])
        await s.until(lambda: len(s.living("a")) == 2, "its QEMU waits", 10)
        stage.do(stage.f.freeze(s.node_of("a"), 8))
        await stage.pause(1)
        await stage.f.restart_agent(target, 2)
        await s.at("evict.listening-again", 20)
        assert await s.finished(operation) == "Completed"

    tell(story)


# --- the switchover ---


def test_a_last_word_that_never_comes_holds_the_guest_for_five_seconds_only() -> None:
    """It stood still for the 150 s that a copy without progress may take."""

    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        source = s.source("a")
        stage.do(stage.f.hold_last_word(source.node, s.target("a").node, 60))
        await stage.world.until(lambda: source.state is RunState.FINISH_MIGRATE, "it", 10, 0.002)
        await stage.pause(6)
        assert s.running_copies("a") == [source.copy]
        assert await s.finished(operation) == "Failed"
        await s.until(lambda: len(s.living("a")) == 1, "the target is gone", 10)

    tell(story)


# --- disks ---


def test_a_guest_whose_disk_fails_stands_still_and_goes_on_when_it_is_back() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        (qemu,) = s.living("a")
        stage.world.fault("the disk of a is full")
        qemu.disk_error()
        await s.until(lambda: s.phase("a") == "Pause", "it is shown", 10)
        said = condition(stage, "a", "Running")
        assert (said["status"], said["reason"]) == ("False", "GuestNotRunning")
        assert "No space left on device" in said["message"]
        assert "goes on by itself" in said["message"]
        assert len(events(stage, "DiskError")) == 1
        await stage.pause(60)
        assert qemu.state is RunState.IO_ERROR
        stage.world.note("mend: there is room on the disk of a")
        qemu.disks_fail = False
        await s.until(lambda: s.runs("a"), "it goes on", 10)
        assert s.living("a") == [qemu]
        assert condition(stage, "a", "Running")["status"] == "True"

    tell(story)


@pytest.mark.parametrize("step", ["migration.ready", "evict.copy"])
@pytest.mark.parametrize("trouble", ["disk", "monitor"])
def test_a_copy_that_cannot_begin_or_be_seen_holds_the_slots_of_others_for_30_s_only(
    trouble: str, step: str
) -> None:
    """No limit of a copy holds before the copy is known to go on."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        (qemu,) = s.living("a")
        operation = await s.evict("a")
        await s.at(step)
        if trouble == "disk":
            qemu.disk_error()
        else:
            qemu.frozen = True
        assert await s.finished(operation, 45) in ("Failed", "Completed")
        if (trouble, step) != (
            "disk",
            "evict.copy",
        ):  # a guest that stands still is copied as it stands
            assert s.operation_phase(operation) == "Failed"
            await s.until(lambda: s.living("a") == [qemu], "the target ends", 10)
        qemu.disks_fail, qemu.frozen = False, False
        await s.until(lambda: s.runs("a"), "it goes on", 30)

    tell(story)


def test_a_guest_that_stands_still_for_its_disk_can_be_stopped() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", policy="AlwaysOnUnlessStoppedManually")
        (qemu,) = s.living("a")
        qemu.disk_error()
        await stage.pause(5)
        await s.operate("Stop", "a")
        await s.until(lambda: s.phase("a") == "Stopped", "it is stopped", 60)
        qemu.disks_fail = False

    tell(story)


def test_a_guest_that_boots_does_not_hear_the_button_and_is_asked_again() -> None:
    """It was killed after the whole of its grace period."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm(
            "a", policy="AlwaysOnUnlessStoppedManually", terminationGracePeriodSeconds=60
        )
        (qemu,) = s.living("a")
        qemu.guest.obeys_power_button = False
        await s.operate("Stop", "a")
        await stage.pause(5)
        qemu.guest.obeys_power_button = True
        await s.until(lambda: s.phase("a") == "Stopped", "it is stopped", 20)
        assert s.lease_spec("a")["lastReason"] == "Stopped"

    tell(story)


# --- a host that fails ---


def test_a_full_disk_of_the_node_stops_no_agent_and_starts_go_on_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ended the agent of the node, with all that it looked after."""
    full = [True]
    put = MemoryJournal.put

    def refuse(journal: MemoryJournal, copy: str, mark: str, value: str = "") -> None:
        if mark == "started" and full[0]:
            raise HostError("the mark started cannot be written: No space left on device")
        put(journal, copy, mark, value)

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.create_vm("a")
        await s.until(lambda: bool(events(stage, "HostTrouble")), "people are told", 30)
        await stage.pause(30)
        assert len(events(stage, "HostTrouble")) == 1
        assert "No space left" in condition(stage, "a", "Running")["message"]
        assert stage.world.broken == []
        full[0] = False
        await s.until(lambda: s.runs("a"), "a runs", 30)

    monkeypatch.setattr(MemoryJournal, "put", refuse)
    tell(story)


def test_a_target_whose_disk_is_full_hands_the_guest_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may not let the guest go on without the mark that says so."""
    put = MemoryJournal.put

    def refuse(journal: MemoryJournal, copy: str, mark: str, value: str = "") -> None:
        if mark == "resuming" or value == "HandedBack":
            raise HostError(f"the mark {mark} cannot be written: No space left on device")
        put(journal, copy, mark, value)

    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        source = s.source("a").copy
        await s.at("evict.hand-back", 60)
        assert await s.finished(operation) == "Failed"
        await s.until(lambda: s.runs("a"), "the source goes on", 10)
        assert s.running_copies("a") == [source]

    monkeypatch.setattr(MemoryJournal, "put", refuse)
    tell(story)


def test_user_data_that_goes_missing_after_the_start_began_is_named_and_waited_for() -> None:
    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        secret = {
            "metadata": {"name": "data", "namespace": "default"},
            "data": {"userData": "eA=="},
        }
        await world.user.create(SECRET, secret)
        reference = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "data"}}
        await s.create_vm("a", provisioning=reference)
        await s.until(lambda: bool(s.pods_of("a")), "its Pod", 30)
        await world.user.delete(SECRET, "data", "default")
        await s.until(lambda: bool(events(stage, "ProvisioningNotReady")), "people are told", 30)
        await s.until(
            lambda: condition(stage, "a", "ProvisioningReady").get("status") == "False", "shown", 30
        )
        assert '"data"' in condition(stage, "a", "ProvisioningReady")["message"]
        (pod,) = world.api.objects(POD)
        waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting["reason"] == "ProvisioningNotReady"
        await world.user.create(SECRET, secret)
        await s.until(lambda: s.runs("a"), "a runs", 30)

    tell(story)


def test_a_drain_of_a_vm_that_stands_still_says_so_and_goes_on_when_it_runs() -> None:
    async def story(stage: Stage) -> None:
        s, user = stage.s, stage.world.user
        await s.running_vm("a")
        ((pod,), (qemu,)), node = (s.pods_of("a"), s.living("a")), s.node_of("a")
        qemu.disk_error()
        await s.until(lambda: s.phase("a") == "Pause", "it is shown", 10)
        await user.patch(NODE, node, "", {"spec": {"unschedulable": True}})
        name = pod["metadata"]["name"]
        path = POD.path("default", name, "eviction")
        body = {"metadata": {"name": name, "namespace": "default"}}
        with pytest.raises(TooManyRequests, match=r"Pause.*No space left on device"):
            await user.post(path, body)
        qemu.disks_fail = False
        await s.until(lambda: s.runs("a") and s.node_of("a") != node, "it has left", 60)
        await user.patch(NODE, node, "", {"spec": {"unschedulable": False}})

    tell(story, drains=True)
