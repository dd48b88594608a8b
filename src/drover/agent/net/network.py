"""The real ``Network`` port: a tap in the node's bridge and a DHCP entry for every copy.

    network = bridge_network(config, clock, log)
    await network.open()                 # once; then guard network.keep()
    await network.attach(copy, spec)

Taps are persistent: they outlive QEMU and agent, and are removed by ``detach`` or with the node. Both ends of a move
are attached at once; frames find the guest where QEMU has announced it.
"""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from drover.agent.net.commands import exists, ip
from drover.agent.net.dhcp import DhcpServer, DhcpSettings
from drover.agent.ports import MachineSpec, tap_name

if TYPE_CHECKING:
    from drover.agent.config import AgentConfig
    from drover.base.clock import Clock
    from drover.base.log import Log


class BridgeNetwork:
    """Network port on one node. Changes are made one at a time."""

    def __init__(self, bridge: str, dhcp: DhcpServer) -> None:
        self._bridge = bridge
        self._dhcp = dhcp
        self._changes = asyncio.Lock()

    async def open(self) -> None:
        """Make ready what all copies share. Raises NetworkFailed."""
        await self._dhcp.open()

    async def keep(self) -> None:
        """For ever: keep it so."""
        await self._dhcp.keep()

    async def attach(self, copy: str, spec: MachineSpec) -> None:
        """See ``agent.ports.Network``. Raises NetworkFailed."""
        tap = tap_name(copy)
        async with self._changes:
            await self._dhcp.put(copy, spec.mac, spec.ip)
            made = [] if exists(tap) else [f"tuntap add dev {tap} mode tap vnet_hdr"]
            await ip(*made, f"link set {tap} addrgenmode none master {self._bridge} up")

    async def detach(self, copy: str) -> None:
        """See ``agent.ports.Network``. Raises NetworkFailed."""
        tap = tap_name(copy)
        async with self._changes:
            await self._dhcp.drop(copy)
            if exists(tap):
                await ip(f"link delete {tap}")


def bridge_network(config: AgentConfig, clock: Clock, log: Log) -> BridgeNetwork:
    """The network of the node that ``config`` describes."""
    settings = DhcpSettings(
        bridge=config.bridge,
        uplink=config.uplink,
        network=IPv4Network(config.vm_cidr),
        gateway=config.vm_gateway,
        directory=Path(config.run_dir),
    )
    return BridgeNetwork(config.bridge, DhcpServer(settings, clock, log))
