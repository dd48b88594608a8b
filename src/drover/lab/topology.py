"""Addresses and names of a lab, computed from its index. Pure; knows nothing of the machine.

A lab has two networks on one flat layer 2: *infra* (control plane, nodes, the machine) and *vm* (guests, the machine as
their gateway). Lab number k uses 10.67.(10+k).0/24 and 10.66.(10+k).0/24.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from drover.server.parts import API_PORT

MOST_LABS = 200
MOST_NODES = 100
NODE_PREFIX = "virtlab-pt-"


@dataclass(frozen=True)
class Topology:
    """Everything about a lab's network that follows from its index."""

    index: int

    @property
    def infra_net(self) -> str:
        return f"10.67.{10 + self.index}"

    @property
    def infra_cidr(self) -> str:
        return f"{self.infra_net}.0/24"

    @property
    def vm_net(self) -> str:
        return f"10.66.{10 + self.index}"

    @property
    def vm_cidr(self) -> str:
        return f"{self.vm_net}.0/24"

    @property
    def vm_first(self) -> str:
        return f"{self.vm_net}.10"

    @property
    def vm_last(self) -> str:
        return f"{self.vm_net}.250"

    @property
    def vm_gateway(self) -> str:
        return f"{self.vm_net}.254"

    @property
    def control_plane(self) -> str:
        return f"{self.infra_net}.1"

    @property
    def machine(self) -> str:
        return f"{self.infra_net}.254"

    @property
    def api_server(self) -> str:
        return f"https://{self.control_plane}:{API_PORT}"

    def node_address(self, number: int) -> str:
        """Infra address of node ``number`` (from 1)."""
        return f"{self.infra_net}.{10 + number}"


def node_name(number: int) -> str:
    return f"{NODE_PREFIX}{number}"


def lab_id(home: Path) -> str:
    """Six hex digits that tell this home's links and processes from those of other labs."""
    return hashlib.sha256(str(home).encode()).hexdigest()[:6]


def machine_link(lab: str) -> str:
    """Name of the machine's end of the cable into the lab."""
    return f"drv{lab}"
