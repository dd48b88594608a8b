"""Which operation is applicable when, and the words in which it is refused: every cell of the tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drover.api.kinds.vm import LiveMigrationPolicy, RunPolicy, VmPhase
from drover.api.kinds.vmop import VmopPhase, VmopReason, VmopType
from drover.api.names import VmmPhase
from drover.controllers.vmop import rules
from drover.controllers.vmop.decide import BLOCKED, decide
from drover.controllers.vmop.intents import (
    CreateMigration,
    DeleteMigration,
    Intent,
    SendSignal,
    SetStatus,
    WithdrawSignal,
)
from drover.controllers.vmop.view import Other, VmmView, VmopView, VmView

ON = (RunPolicy.MANUAL, RunPolicy.ALWAYS_ON_UNLESS_STOPPED_MANUALLY)
APPLICABLE = {
    # type: (phases, phases with force, runPolicies)
    "Start": ("Stopped Stopping", "Stopped Stopping", ON),
    "Stop": (
        "Running Degraded Starting Pause Pending",
        "Running Degraded Starting Pause Pending Stopping",
        ON,
    ),
    "Restart": (
        "Running Degraded Starting Pause",
        "Running Degraded Starting Pause Stopping",
        (*ON, RunPolicy.ALWAYS_ON),
    ),
    "Evict": ("Running", "Running", (*ON, RunPolicy.ALWAYS_ON)),
    "Migrate": ("Running", "Running", (*ON, RunPolicy.ALWAYS_ON)),
}
WAITS = {("Stop", "Migrating"), ("Restart", "Migrating")}  # until the migration has ended


def vm(**more: object) -> VmView:
    plain = VmView(
        uid="u",
        phase="Running",
        run_policy=RunPolicy.MANUAL,
        live_migration_policy=LiveMigrationPolicy.PREFER_SAFE,
        node="n1",
        deleting=False,
        holder="pod",
        holder_pod="d8v-vm-a-bcdfg",
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def op(kind: str, **more: object) -> VmopView:
    plain = VmopView(
        name="op",
        namespace="default",
        type=VmopType(kind),
        vm_name="a",
        phase=VmopPhase.PENDING,
        deleting=False,
        has_finalizer=True,
        force=None,
        signal="",
        signalled_pod="",
        progress_percent=0,
        vm=vm(),
        vmm=None,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def refusal(intents: list[Intent]) -> tuple[str, str] | None:
    """Reason and message of a failure; None when the operation is carried out or waits."""
    for intent in intents:
        if isinstance(intent, SetStatus) and intent.phase is VmopPhase.FAILED:
            return str(intent.reason), intent.message
    return None


@pytest.mark.parametrize("policy", RunPolicy)
@pytest.mark.parametrize("phase", VmPhase)
@pytest.mark.parametrize("force", [None, False, True])
@pytest.mark.parametrize("kind", VmopType)
def test_run_policy_is_looked_at_before_the_phase(
    kind: str, force: bool | None, phase: VmPhase, policy: RunPolicy
) -> None:
    plain, forced, policies = APPLICABLE[kind]
    said = decide(op(kind, force=force, vm=vm(phase=str(phase), run_policy=policy)))
    if policy not in policies:
        words = (
            f"Operation type {kind} is not applicable for VirtualMachine with runPolicy {policy}"
        )
        assert refusal(said) == ("NotApplicableForVirtualMachineRunPolicy", words)
    elif (kind, phase) in WAITS:
        assert said == []
    elif phase not in (forced if force else plain).split():
        words = f"Operation type {kind} is not applicable for VirtualMachine in phase {phase}"
        assert refusal(said) == ("NotApplicableForVirtualMachinePhase", words)
    else:
        assert isinstance(said[0], SendSignal | CreateMigration), said


CONVERGE = {
    # policy: (force absent, true, false); None: contradiction
    LiveMigrationPolicy.ALWAYS_SAFE: (False, None, False),
    LiveMigrationPolicy.PREFER_SAFE: (False, True, False),
    LiveMigrationPolicy.PREFER_FORCED: (True, True, False),
    LiveMigrationPolicy.ALWAYS_FORCED: (True, True, None),
}


@pytest.mark.parametrize("policy", LiveMigrationPolicy)
@pytest.mark.parametrize(("column", "force"), [(0, None), (1, True), (2, False)])
def test_policy_and_force(policy: LiveMigrationPolicy, column: int, force: bool | None) -> None:
    said = decide(op("Evict", force=force, vm=vm(live_migration_policy=policy)))
    wanted = CONVERGE[policy][column]
    if wanted is None:
        word = "true" if force else "false"
        words = (
            f"Operation is invalid: force={word} is not applicable for VM "
            f"liveMigrationPolicy {policy}"
        )
        assert refusal(said) == ("NotApplicableForLiveMigrationPolicy", words)
    else:
        assert said == [CreateMigration(policy, wanted)]


@pytest.mark.parametrize("force", [None, True, False])
@pytest.mark.parametrize("system", LiveMigrationPolicy)
def test_the_policy_of_the_system_replaces_both(
    system: LiveMigrationPolicy, force: bool | None
) -> None:
    always_safe = vm(live_migration_policy=LiveMigrationPolicy.ALWAYS_SAFE)
    said = decide(op("Evict", force=force, vm=always_safe, system_policy=system))
    assert said == [CreateMigration(system, bool(CONVERGE[system][0]))]


def test_a_vm_that_does_not_exist() -> None:
    for kind in VmopType:
        said = decide(op(kind, vm=None))
        assert refusal(said) == ("VirtualMachineNotFound", "VirtualMachine not found")


MATRIX = {
    # old: those that may take its place; "!" is forced
    "Start": {"Stop", "Stop!"},
    "Stop": {"Stop!", "Restart!"},
    "Restart": {"Stop!", "Restart!"},
    "Stop!": set(),
    "Restart!": set(),
    "Evict": {"Stop", "Stop!", "Restart", "Restart!"},
    "Evict!": {"Stop", "Stop!", "Restart", "Restart!"},
    "Migrate": {"Stop", "Stop!", "Restart", "Restart!"},
}
ALL = [*MATRIX, "Migrate!"]


def other(text: str) -> Other:
    return Other(text, VmopType(text.rstrip("!")), text.endswith("!"))


@pytest.mark.parametrize("old", MATRIX)
@pytest.mark.parametrize("new", ALL)
def test_who_may_take_the_place_of_whom(old: str, new: str) -> None:
    may = new in MATRIX[old]
    assert rules.supersedes(other(new), other(old)) is may
    force = True if new.endswith("!") else None
    if new == "Start!":
        return
    said = decide(op(new.rstrip("!"), force=force, older=(other(old),)))
    if may:
        assert said == []  # it waits until the old one is out of the way
    else:
        assert refusal(said) == ("NotReadyToBeExecuted", BLOCKED)


def superseded(**more: object) -> list[Intent]:
    return decide(op("Evict", superseded_by=other("Stop"), **more))


def words_of(intents: list[Intent]) -> tuple[VmopPhase, VmopReason, str, bool]:
    last = intents[-1]
    assert isinstance(last, SetStatus)
    return last.phase, last.reason, last.message, last.done


SUPERSEDED = (
    VmopPhase.SUPERSEDED,
    VmopReason.SUPERSEDED,
    "Superseded by Stop with type Stop",
    True,
)


def test_the_old_one_says_who_took_its_place() -> None:
    assert words_of(superseded()) == SUPERSEDED
    assert words_of(decide(op("Start", superseded_by=other("Stop")))) == SUPERSEDED


@pytest.mark.parametrize("phase", ["Pending", "Scheduling", "Preparing", "Ready", "Copying"])
def test_its_migration_ends_first(phase: str) -> None:
    assert superseded(vmm=VmmView(phase, False)) == [DeleteMigration()]
    assert superseded(vmm=VmmView(phase, True)) == []


@pytest.mark.parametrize("phase", [VmmPhase.ABORTED, VmmPhase.FAILED])
def test_once_it_has_ended_the_old_one_is_over(phase: str) -> None:
    assert words_of(superseded(vmm=VmmView(phase, True))) == SUPERSEDED


def test_past_the_point_of_no_return_it_says_where_the_vm_is() -> None:
    said = superseded(vmm=VmmView(VmmPhase.SUCCEEDED, True, target_node="n2"))
    phase, _, message, _ = words_of(said)
    assert phase is VmopPhase.SUPERSEDED
    assert message == "Superseded by Stop with type Stop; the virtual machine has moved to n2"


def test_a_request_that_was_not_taken_in_is_taken_back() -> None:
    """Else the VM might take in the old one after the new one."""
    old = {"signal": "op;t", "superseded_by": other("Stop!")}
    sent = decide(op("Restart", vm=vm(requests=("op;t",)), **old))
    assert sent[0] == WithdrawSignal()
    assert words_of(sent)[0] is VmopPhase.SUPERSEDED
    taken = decide(op("Restart", vm=vm(requests=("op;t",), handled=("op;t",)), **old))
    assert [type(intent) for intent in taken] == [SetStatus]


FAILURES = {
    # vmm: (reason, message) -> vmop: (reason, message)
    ("TargetUnschedulable", "0/3 nodes"): (
        "TargetUnschedulable",
        "Migration failed: target pod is unschedulable: 0/3 nodes",
    ),
    ("NotConverging", "Live migration stuck for 150 seconds and has been aborted"): (
        "NotConverging",
        "Migration did not converge: Live migration stuck for 150 seconds and has been aborted",
    ),
    ("TargetPrepareTimeout", "Timed out preparing the migration target."): (
        "OperationFailed",
        "Timed out preparing the migration target.",
    ),
    ("Aborted", "Migration aborted"): ("Aborted", "Migration aborted"),
    ("VirtualMachineStopped", "VirtualMachine is stopped"): (
        "Failed",
        "Migration failed: VirtualMachine is stopped",
    ),
    ("Failed", ""): ("Failed", "Migration failed"),
}


@pytest.mark.parametrize("told", FAILURES)
def test_how_a_failure_reads(told: tuple[str, str]) -> None:
    vmm = VmmView(VmmPhase.FAILED, False, *told)
    assert refusal(decide(op("Evict", phase=VmopPhase.IN_PROGRESS, vmm=vmm))) == FAILURES[told]


def test_a_vm_that_cannot_move_is_not_tried() -> None:
    words = "VirtualMachine is not migratable, cannot be processed."
    said = decide(op("Evict", vm=vm(migratable=False)))
    assert refusal(said) == ("OperationFailed", words)


def test_a_move_is_over_when_the_vm_was_lost_on_its_target_before_it_was_seen_there() -> None:
    moved = VmmView(
        VmmPhase.SUCCEEDED,
        False,
        target_node="n2",
        source_pod="d8v-vm-a-srcsr",
        target_pod="default/d8v-vm-a-tgtgt",
    )

    def says(**now: object) -> VmopPhase:
        (said,) = decide(op("Evict", phase=VmopPhase.IN_PROGRESS, vm=vm(**now), vmm=moved))
        assert isinstance(said, SetStatus)
        return said.phase

    assert says(holder_pod="d8v-vm-a-tgtgt", node="n1") is VmopPhase.IN_PROGRESS
    assert says(holder_pod="d8v-vm-a-srcsr", node="n1") is VmopPhase.IN_PROGRESS  # an old lease
    assert says(holder_pod="", node="n1") is VmopPhase.IN_PROGRESS
    assert says(holder_pod="d8v-vm-a-again", node="n3") is VmopPhase.COMPLETED


@pytest.mark.parametrize("kind", ["Start", "Restart"])
def test_a_start_is_over_when_the_guest_was_off_again_before_it_was_seen_to_run(kind: str) -> None:
    """Its node was cut off meanwhile, so the Pod never said Running."""
    words = "The VirtualMachine was off again before it was seen running: GuestShutdown"
    off = {"phase": "Stopped", "wanted": False, "holder": "", "last_reason": "GuestShutdown"}

    def says(signal: str = "s", **now: object) -> tuple[str, str] | None:
        known = {"handled": ("s",), **off, **now}
        asked = op(kind, phase=VmopPhase.IN_PROGRESS, signal=signal, vm=vm(**known))
        return refusal(decide(asked))

    assert says() == ("OperationFailed", words)
    assert says(last_reason="") == ("OperationFailed", words.partition(":")[0])
    assert says(wanted=True) is None  # it crashed, and is started again
    assert says(phase="Stopping") is None
    assert says(handled=(), requests=("s",)) is None  # it is off since before


def test_a_stop_is_completed_when_the_vm_is_off() -> None:
    known = vm(phase="Stopped", wanted=False, handled=("s",))
    (said,) = decide(op("Stop", phase=VmopPhase.IN_PROGRESS, signal="s", vm=known))
    assert isinstance(said, SetStatus)
    assert said.phase is VmopPhase.COMPLETED
