"""Which operation is applicable when: the tables of the reference platform, as data and small pure functions."""

from __future__ import annotations

from drover.api.kinds.vm import LiveMigrationPolicy, RunPolicy, VmPhase
from drover.api.kinds.vmop import VmopType
from drover.controllers.vmop.view import Other

_ON = (RunPolicy.MANUAL, RunPolicy.ALWAYS_ON_UNLESS_STOPPED_MANUALLY)

RUN_POLICIES: dict[VmopType, tuple[RunPolicy, ...]] = {
    VmopType.START: _ON,
    VmopType.STOP: _ON,
    VmopType.RESTART: (*_ON, RunPolicy.ALWAYS_ON),
    VmopType.EVICT: (*_ON, RunPolicy.ALWAYS_ON),
    VmopType.MIGRATE: (*_ON, RunPolicy.ALWAYS_ON),
}

PHASES: dict[VmopType, tuple[VmPhase, ...]] = {
    VmopType.START: (VmPhase.STOPPED, VmPhase.STOPPING),
    VmopType.STOP: (
        VmPhase.RUNNING,
        VmPhase.DEGRADED,
        VmPhase.STARTING,
        VmPhase.PAUSE,
        VmPhase.PENDING,
    ),
    VmopType.RESTART: (VmPhase.RUNNING, VmPhase.DEGRADED, VmPhase.STARTING, VmPhase.PAUSE),
    VmopType.EVICT: (VmPhase.RUNNING,),
    VmopType.MIGRATE: (VmPhase.RUNNING,),
}


def run_policy_fits(kind: VmopType, policy: RunPolicy) -> bool:
    return policy in RUN_POLICIES[kind]


def phase_fits(kind: VmopType, force: bool, phase: str) -> bool:
    """Stop and Restart also end a VM that is stopping, when forced."""
    if phase in PHASES[kind]:
        return True
    return force and kind in (VmopType.STOP, VmopType.RESTART) and phase == VmPhase.STOPPING


def supersedes(new: Other, old: Other) -> bool:
    """Whether ``new`` may take the place of the unfinished ``old``."""
    if old.type is VmopType.START:
        return new.type is VmopType.STOP
    if old.type in (VmopType.STOP, VmopType.RESTART):
        return not old.force and new.force and new.type in (VmopType.STOP, VmopType.RESTART)
    return new.type in (VmopType.STOP, VmopType.RESTART)


def auto_converge(policy: LiveMigrationPolicy, force: bool | None) -> bool | None:
    """Whether the guest may be slowed down; None: policy and force contradict each other."""
    match policy:
        case LiveMigrationPolicy.ALWAYS_SAFE:
            return None if force else False
        case LiveMigrationPolicy.PREFER_SAFE:
            return bool(force)
        case LiveMigrationPolicy.PREFER_FORCED:
            return force is not False
        case _:
            return None if force is False else True
