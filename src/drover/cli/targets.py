"""Which VM a command means, and what it must be for the command: ``NAME`` or ``NAME.NAMESPACE``."""

from __future__ import annotations

from dataclasses import dataclass

import click

from drover.api import scheme, status
from drover.api.kinds import vm as vms
from drover.api.wire import Object
from drover.cli.session import PROGRAM
from drover.runtime.client import Client


@dataclass(frozen=True)
class Target:
    """One VM by name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f'VirtualMachine "{self.namespace}/{self.name}"'


def target(text: str, namespace: str) -> Target:
    name, _, other = text.partition(".")
    return Target(other or namespace, name)


async def find(client: Client, vm: Target) -> Object:
    """The VM. Raises ClickException when there is none."""
    try:
        return await client.get(scheme.VM, vm.name, vm.namespace)
    except status.NotFound as missing:
        raise click.ClickException(
            f"there is no {vm}; `{PROGRAM} k get vm -A` lists all"
        ) from missing


def active_pod(vm: Object) -> str:
    """Name of the Pod that runs the VM now; empty when none does."""
    for pod in vms.status(vm).get("virtualMachinePods") or []:
        if pod.get("active"):
            return str(pod["name"])
    return ""


def why_not_running(vm: Target, found: Object) -> str:
    """A sentence for users: what it is instead, and what to do."""
    phase = vms.phase(found) or "not seen yet"
    if phase in (vms.VmPhase.STOPPED, vms.VmPhase.STOPPING):
        return f"{vm} is {phase}; `{PROGRAM} start {vm.name} -n {vm.namespace}` starts it"
    return f"{vm} is {phase}; `{PROGRAM} k describe vm {vm.name} -n {vm.namespace}` tells more"
