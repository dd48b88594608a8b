"""What a drain shows: one row for each Pod that is to leave, made from objects alone. Pure but for ``Screen``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from drover.answers.asking import Names
from drover.answers.rules import BLOCKED_RULES
from drover.api import conditions
from drover.api.evacuation import blocked_of
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vmop import VmopCondition, VmopPhase
from drover.api.names import VmmPhase
from drover.api.wire import Object
from drover.cli.session import PROGRAM, say, spoken
from drover.controllers.vmop.following import QUEUED

MIB = 2**20
_GOING_ON = ("Eviction triggered", "Evacuation in progress")  # says no more than the row itself
LINE_S = 1.0  # between two lines of progress of one VM, where there is no terminal


@dataclass(frozen=True)
class Row:
    """One Pod, or the VM in it. ``state``: waiting, preparing, copying, leaving, moved, gone, blocked or failed."""

    name: str
    state: str
    detail: str = ""
    percent: int = 0
    way_out: str = ""

    @property
    def done(self) -> bool:
        return self.state in ("moved", "gone")

    def text(self) -> str:
        if self.state == "moved":
            return f"moved to {self.detail}"
        words = {"copying": f"copying {self.percent} %", "gone": "has left"}
        said = words.get(self.state, self.state)
        return f"{said}: {self.detail}" if self.detail else said

    def json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value not in ("", 0)}


@dataclass(frozen=True)
class Seen:
    """The objects around one Pod that is to leave."""

    namespace: str
    pod_name: str
    vm_name: str  # empty: it is no VM's
    node: str
    pod: Object | None  # None: gone
    vm: Object | None
    vmop: Object | None  # of its evacuation, or whichever moves it
    vmm: Object | None
    answer: str = ""  # to the last eviction, when it was refused
    failed: str = ""  # to an eviction that is not tried again


def row(seen: Seen) -> Row:
    """What is to be told of it."""
    name = f"{seen.namespace}/{seen.vm_name or seen.pod_name}"
    left = seen.pod is None or pods.ended(seen.pod)
    if not seen.vm_name:
        return Row(name, "gone") if seen.pod is None else _plain(name, seen)
    if left and seen.vm is not None:
        now, phase = vms.node_name(seen.vm), vms.phase(seen.vm)
        if now and now != seen.node:
            return Row(name, "moved", now, 100)
        return Row(name, "gone", f"the VM is {phase}")
    if left:
        return Row(name, "gone")
    blocked = blocked_of(seen.pod) if seen.pod is not None else None
    moving = seen.vmop is not None and not vmops.finished(seen.vmop)
    if seen.failed:
        return Row(name, "failed", seen.failed)
    if moving:
        assert seen.vmop is not None
        return _moving(name, seen.vmop, seen.vmm)
    if seen.vm is not None and vms.node_name(seen.vm) not in ("", seen.node):
        return Row(name, "leaving", f"moved to {vms.node_name(seen.vm)}, its former Pod ends", 100)
    if blocked is not None:
        return Row(name, "blocked", blocked.message, way_out=_way_out(blocked.reason, seen))
    return Row(name, "waiting", "" if seen.answer.startswith(_GOING_ON) else seen.answer)


def _plain(name: str, seen: Seen) -> Row:
    if seen.failed:
        return Row(name, "failed", seen.failed)
    if seen.answer:
        way = f"`{PROGRAM} k get pdb -n {seen.namespace}` shows the budgets that forbid it"
        return Row(name, "blocked", seen.answer, way_out=way)
    return Row(name, "waiting", "until it has ended")


def _moving(name: str, vmop: Object, vmm: Object | None) -> Row:
    condition = conditions.get_condition(vmop, VmopCondition.COMPLETED) or {}
    message = str(condition.get("message", ""))
    if vmm is None or vmops.phase(vmop) in (None, VmopPhase.PENDING):
        return Row(name, "waiting", "for its turn" if message == QUEUED else message.rstrip("."))
    phase = vmms.phase(vmm)
    if phase == VmmPhase.COPYING:
        return Row(name, "copying", _copied(vmm), vmops.progress_percent(vmop))
    where = vmms.target_node(vmm)
    if phase == VmmPhase.SCHEDULING and str(vmms.status(vmm).get("reason", "")):
        return Row(name, "waiting", message)
    return Row(name, "preparing", f"on {where}" if where else "looking for a node")


def _copied(vmm: Object) -> str:
    said = vmms.source_report(vmm)
    if not said.get("ramTotalBytes"):
        return f"to {vmms.target_node(vmm)}"
    left = int(said.get("ramRemainingBytes", 0)) // MIB
    dirty = int(said.get("dirtyBytesPerSecond", 0)) / MIB
    return f"to {vmms.target_node(vmm)}, {left} MiB to go, {dirty:.1f} MiB/s written"


def _way_out(reason: str, seen: Seen) -> str:
    """As `why` tells it."""
    rule = BLOCKED_RULES.get(reason)
    return spoken(Names(seen.vm_name, seen.namespace).fill(rule.way_out)) if rule else ""


class Screen:
    """Rows on a terminal, drawn anew in place; elsewhere a line for each change."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._drawn = 0
        self._told: dict[str, tuple[str, float]] = {}

    def show(self, rows: Sequence[Row], footer: str, now_s: float) -> None:
        if self._quiet:
            return
        if sys.stdout.isatty():
            self._draw(rows, footer)
            return
        for one in rows:
            before, at_s = self._told.get(one.name, ("", -LINE_S))
            text = one.text()
            only_progress = one.state == "copying" and before.startswith("copying")
            if text == before or (only_progress and now_s - at_s < LINE_S):
                continue
            self._told[one.name] = (text, now_s)
            say(f"{one.name:<30} {text}")
            if one.way_out and not before.startswith(one.state):
                say(f"{'':<30} way out: {one.way_out}")

    def _draw(self, rows: Sequence[Row], footer: str) -> None:
        size = shutil.get_terminal_size()
        lines = [f"  {one.name:<30} {one.text()}" for one in rows]
        most = max(3, size.lines - 4)
        if len(lines) > most:
            told = sorted(
                (one for one in rows if not one.done), key=lambda one: one.state == "waiting"
            )
            lines = [f"  {one.name:<30} {one.text()}" for one in told[: most - 1]]
            lines.append(f"  ... {len(rows)} in all")
        ways = {one.way_out for one in rows if one.way_out}
        lines += [f"  way out: {way}" for way in sorted(ways)][:2]
        lines.append(f"  {footer}")
        up = f"\033[{self._drawn}A" if self._drawn else ""
        body = "\n".join(f"\r\033[K{line[: size.columns - 1]}" for line in lines)
        click.echo(f"{up}\033[J{body}")
        self._drawn = len(lines)


def summary(rows: Sequence[Row]) -> Mapping[str, int]:
    """How many of each state."""
    counts: dict[str, int] = {}
    for one in rows:
        counts[one.state] = counts.get(one.state, 0) + 1
    return counts
