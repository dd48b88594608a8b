"""Should the VM run? One memory (``status.power``) and one function that advances it by what has happened.

Events are consumed exactly once, because the memory says which were: a release of the lease by its epoch, a request
by its text, a Pod that failed before it ever held the lease by its uid. The memory is written before anything is done
about it, so a crash between both repeats the deed and not the decision.

The table (runPolicy x reason of the release), where the VM was wanted on and nobody asked for a stop or restart:

    reason                                  AlwaysOn  AlwaysOnUnlessStopped..  Manual  AlwaysOff
    GuestReset, ResetDuringMigration        start     start                    start   stay off
    GuestShutdown                           start     stay off                 off     off
    Crashed, GuestPanicked, StartFailed     start*    start*                   off     off     * after a back-off
    PodDeleted, NodeLost, NodeRestarted     start     start                    off     off
    Restored                                start     start                    off     off
    Stopped, StoppedForced (not by us)      start     stay off                 off     off
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from drover.api.kinds.vm import RunPolicy
from drover.api.names import LastReason
from drover.base.backoff import Backoff
from drover.controllers.vm.view import RESTART_REQUEST, START_REQUEST, STOP_REQUEST, Request

CRASH_BACKOFF = Backoff(first_s=10, most_s=300)
STEADY_S = 600  # who lived this long starts with a clean record

ALWAYS_ON = RunPolicy.ALWAYS_ON
ALWAYS_OFF = RunPolicy.ALWAYS_OFF
MANUAL = RunPolicy.MANUAL
UNLESS_STOPPED = RunPolicy.ALWAYS_ON_UNLESS_STOPPED_MANUALLY

DISCARDED = -1

_GUEST_RESETS = (LastReason.GUEST_RESET, LastReason.RESET_DURING_MIGRATION)
_CRASHES = (LastReason.CRASHED, LastReason.GUEST_PANICKED, LastReason.START_FAILED)
_LOST = (
    LastReason.POD_DELETED,
    LastReason.NODE_LOST,
    LastReason.NODE_RESTARTED,
    LastReason.RESTORED,
)


@dataclass(frozen=True)
class Note:
    """An Event to be: why the VM was started or stopped."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Power:
    """``status.power``. ``starters`` are the Pods that were chosen to start the VM, each with the epoch of the lease
    at that time: a lease above it means that the Pod has had its turn. ``DISCARDED``: it shall not get one."""

    wanted: bool
    policy: str
    lease: str = ""  # uid of the vml that may be acquired
    epoch: int = -1  # of the last release that was dealt with
    top: int = 0  # highest epoch seen
    failures: int = 0  # crashes in a row
    not_before_s: int = 0  # Unix time before which no new start is made
    stop: str = ""  # how the present stop was asked for: "", "graceful" or "force"
    restart: str = ""  # a restart goes on: "graceful" or "force"; ends with the next release
    failed_pod: str = ""  # uid of the last Pod that failed without ever holding the lease
    starters: dict[str, int] = field(default_factory=dict)
    handled: dict[str, str] = field(default_factory=dict)  # request annotation -> text
    last_request: str = ""

    @staticmethod
    def load(memory: dict[str, Any]) -> Power | None:
        """None: this VM was never looked at."""
        if not memory:
            return None
        known = {name: memory[name] for name in Power.__dataclass_fields__ if name in memory}
        return Power(**known)

    def save(self) -> dict[str, Any]:
        """Without what is empty, so that it reads well in the object."""
        keep = ("wanted", "policy", "epoch", "top")
        return {
            name: getattr(self, name)
            for name in Power.__dataclass_fields__
            if name in keep or getattr(self, name)
        }


@dataclass(frozen=True)
class Happened:
    """What the power decision looks at."""

    policy: RunPolicy
    now_s: float
    lease_uid: str = ""  # of the VM's own vml; empty: there is none
    holder: str = ""
    epoch: int = -1
    last_reason: str = ""
    lived_s: float | None = None  # since the last start
    failed_pod: str = ""  # uid of the newest failed Pod that was no starter's turn
    starters: tuple[str, ...] = ()  # uids of the Pods that may still start the VM
    requests: dict[str, Request] = field(default_factory=dict)
    restart_for_changes: bool = False


def advance(power: Power | None, seen: Happened) -> tuple[Power, list[Note]]:
    """The memory after everything new was taken in, and why."""
    notes: list[Note] = []
    if power is None:
        power = Power(wanted=False, policy="")
    power = _policy(power, seen, notes)
    power = _release(power, seen, notes)
    power = _failed_pod(power, seen, notes)
    for annotation, request in seen.requests.items():
        if power.handled.get(annotation) != request.text:
            power = _request(power, seen, annotation, request, notes)
    if seen.restart_for_changes and seen.holder and power.wanted and not power.restart:
        power = replace(power, restart="graceful")
        notes.append(Note("ChangesApplied", "Restart initiated by controller to apply changes"))
    return power, notes


def _policy(power: Power, seen: Happened, notes: list[Note]) -> Power:
    policy, before = seen.policy, power.policy
    if policy == before:
        return power
    power = replace(power, policy=str(policy))
    if policy is ALWAYS_OFF:
        if power.wanted:
            notes.append(Note("Stopped", "Stop initiated by controller to ensure AlwaysOff policy"))
        return replace(power, wanted=False, stop="graceful", restart="")
    starts = policy is ALWAYS_ON or (policy is UNLESS_STOPPED and before in ("", str(ALWAYS_OFF)))
    if starts and not power.wanted:
        notes.append(Note("Started", f"Start initiated by controller for {policy} policy"))
        return _turned_on(power, seen)
    return power


def _turned_on(power: Power, seen: Happened) -> Power:
    """Wanted from now on. If it still stops, that stop becomes a restart."""
    restart = (power.stop or power.restart) if seen.holder else ""
    return replace(power, wanted=True, stop="", restart=restart, failures=0, not_before_s=0)


def _release(power: Power, seen: Happened, notes: list[Note]) -> Power:
    """The lease is released at an epoch that was not dealt with yet."""
    power = replace(power, top=max(power.top, seen.epoch))
    if not seen.lease_uid or seen.holder or seen.epoch <= power.epoch:
        return power
    power = replace(power, epoch=seen.epoch)
    if not seen.last_reason:
        return power  # a new lease that was never held
    if power.restart or not power.wanted:
        return replace(power, restart="", stop="", failures=0, not_before_s=0)
    if not starts_again(seen.policy, seen.last_reason):
        message = (
            "Stop initiated from inside the guest VirtualMachine"
            if seen.last_reason == LastReason.GUEST_SHUTDOWN
            else f"The virtual machine has ended ({seen.last_reason}); runPolicy {seen.policy} leaves it stopped"
        )
        notes.append(Note("Stopped", message, seen.last_reason in _CRASHES))
        return replace(power, wanted=False, stop="", failures=0, not_before_s=0)
    notes.append(_restart_note(seen.policy, seen.last_reason))
    if seen.last_reason not in _CRASHES:
        return power
    steady = seen.lived_s is not None and seen.lived_s >= STEADY_S
    return _crashed(power, seen, 1 if steady else power.failures + 1)


def _crashed(power: Power, seen: Happened, failures: int) -> Power:
    not_before_s = int(seen.now_s + CRASH_BACKOFF.delay_s(failures) + 0.999)
    return replace(power, failures=failures, not_before_s=not_before_s)


def starts_again(policy: RunPolicy, reason: str) -> bool:
    """The table of the header."""
    if policy is ALWAYS_OFF:
        return False
    if policy is ALWAYS_ON or reason in _GUEST_RESETS:
        return True
    return policy is UNLESS_STOPPED and reason in (*_CRASHES, *_LOST)


def _restart_note(policy: RunPolicy, reason: str) -> Note:
    if reason in (*_GUEST_RESETS, LastReason.GUEST_SHUTDOWN):
        return Note(
            "Restarted",
            "Restart initiated by controller after stopping from inside the guest VirtualMachine"
            f" for {policy} runPolicy",
        )
    return Note(
        "Restarted",
        f"Restart initiated by controller after observing failed guest VirtualMachine for {policy} runPolicy"
        f" ({reason})",
        warning=True,
    )


def _failed_pod(power: Power, seen: Happened, notes: list[Note]) -> Power:
    """A Pod ended before it ever held the lease: there is no release to tell of it."""
    if not seen.failed_pod or seen.failed_pod == power.failed_pod:
        return power
    power = replace(power, failed_pod=seen.failed_pod)
    if not power.wanted or seen.holder:
        return power
    notes.append(
        Note("Restarted", "The Pod of the virtual machine failed before its start", warning=True)
    )
    return _crashed(power, seen, power.failures + 1)


def _request(
    power: Power, seen: Happened, annotation: str, request: Request, notes: list[Note]
) -> Power:
    power = replace(
        power, handled={**power.handled, annotation: request.text}, last_request=request.text
    )
    how = "force" if request.force else "graceful"
    if annotation == START_REQUEST and seen.policy is not ALWAYS_OFF:
        notes.append(Note("Started", "Start initiated with VirtualMachineOperation"))
        return power if power.wanted else _turned_on(power, seen)
    if annotation == STOP_REQUEST and seen.policy in (MANUAL, UNLESS_STOPPED):
        notes.append(Note("Stopped", "Stop initiated with VirtualMachineOperation"))
        return replace(power, wanted=False, stop=how, restart="")
    if annotation == RESTART_REQUEST and seen.policy is not ALWAYS_OFF:
        notes.append(Note("Restarted", "Restart initiated with VirtualMachineOperation"))
        power = replace(power, wanted=True, stop="", failures=0, not_before_s=0)
        if seen.holder:
            return replace(power, restart=how)
        # Nothing runs yet, so no release will come: the Pod under way is given up for a new one.
        return replace(
            power, starters={**power.starters, **dict.fromkeys(seen.starters, DISCARDED)}
        )
    return power
