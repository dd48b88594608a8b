"""Breaking a lab on purpose, as hardware and networks do. Each returns a sentence about what is now the case.

The unsafe-looking one is ``isolate``: the node's guests run on and its disks stay writable, and nobody outside can
tell. That is the case fencing is for.
"""

from __future__ import annotations

import signal

from drover.lab import links, processes
from drover.lab.errors import LabError
from drover.lab.lab import Lab
from drover.lab.processes import SWITCH


def power_off(lab: Lab, node: str) -> str:
    """SIGKILL of the node's first process: the kernel ends everything in its PID namespace."""
    with lab.home.locked(f"lab power-off {node}"):
        _require_node(lab, node)
        lab.require_running()
        killed = processes.kill_part(lab.lab_id, node)
    return f"{node} is {'now' if killed else 'already'} off."


def power_on(lab: Lab, node: str) -> str:
    """The node begins anew with what is on its disk."""
    from drover.lab.start import start_node

    with lab.home.locked(f"lab power-on {node}"):
        number = _require_node(lab, node)
        found = lab.require_running()
        if node in found:
            return f"{node} is already on."
        links.unplug_node(found[SWITCH], node)
        start_node(lab.home, lab.settings(), number, found[SWITCH])
    return f"{node} is now on; `k get nodes` shows when it is Ready."


def isolate(lab: Lab, node: str) -> str:
    return _cable(lab, node, up=False)


def rejoin(lab: Lab, node: str) -> str:
    return _cable(lab, node, up=True)


def _cable(lab: Lab, node: str, up: bool) -> str:
    with lab.home.locked("lab rejoin" if up else "lab isolate"):
        found = _require_on(lab, node)
        links.set_node_cable(found[SWITCH], node, up)
    return f"{node}'s cable is {'plugged in' if up else 'pulled'}."


def freeze(lab: Lab, node: str) -> str:
    """SIGSTOP to the agent alone; QEMUs and the node's first process go on."""
    return _signal_agent(lab, node, signal.SIGSTOP, "frozen")


def thaw(lab: Lab, node: str) -> str:
    return _signal_agent(lab, node, signal.SIGCONT, "running")


def kill_agent(lab: Lab, node: str) -> str:
    """SIGKILL to the agent alone; it is started again and must adopt what runs."""
    return _signal_agent(lab, node, signal.SIGKILL, "killed")


def _signal_agent(lab: Lab, node: str, number: signal.Signals, state: str) -> str:
    _require_on(lab, node)
    pids = processes.agents(lab.lab_id, node)
    if not pids:
        raise LabError(f"{node}'s agent is not running just now: its log is {_log(lab, node)}")
    processes.send(pids, number)
    return f"{node}'s agent is {state}."


def kill_control_plane_part(lab: Lab, part: str) -> str:
    """SIGKILL one process of the control plane (etcd, apiserver, ...); it is started again."""
    processes.send([_control_plane_pid(lab, part)], signal.SIGKILL)
    return f"{part} is killed; it is started again."


def api_down(lab: Lab) -> str:
    """SIGSTOP to the API server: nobody gets an answer any more, and nobody is told so."""
    processes.send([_control_plane_pid(lab, "apiserver")], signal.SIGSTOP)
    return "the API server answers nobody."


def api_up(lab: Lab) -> str:
    processes.send([_control_plane_pid(lab, "apiserver")], signal.SIGCONT)
    return "the API server answers again."


def _control_plane_pid(lab: Lab, part: str) -> int:
    lab.require_running()
    pid = processes.control_plane_parts(lab.lab_id).get(part)
    if pid is None:
        raise LabError(f"no part of the control plane called {part} is running")
    return pid


def kill_machine(lab: Lab, node: str, vm: str) -> str:
    """SIGKILL the QEMU of a VM (namespace/name) on one node."""
    _require_on(lab, node)
    pids = [m.pid for m in processes.machines(lab.lab_id) if m.node == node and m.vm == vm]
    if not pids:
        raise LabError(f"{vm} has no QEMU on {node}")
    processes.send(pids, signal.SIGKILL)
    return f"the QEMU of {vm} on {node} is killed."


def cut(lab: Lab, node: str, other: str) -> str:
    """Frames between two nodes vanish; both keep the API and the rest of the network."""
    _path(lab, node, other, up=False)
    return f"{node} and {other} do not reach each other."


def mend(lab: Lab, node: str, other: str) -> str:
    _path(lab, node, other, up=True)
    return f"{node} and {other} reach each other."


def _path(lab: Lab, node: str, other: str, up: bool) -> None:
    found, topology = _require_on(lab, node), lab.settings().topology
    for here, there in ((node, other), (other, node)):
        if here in found:
            links.set_path(found[here], topology.node_address(_require_node(lab, there)), up)


def slow(lab: Lab, node: str, bytes_per_second: int | None) -> str:
    """Hold what a node sends to other nodes (migrations) to a rate; None: as fast as it can be."""
    found, settings = _require_on(lab, node), lab.settings()
    numbers = range(1, settings.nodes + 1)
    others = [settings.topology.node_address(n) for n in numbers if n != _require_node(lab, node)]
    links.shape_path(found[node], others, bytes_per_second)
    limit = "freely" if bytes_per_second is None else f"at {bytes_per_second // 2**20} MiB/s"
    return f"{node} sends to other nodes {limit}."


# A message of a migration's return path: eight bytes, as a TLS 1.3 record in one TCP segment with timestamps.
_LAST_WORD_BYTES = 20 + 32 + 5 + 8 + 1 + 16


def lose_last_word(lab: Lab, target: str, source: str) -> str:
    """The target of a migration loads everything, and its word that it has never reaches the source."""
    found, topology = _require_on(lab, target), lab.settings().topology
    address = topology.node_address(_require_node(lab, source))
    links.lose_small(found[target], address, _LAST_WORD_BYTES)
    return f"{source} does not hear {target}'s last words."


def _require_node(lab: Lab, node: str) -> int:
    """The node's number. Raises LabError for a name that is no node of this lab."""
    known = lab.settings().node_names
    if node not in known:
        raise LabError(f"this lab has no node {node!r}: there are {', '.join(known)}")
    return known.index(node) + 1


def _require_on(lab: Lab, node: str) -> dict[str, int]:
    _require_node(lab, node)
    found = lab.require_running()
    if node not in found:
        raise LabError(f"{node} is off: `drover lab power-on {node}` starts it")
    return found


def _log(lab: Lab, node: str) -> str:
    return str(lab.home.logs / f"{node}.log")
