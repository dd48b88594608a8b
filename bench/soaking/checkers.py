"""Judges of a soak, over evidence from the real thing. Pure; each gives what is wrong in sentences, or nothing.

They are the simulation's checkers as far as the real thing lets one see: the guest's own disk says who wrote it, the
VM leases say who was allowed to, the machine says what is left over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# Two QEMUs of a VM that does not move, so many looks in a row: a process takes a while to end.
MOST_LOOKS = 3
MOST_MORE_FDS = 24  # of one process after the soak: connections come and go
MOST_MIB_PER_MINUTE = 5.0
LEAST_LIFE_S = 240.0  # of a process whose growth is judged: a young one fills its caches


@dataclass(frozen=True)
class Life:
    """Of one VM, at the end. ``boots``: who wrote its ledger, each time it was somebody else."""

    vm: str
    boots: Sequence[str]
    duplicates: int
    missing: int
    now: str  # the boot that runs
    epoch: int  # of its lease: no less than the changes of hands


def guests(lives: Iterable[Life]) -> list[str]:
    """No VM ran twice: its disk would have two writers (S1)."""
    wrong = []
    for life in lives:
        again = sorted({boot for boot in life.boots if list(life.boots).count(boot) > 1})
        if again:
            wrong.append(f"{life.vm} ran twice: {again[0]} wrote its disk before and after another")
        if life.duplicates or life.missing:
            wrong.append(
                f"{life.vm} has {life.duplicates} lines twice and {life.missing} never in its ledger"
            )
        if not life.boots or life.boots[-1] != life.now:
            wrong.append(f"{life.vm} runs as {life.now}, and {life.boots[-1:]} wrote its disk last")
        if len(life.boots) > life.epoch:
            wrong.append(
                f"{life.vm} was started {len(life.boots)} times on {life.epoch} changes of its lease"
            )
    return wrong


@dataclass(frozen=True)
class Hand:
    """A VM lease as it was seen, in the order of its versions."""

    vm: str
    uid: str
    epoch: int
    holder: str


def hands(seen: Iterable[Hand]) -> list[str]:
    """Each change of hands raises the epoch; nobody else has the same one (S2, S4)."""
    wrong = []
    last: dict[tuple[str, str], Hand] = {}
    for hand in seen:
        before = last.get((hand.vm, hand.uid))
        last[(hand.vm, hand.uid)] = hand
        if before is None:
            continue
        if hand.epoch < before.epoch:
            wrong.append(f"the epoch of {hand.vm} fell from {before.epoch} to {hand.epoch}")
        if hand.epoch == before.epoch and hand.holder != before.holder:
            wrong.append(f"{hand.vm} changed hands within epoch {hand.epoch}")
    return wrong


@dataclass(frozen=True)
class Look:
    """The QEMUs of all VMs at one moment, and which VMs a migration, or its end, explains two of."""

    at_s: float
    copies: Mapping[str, int]
    moving: frozenset[str] | None  # None: the API did not say


def twins(looks: Iterable[Look]) -> list[str]:
    """No two QEMUs of a VM that does not move."""
    wrong: list[str] = []
    row: dict[str, int] = {}
    for look in looks:
        for vm in {*row, *look.copies}:
            alone = look.copies.get(vm, 0) < 2
            excused = look.moving is None or vm in look.moving
            row[vm] = 0 if alone or excused else row.get(vm, 0) + 1
            if row[vm] == MOST_LOOKS:
                wrong.append(
                    f"{look.copies[vm]} QEMUs of {vm} at {look.at_s:.0f} s, and none moves"
                )
    return wrong


@dataclass(frozen=True)
class Stock:
    """What a lab has of everything at rest."""

    processes: Mapping[str, int]  # by what they are
    fds: Mapping[str, int]  # of the largest of each
    namespaces: int
    links: int
    mounts: int


def leaks(before: Stock, after: Stock) -> list[str]:
    """At rest after the soak there is as much of everything as at rest before it."""
    wrong = []
    for kind in sorted({*before.processes, *after.processes}):
        was, now = before.processes.get(kind, 0), after.processes.get(kind, 0)
        if now != was:
            wrong.append(f"{now} processes of {kind}, and {was} before")
    for kind, now in sorted(after.fds.items()):
        if now > before.fds.get(kind, now) + MOST_MORE_FDS:
            wrong.append(f"{kind} has {now} open files, and {before.fds[kind]} before")
    for what in ("namespaces", "links", "mounts"):
        was, now = getattr(before, what), getattr(after, what)
        if now > was:
            wrong.append(f"{now} {what}, and {was} before")
    return wrong


@dataclass
class Course:
    """What one process used as time went on."""

    name: str
    at_s: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)

    @property
    def life_s(self) -> float:
        return self.at_s[-1] - self.at_s[0] if self.at_s else 0.0


def slope(at: Sequence[float], values: Sequence[float]) -> float:
    """Of the straight line through these points, by least squares; 0 of fewer than two."""
    if len(at) < 2:
        return 0.0
    middle, mean = sum(at) / len(at), sum(values) / len(values)
    spread = sum((x - middle) ** 2 for x in at)
    if not spread:
        return 0.0
    return sum((x - middle) * (y - mean) for x, y in zip(at, values, strict=True)) / spread


def late_slope(course: Course) -> float:
    """MiB a minute over the later half of its life: what is filled once does not count."""
    half = len(course.at_s) // 2
    return 60 * slope(course.at_s[half:], course.mib[half:])


def growth(courses: Iterable[Course]) -> list[str]:
    """Nothing that lived long goes on to grow."""
    return [
        f"{course.name} grows by {late_slope(course):.1f} MiB a minute"
        for course in courses
        if course.life_s >= LEAST_LIFE_S and late_slope(course) > MOST_MIB_PER_MINUTE
    ]
