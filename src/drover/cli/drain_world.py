"""What the commands about maintenance read from the API, with the user's own rights."""

from __future__ import annotations

from dataclasses import dataclass

import click

from drover.api import scheme, status
from drover.api.kinds import node as nodes
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.meta import name_of
from drover.api.names import MODULE_CONFIG
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.cli.connect import Api
from drover.cli.session import PROGRAM, say
from drover.controllers.costs import estimate_s, learned, load_of
from drover.controllers.settings import Settings, read


async def find_node(api: Api, name: str) -> Object:
    try:
        return await api.client.get(scheme.NODE, name)
    except status.NotFound as missing:
        raise click.ClickException(
            f'there is no node "{name}"; `{PROGRAM} k get nodes` lists them'
        ) from missing


async def set_cordon(api: Api, node: Object, on: bool) -> bool:
    """False: it was so already."""
    if nodes.cordoned(node) == on:
        return False
    patch = {"spec": {"unschedulable": True if on else None}}
    await api.client.patch(scheme.NODE, name_of(node), "", patch)
    return True


async def uncordoned(api: Api, name: str) -> int:
    changed = await set_cordon(api, await find_node(api, name), on=False)
    say(f"node/{name} {'uncordoned' if changed else 'was not cordoned'}")
    return 0


@dataclass
class World:
    """One look at what a drain needs."""

    pods: dict[str, Object]  # on the node, by key
    vms: dict[str, Object]
    vmops: list[Object]
    vmms: list[Object]

    def moves_of(self, vm: str) -> list[Object]:
        """Oldest first."""
        found = [m for m in self.vmms if vmms.vm_key(m) == vm]
        return sorted(found, key=lambda m: str(m["metadata"]["creationTimestamp"]))

    def moving(self, vm: str) -> tuple[Object | None, Object | None]:
        """The unfinished operation that moves the VM, with its migration."""
        for vmop in self.vmops:
            mine = vmops.vm_key(vmop) == vm
            if mine and vmops.is_migration(vmop) and not vmops.finished(vmop):
                own = [m for m in self.moves_of(vm) if vmms.operation_name(m) == name_of(vmop)]
                return vmop, own[-1] if own else None
        return None, None

    async def remaining_s(self, api: Api, names: list[str]) -> float:
        """How long the moves of these VMs may take."""
        costs = learned(self.vmms)
        known = [name for name in names if name in self.vms]
        loads = [load_of(self.vms[name], self.moves_of(name), costs) for name in known]
        return estimate_s(loads, costs, (await _settings(api)).outbound_per_node)


async def look(api: Api, node: str) -> World:
    """At the node's Pods, and all VMs with their operations and migrations."""
    client = api.client
    found, _ = await client.list(scheme.POD, fields=f"spec.nodeName={node}")
    machines, _ = await client.list(scheme.VM)
    operations, _ = await client.list(scheme.VMOP)
    moves, _ = await client.list(scheme.VMM)
    return World(
        {key_of(pod): pod for pod in found}, {key_of(vm): vm for vm in machines}, operations, moves
    )


async def _settings(api: Api) -> Settings:
    try:
        return read(await api.client.get(scheme.MODULECONFIG, MODULE_CONFIG))
    except status.ApiError:
        return Settings()
