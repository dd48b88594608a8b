"""What a keeper remembers between two looks, and loses with the agent. Losing it is always safe."""

from __future__ import annotations

from dataclasses import dataclass

from drover.agent.context import Limits
from drover.agent.ports import (
    MOST_THROTTLE_PERCENT,
    MOVING,
    NO_MIGRATION,
    Listener,
    Machine,
    MigrationInfo,
    MigrationState,
    RunState,
)
from drover.agent.view import HandOverState, MachineView

PRESS_S = 10.0  # between two presses of the power button: a guest that boots does not hear it
DISK_TRY_S = 5.0  # between two tries of a disk that failed
ASK_S = 1.0  # between two questions for the lease, by a guest that stands still and waits for it
COUNTERS_S = 0.5  # between two reports of a copy's counters


@dataclass
class Memory:
    """Times are of the monotonic clock, in seconds."""

    stop_at: float | None = None  # when the grace period ends
    pressed_at: float | None = None
    mine_since: float | None = None
    asked_at: float | None = None  # for the lease, by a guest that waits for it; None: it does not
    silent_since: float | None = None
    # The guest: False once QEMU has said that it runs, until it may have said otherwise.
    may_stand: bool = True
    refused_since: float | None = None  # `cont` fails
    last_migration: MigrationInfo = NO_MIGRATION
    listener: Listener | None = None
    hears: bool = True  # the listener is open, or its connection was taken
    guest_end: str = ""  # QEMU's reason, as an event told it
    disk_error: str = ""  # QEMU's words
    disk_tried_at: float | None = None
    troubles: frozenset[str] = frozenset()  # what was told to users already
    began_here: bool = False  # `migrate` was sent by this very agent process
    let_begin: tuple[str, float] = (
        "",
        0.0,
    )  # uid of the vmm that lets a copy begin, and since when
    copy_began: float | None = None  # when, or when we first saw it
    not_begun: str = ""  # why `migrate` failed, in words for people
    least_remaining: int | None = None
    most_throttle_percent: int = 0
    progress_at: float = 0.0
    stands_since: float | None = None  # the guest stands still for the switchover
    passes_since: float | None = None  # the first pass over memory is done since then
    slowest_since: float | None = None  # the guest is slowed down as far as can be since then
    allowed_ms: int = 0
    counters_at: float | None = None  # when they were told last
    running: bool = False  # QEMU said so last
    agent_ready: bool | None = None  # the guest's agent answered when it was asked last
    message: str = ""  # the last failure in QEMU's own words
    cause: str = ""  # of a failed start, when it has a name of its own
    cancelled: str = ""  # why we cancelled the copy
    gave_up: str = ""  # uid of the vmm of which we said that it failed
    handover_uid: str = ""
    handover: HandOverState = HandOverState.NONE

    def press_s(self, now: float) -> float:
        """How long to wait before the power button is pressed again."""
        return 0.0 if self.pressed_at is None else max(0.0, self.pressed_at + PRESS_S - now)

    def disk_try_s(self, now: float) -> float:
        """How long to wait before a failed disk is tried again."""
        return (
            0.0 if self.disk_tried_at is None else max(0.0, self.disk_tried_at + DISK_TRY_S - now)
        )

    def counters_due(self, now: float) -> bool:
        """Whether the counters of a copy are to be told again; True is taken as a promise to do so."""
        if self.counters_at is not None and now - self.counters_at < COUNTERS_S:
            return False
        self.counters_at = now
        return True

    def mine_for_s(self, mine: bool, now: float) -> float:
        """For how long the lease has named this copy."""
        if not mine:
            self.mine_since = None
        elif self.mine_since is None:
            self.mine_since = now
        return 0.0 if self.mine_since is None else now - self.mine_since

    def ask_s(self, waits: bool, now: float) -> float:
        """How long until the lease is asked for: as a rule its event comes first."""
        if not waits:
            self.asked_at = None
        elif self.asked_at is None:
            self.asked_at = now
        return 0.0 if self.asked_at is None else max(0.0, self.asked_at + ASK_S - now)

    def handover_of(self, uid: str) -> HandOverState:
        return self.handover if uid == self.handover_uid else HandOverState.NONE

    def begin_copy(self, uid: str, now: float, limits: Limits) -> None:
        self.copy_began, self.least_remaining, self.progress_at = now, None, now
        self.began_here, self.most_throttle_percent = True, 0
        self.stands_since = None
        self.passes_since = self.slowest_since = None
        self.allowed_ms = limits.downtime_limit_ms
        self.counters_at = None
        self.not_begun = ""
        self.cancelled, self.handover_uid, self.handover = "", uid, HandOverState.NONE

    def let_for_s(self, uid: str, now: float) -> float:
        """For how long the migration ``uid`` has let the copy begin; empty: it does not."""
        if self.let_begin[0] != uid:
            self.let_begin = (uid, now)
        return now - self.let_begin[1] if uid else 0.0

    def allow_ms(self, now: float, limits: Limits, view: MachineView) -> int:
        """The longer pause to allow now, or 0. A guest that writes faster than 10 ms of link time per pass would be
        copied for ever; most guests do not notice 300 ms (the usual limit elsewhere)."""
        if view.migration.state is not MigrationState.ACTIVE or view.migration.iteration <= 1:
            return 0
        if self.passes_since is None:
            self.passes_since = now
        due = _due(limits.downtime_steps, now - self.passes_since)
        if view.migration.throttle_percent >= MOST_THROTTLE_PERCENT:
            if self.slowest_since is None:
                self.slowest_since = now
            due = max(due, _due(limits.slowed_downtime_steps, now - self.slowest_since))
        return due if due > self.allowed_ms else 0

    def heard(self, event: str) -> None:
        """Whether the guest stands, before QEMU is asked the next time."""
        match event:
            case "STOP" | "RECONNECTED":  # of the time before it nothing was heard
                self.may_stand = True
            case "RESUME":
                self.may_stand = False

    def stalled_s(self, now: float) -> float:
        """For how long the copy has made no progress."""
        return 0.0 if self.least_remaining is None else now - self.progress_at

    def overdue(
        self, now: float, limits: Limits, view: MachineView, machine: Machine | None
    ) -> str:
        """Why a copy in progress takes too long, or empty. Progress is a new minimum of what remains, or that the guest
        is slowed down further: what that does shows only after another pass or two."""
        if view.migration.state not in MOVING or machine is None:
            return ""
        self.not_begun = ""  # it has, although no answer said so
        if self.copy_began is None:  # adopted: count from here
            self.copy_began = self.progress_at = now
        remaining = view.migration.remaining_bytes
        if self.least_remaining is None or remaining < self.least_remaining:
            self.least_remaining, self.progress_at = remaining, now
        if view.migration.throttle_percent > self.most_throttle_percent:
            self.most_throttle_percent, self.progress_at = view.migration.throttle_percent, now
        gib = max(1.0, machine.spec.memory_bytes / 2**30)
        silence_s = limits.silence_s if self.may_stand else limits.silence_running_s
        if self.silent_since is not None and now - self.silent_since > silence_s:
            return "MonitorSilent"
        if view.state is not RunState.FINISH_MIGRATE:
            self.stands_since = None
        elif self.stands_since is None:
            self.stands_since = now
        elif now - self.stands_since > limits.switchover_s:
            return "NoProgress"  # until it is completed, a copy that is cancelled lets the source go on
        if now - self.progress_at > limits.progress_s:
            return "NoProgress"
        if now - self.copy_began > limits.completion_s_per_gib * gib:
            return "TooLong"
        return ""


def _due(steps: tuple[tuple[float, int], ...], passed_s: float) -> int:
    """What the last of the steps that are due allows, in milliseconds."""
    return max((ms for after_s, ms in steps if passed_s >= after_s), default=0)
