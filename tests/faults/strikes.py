"""Carries out a fault on one migration, at once: who is who is found before it is needed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.cells import Fault

from drover.lab import faults, processes
from drover.lab.lab import Lab

_AGENTS = {
    Fault.SOURCE_AGENT: ("source", signal.SIGKILL),
    Fault.TARGET_AGENT: ("target", signal.SIGKILL),
    Fault.FREEZE_SOURCE: ("source", signal.SIGSTOP),
    Fault.FREEZE_TARGET: ("target", signal.SIGSTOP),
}
FREEZES = {Fault.FREEZE_SOURCE: "source", Fault.FREEZE_TARGET: "target"}
_PARTS = {
    Fault.APISERVER: ("apiserver", signal.SIGKILL),
    Fault.ETCD: ("etcd", signal.SIGKILL),
    Fault.CONTROLLERS: ("controllers", signal.SIGKILL),
    Fault.FREEZE_ETCD: ("etcd", signal.SIGSTOP),
}
_ISOLATED = {Fault.ISOLATE_SOURCE: "source", Fault.ISOLATE_TARGET: "target"}
_POWERED_OFF = {Fault.POWER_SOURCE: "source", Fault.POWER_TARGET: "target"}
_QEMUS = {Fault.SOURCE_QEMU: "source", Fault.TARGET_QEMU: "target"}


@dataclass
class Cast:
    """Who plays in a migration, by process."""

    lab: Lab
    vm: str
    source: str
    target: str = ""
    agents: dict[str, int] = field(default_factory=dict)
    qemus: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)

    def look(self) -> None:
        """Find everybody; those who are not there (yet) are left out."""
        mine = {"source": self.source, "target": self.target}
        machines = processes.machines(self.lab.lab_id)
        self.parts = processes.control_plane_parts(self.lab.lab_id)
        for role, node in mine.items():
            if not node:
                continue
            agents = processes.agents(self.lab.lab_id, node)
            self.agents.update({role: agents[0]} if agents else {})
            qemus = [m.pid for m in machines if m.node == node and m.vm == self.vm]
            self.qemus.update({role: qemus[0]} if qemus else {})

    def node(self, role: str) -> str:
        return self.source if role == "source" else self.target

    def freeze(self, role: str) -> None:
        """Hold a story: stop an agent."""
        processes.send([self.agents[role]], signal.SIGSTOP)

    def thaw(self, role: str) -> None:
        processes.send([self.agents[role]], signal.SIGCONT)


Mend = Callable[[], None]


def strike(cast: Cast, fault: Fault) -> Mend | None:
    """Do it. What is returned takes it back, and must be called when the fault has lasted long enough."""
    if fault in _AGENTS:
        role, number = _AGENTS[fault]
        return _signal(cast.agents.get(role), number)
    if fault in _PARTS:
        part, number = _PARTS[fault]
        return _signal(cast.parts.get(part), number)
    if fault in _QEMUS:
        return _signal(cast.qemus.get(_QEMUS[fault]), signal.SIGKILL)
    if fault is Fault.CUT:
        faults.cut(cast.lab, cast.source, cast.target)
        return lambda: _do(faults.mend, cast.lab, cast.source, cast.target)
    if fault in _ISOLATED:
        node = cast.node(_ISOLATED[fault])
        faults.isolate(cast.lab, node)
        return lambda: _do(faults.rejoin, cast.lab, node)
    if fault in _POWERED_OFF:
        node = cast.node(_POWERED_OFF[fault])
        faults.power_off(cast.lab, node)
        return lambda: _do(faults.power_on, cast.lab, node)
    if fault is Fault.CUT_FOR_GOOD:
        faults.cut(cast.lab, cast.source, cast.target)
        return lambda: _do(faults.mend, cast.lab, cast.source, cast.target)
    if fault is Fault.LAST_WORD:
        faults.lose_last_word(cast.lab, cast.target, cast.source)
        return lambda: _do(faults.slow, cast.lab, cast.target, None)
    return None


def _signal(pid: int | None, number: signal.Signals) -> Mend | None:
    assert pid is not None, "whom the fault is meant for is not running"
    processes.send([pid], number)
    if number is signal.SIGSTOP:
        return lambda: processes.send([pid], signal.SIGCONT)
    return None


def _do(action: Callable[..., str], *arguments: object) -> None:
    action(*arguments)
