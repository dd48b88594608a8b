"""Cables of a lab: a bridge in the switch's namespace and a veth pair to every member, by ``ip`` in batches.

All interfaces live in namespaces without a name, entered through the pid of a process in them; the one exception is
the machine's end, ``drv<lab id>``, which vanishes with its other end when the switch ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from drover.lab.errors import LabError
from drover.lab.topology import Topology, machine_link

_NET = re.compile(r"10\.6[67]\.(\d+)\.\d+")
BRIDGE = "br0"
UPLINK = "uplink"
SWITCH_BRIDGE = "switch"
_NOBODY = "02:00:00:00:ff:ff"


def run_ip(pid: int | None, *lines: str) -> None:
    """Run lines of ``ip`` in the network namespace of ``pid`` (None: ours). Raises LabError."""
    enter = [] if pid is None else ["nsenter", "-t", str(pid), "-n"]
    done = subprocess.run(
        [*enter, "ip", "-batch", "-"],
        input="\n".join(lines).encode(),
        capture_output=True,
        check=False,
        timeout=20,
    )
    if done.returncode != 0:
        raise LabError(f"a network link cannot be made: {done.stderr.decode().strip()[-300:]}")


def make_switch(pid: int) -> None:
    """The bridge that all cables end in. Its address never changes with its ports."""
    run_ip(
        pid,
        f"link add {SWITCH_BRIDGE} address 02:00:00:00:00:01 type bridge mcast_snooping 0",
        f"link set {SWITCH_BRIDGE} addrgenmode none up",
    )


def plug_machine(switch: int, lab: str, topology: Topology) -> None:
    """The machine's own cable, so that users reach the API and the guests. Mends what is there half."""
    link = machine_link(lab)
    if not exists(link):
        run_ip(
            switch,
            f"link add machine type veth peer name {link} netns {os.getpid()}",
            *_port("machine"),
        )
    run_ip(
        None,
        f"link set {link} addrgenmode none",
        f"address replace {topology.machine}/24 dev {link}",
        f"address replace {topology.vm_gateway}/24 dev {link}",
        f"link set {link} up",
    )


def plug_control_plane(switch: int, pid: int, topology: Topology) -> None:
    run_ip(switch, f"link add control type veth peer name {UPLINK} netns {pid}", *_port("control"))
    run_ip(
        pid,
        "link set lo up",
        f"link set {UPLINK} addrgenmode none",
        f"address add {topology.control_plane}/24 dev {UPLINK}",
        f"link set {UPLINK} up",
    )


def plug_node(switch: int, pid: int, node: str, number: int, topology: Topology) -> None:
    """A node's cable, and its bridge, which holds the cable and later the guests' taps."""
    run_ip(switch, f"link add {node} type veth peer name {UPLINK} netns {pid}", *_port(node))
    run_ip(
        pid,
        "link set lo up",
        f"link add {BRIDGE} address 02:00:00:00:01:{number:02x} type bridge mcast_snooping 0",
        f"link set {BRIDGE} addrgenmode none",
        f"link set {UPLINK} addrgenmode none master {BRIDGE} up",
        f"address add {topology.node_address(number)}/24 dev {BRIDGE}",
        f"link set {BRIDGE} up",
    )


def unplug_node(switch: int, node: str) -> None:
    """Take the cable of a node that is off away, if it is still there. By itself it goes with the last connection of
    the node's network, which may take minutes to give up where its other end is off as well."""
    with contextlib.suppress(LabError):
        run_ip(switch, f"link del {node}")


def _port(name: str) -> list[str]:
    return [f"link set {name} addrgenmode none master {SWITCH_BRIDGE} up"]


def set_node_cable(switch: int, node: str, up: bool) -> None:
    """Pull a node's cable out of the switch, or put it back."""
    run_ip(switch, f"link set {node} {'up' if up else 'down'}")


def node_cable_up(switch: int, node: str) -> bool:
    done = subprocess.run(
        ["nsenter", "-t", str(switch), "-n", "ip", "-j", "link", "show", node],
        capture_output=True,
        check=False,
        timeout=20,
    )
    return done.returncode == 0 and "UP" in json.loads(done.stdout)[0]["flags"]


def set_path(pid: int, other: str, up: bool) -> None:
    """Let the frames of one node to another's ``other`` address vanish, silently; or mend it.

    They are sent to a hardware address that nobody has, so the rest of the network never notices.
    """
    if up:
        run_ip(pid, f"neigh flush to {other} dev {BRIDGE} nud permanent")
    else:
        run_ip(pid, f"neigh replace {other} lladdr {_NOBODY} dev {BRIDGE} nud permanent")


def shape_path(pid: int, others: Sequence[str], bytes_per_second: int | None) -> None:
    """Hold what a node sends to ``others`` to a rate; everything else passes freely. None: no limit."""
    run_tc(pid, f"qdisc del dev {UPLINK} root", may_fail=True)
    if bytes_per_second is None:
        return
    burst = max(bytes_per_second // 100, 64 * 1024)
    rate = f"rate {bytes_per_second * 8}bit burst {burst} cburst {burst}"
    run_tc(pid, f"qdisc add dev {UPLINK} root handle 1: htb default 1")
    run_tc(pid, f"class add dev {UPLINK} parent 1: classid 1:1 htb rate 40gbit")
    run_tc(pid, f"class add dev {UPLINK} parent 1: classid 1:2 htb {rate}")
    for other in others:
        match = f"match ip dst {other}/32 flowid 1:2"
        run_tc(pid, f"filter add dev {UPLINK} parent 1: protocol ip prio 1 u32 {match}")


def lose_small(pid: int, other: str, size_bytes: int) -> None:
    """Lose every packet of one size that a node sends to ``other``, for ever; ``shape_path`` with no limit mends it."""
    run_tc(pid, f"qdisc del dev {UPLINK} root", may_fail=True)
    run_tc(pid, f"qdisc add dev {UPLINK} root handle 1: htb default 1")
    run_tc(pid, f"class add dev {UPLINK} parent 1: classid 1:1 htb rate 40gbit")
    run_tc(pid, f"class add dev {UPLINK} parent 1: classid 1:2 htb rate 40gbit")
    run_tc(pid, f"qdisc add dev {UPLINK} parent 1:2 handle 2: pfifo limit 0")
    match = f"match ip dst {other}/32 match u16 {size_bytes} 0xffff at 2 flowid 1:2"
    run_tc(pid, f"filter add dev {UPLINK} parent 1: protocol ip prio 1 u32 {match}")


def run_tc(pid: int, line: str, may_fail: bool = False) -> None:
    """One ``tc`` in the network namespace of ``pid``. Raises LabError."""
    command = ["nsenter", "-t", str(pid), "-n", "tc", *line.split()]
    done = subprocess.run(command, capture_output=True, check=False, timeout=20)
    if done.returncode != 0 and not may_fail:
        raise LabError(f"a network link cannot be shaped: {done.stderr.decode().strip()[-300:]}")


def exists(link: str) -> bool:
    """Whether the machine has an interface of this name."""
    return Path(f"/sys/class/net/{link}").exists()


def remove_machine_link(lab: str) -> None:
    """Harmless when it is not there."""
    subprocess.run(
        ["ip", "link", "delete", machine_link(lab)], capture_output=True, check=False, timeout=20
    )


def taken_indices(lab: str) -> set[int]:
    """Indices whose subnets this machine uses already, other than by this lab's own cable."""
    done = subprocess.run(
        ["ip", "-j", "-4", "route", "show", "table", "all"],
        capture_output=True,
        check=True,
        timeout=20,
    )
    own = machine_link(lab)
    taken = set()
    for route in json.loads(done.stdout or b"[]"):
        if route.get("dev") != own:
            taken |= {int(third) - 10 for third in _NET.findall(str(route.get("dst")))}
    return taken
