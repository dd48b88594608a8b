"""What to do next about the rollout: ``decide(view) -> intents``. Pure.

An attempt has failed when its operation has, and also when it moved its VM and the VM is still outdated. The retry of a
VM counts from the end of its last failure, the stop counts failures in a row over all VMs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from drover.api.kinds.vmop import VmopPhase
from drover.base.backoff import Backoff
from drover.controllers.firmware.view import Attempt, FirmwareView, OutdatedVm, Rollout

RETRY = Backoff(first_s=5, most_s=300)
MOST_FAILURES = 3  # in a row
SETTLE_S = 5.0  # from the end of a move to the news of what the VM runs on
MOST_NAMED = 10  # VMs in a message


class Reason:
    """Of the condition FirmwareRolledOut."""

    NO_VERSION = "NoVersionWanted"
    DISABLED = "Disabled"
    UP_TO_DATE = "UpToDate"
    IN_PROGRESS = "InProgress"
    BLOCKED = "Blocked"
    STOPPED = "Stopped"


@dataclass(frozen=True)
class Intent:
    """One act of the controller."""


@dataclass(frozen=True)
class Begin(Intent):
    """Note a new rollout; what follows waits for it."""

    rollout: Rollout


@dataclass(frozen=True)
class Create(Intent):
    """``after``: uid of the VM's failure before it; makes the name, so that creating it twice makes one."""

    vm: str
    after: str


@dataclass(frozen=True)
class Report(Intent):
    done: bool
    reason: str
    message: str


@dataclass(frozen=True)
class LookAgain(Intent):
    after_s: float


def decide(view: FirmwareView) -> list[Intent]:
    """The next acts, in order. Empty but for the report: wait for a change."""
    if not view.begun:
        number = view.rollout.number + 1 if view.rollout is not None else 1
        return [Begin(Rollout(view.wanted, view.token, number))]
    if not view.wanted:
        return [Report(True, Reason.NO_VERSION, "")]
    if not view.enabled:
        return [Report(not view.outdated, Reason.DISABLED, f"{_count(view)}; updates are off")]
    if not view.outdated:
        return [Report(True, Reason.UP_TO_DATE, _count(view))]
    row = failures_in_a_row(view)
    if len(row) >= MOST_FAILURES:
        return [Report(False, Reason.STOPPED, _stopped(view, row[-1]))]
    return _go_on(view)


def failures_in_a_row(view: FirmwareView) -> list[Attempt]:
    """The newest last."""
    found: list[Attempt] = []
    for attempt in view.attempts:
        if _failed(view, attempt):
            found.append(attempt)
        elif attempt.phase is VmopPhase.COMPLETED:
            found = []
    return found


def _failed(view: FirmwareView, attempt: Attempt) -> bool:
    if attempt.phase is VmopPhase.COMPLETED:
        still = any(vm.key == attempt.vm for vm in view.outdated)
        return still and view.now_s - attempt.ended_s > SETTLE_S
    return attempt.phase is VmopPhase.FAILED


def _go_on(view: FirmwareView) -> list[Intent]:
    unfinished = {attempt.vm for attempt in view.attempts if not attempt.finished}
    waits: list[float] = []
    ready: list[tuple[OutdatedVm, str]] = []
    for vm in view.outdated:
        if vm.key in unfinished or vm.busy or vm.obstacle:
            continue
        failures = [a for a in view.attempts if a.vm == vm.key and _counts_for_wait(a)]
        wait_s = _wait_s(view, failures)
        if wait_s > 0:
            waits.append(wait_s)
        else:
            ready.append((vm, failures[-1].uid if failures else ""))
    intents: list[Intent] = [
        Create(vm.key, after)
        for vm, after in _spread(view, ready, unfinished)[: max(view.most - len(unfinished), 0)]
    ]
    intents.append(_report(view, bool(intents or unfinished or waits)))
    if waits:
        intents.append(LookAgain(min(waits)))
    return intents


def _counts_for_wait(attempt: Attempt) -> bool:
    """A completed one counts too: its VM is still outdated."""
    return attempt.phase in (VmopPhase.FAILED, VmopPhase.COMPLETED)


def _wait_s(view: FirmwareView, failures: list[Attempt]) -> float:
    if not failures:
        return 0.0
    return RETRY.left_s(failures[-1].ended_s + RETRY.delay_s(len(failures)), view.now_s)


def _spread(
    view: FirmwareView, ready: list[tuple[OutdatedVm, str]], unfinished: set[str]
) -> list[tuple[OutdatedVm, str]]:
    """Those on nodes that nothing leaves yet first: a node has few slots."""
    leaving = Counter(vm.node for vm in view.outdated if vm.key in unfinished)
    placed = []
    for vm, after in sorted(ready, key=lambda one: one[0].key):
        placed.append((leaving[vm.node], vm, after))
        leaving[vm.node] += 1
    return [(vm, after) for _, vm, after in sorted(placed, key=lambda one: (one[0], one[1].key))]


def _report(view: FirmwareView, moves: bool) -> Report:
    held = [f"{vm.key}: {vm.obstacle}" for vm in view.outdated if vm.obstacle]
    said = [_count(view), *_named(held)]
    last = next((a for a in reversed(view.attempts) if _failed(view, a)), None)
    if last is not None:
        said.append(_last(last))
    busy = any(vm.busy for vm in view.outdated)
    reason = Reason.IN_PROGRESS if moves or busy else Reason.BLOCKED
    return Report(False, reason, "; ".join(said))


def _stopped(view: FirmwareView, last: Attempt) -> str:
    again = f"set the version again to go on: drover firmware set {view.wanted}"
    return (
        f"stopped after {MOST_FAILURES} failures in a row; {_count(view)}; {_last(last)}; {again}"
    )


def _last(failed: Attempt) -> str:
    return f"the last failure, {failed.name} of {failed.vm}: {failed.message}"


def _count(view: FirmwareView) -> str:
    total = view.current + len(view.outdated)
    return f"{view.current} of {total} running VMs are on QEMU {view.wanted}"


def _named(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_NAMED
    return [*lines[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]
