"""What a restored VM lease must say, from what all nodes report: ``settled(view) -> spec``. Pure.

The restored lease may be of long ago. What counts is who runs the VM now:

- One node reports it: the lease names that copy.
- Two do (a migration was under way when the backup was restored): the one that held the lease at the higher epoch.
  If neither is known to, nothing is done until one of them ends.
- Nobody does, and the lease names the present life of a node that has reported: it stays so, and that node decides as
  always whether it starts the copy or releases the lease. It alone knows whether a start is under way.
- Nobody does, and the lease names a life that is over: it is released, and the VM's runPolicy decides.

Each time the epoch is raised by more than it can have risen since the backup, so that agents, who remember the highest
one, believe it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from drover.api import names
from drover.api.kinds import vml as vmls
from drover.api.wire import Object


@dataclass(frozen=True)
class Runner:
    """A copy of a VM that a node reports. ``epoch``: at which it held the lease last; 0 is not known."""

    node: str
    life: str
    pod: str
    epoch: int


@dataclass(frozen=True)
class LeaseView:
    """One VM: its restored lease, who reports to run it, and the present lives of all nodes that have reported."""

    lease: Object | None
    runners: tuple[Runner, ...]
    lives: frozenset[tuple[str, str]]  # node and life


def runner(view: LeaseView) -> tuple[Runner | None, bool]:
    """Who runs it; and whether that is certain."""
    if len(view.runners) < 2:
        return (view.runners[0] if view.runners else None), True
    last, other = sorted(view.runners, key=lambda one: -one.epoch)[:2]
    return (last, True) if last.epoch > other.epoch else (None, False)


def settled(view: LeaseView) -> dict[str, Any] | None:
    """The spec of the lease; None: it is not certain who runs the VM."""
    runs, certain = runner(view)
    if not certain:
        return None
    before = dict(view.lease["spec"]) if view.lease is not None else _NEVER_HELD
    epoch = int(before["epoch"]) + vmls.RESTORE_LEAP
    if runs is not None:
        named = {"holder": runs.pod, "node": runs.node, "nodeIncarnation": runs.life}
        return {**before, **named, "epoch": epoch, "lastReason": names.LastReason.RESTORED}
    if not before["holder"]:
        return {**before, "epoch": epoch}
    if (before["node"], before["nodeIncarnation"]) in view.lives:
        return {**before, "epoch": epoch, "lastReason": names.LastReason.RESTORED}
    return {**_NEVER_HELD, "epoch": epoch, "lastReason": names.LastReason.RESTORED}


_NEVER_HELD: dict[str, Any] = {
    "holder": "",
    "node": "",
    "nodeIncarnation": "",
    "epoch": 0,
    "disks": [],
}
