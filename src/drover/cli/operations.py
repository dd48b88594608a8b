"""Makes a VirtualMachineOperation and follows it to its end, with a progress line for migrations."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from drover.api import names, scheme, status
from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vmop import VmopPhase
from drover.api.meta import name_of
from drover.api.wire import Object
from drover.cli.connect import Api
from drover.cli.session import PROGRAM, colours, say
from drover.cli.targets import find, target

if TYPE_CHECKING:
    from drover.cli.lifecycle import Wish

MIB = 2**20
POLL_S = 0.1
LINE_S = 1.0  # between two lines of progress where there is no terminal
_TYPES = {
    "start": "Start",
    "stop": "Stop",
    "restart": "Restart",
    "evict": "Evict",
    "migrate": "Migrate",
}


async def resolve(
    api: Api, names: tuple[str, ...], namespace: str, selector: str
) -> list[tuple[str, str]]:
    """(namespace, name) of every VM that is meant. Raises ClickException for a name that does not exist."""
    if not names:
        found, _ = await api.client.list(scheme.VM, namespace, labels=selector)
        return [(vm["metadata"]["namespace"], vm["metadata"]["name"]) for vm in found]
    chosen = []
    for text in names:
        vm = target(text, namespace)
        try:
            await find(api.client, vm)
        except click.ClickException as missing:
            if not await _is_node(api, text):
                raise
            moved = next((other for other in names if other != text), "VM")
            raise click.ClickException(
                f"there is no {vm}, but a node {text}: "
                f"`{PROGRAM} migrate {moved} --target-node-name {text}` moves a VM there"
            ) from missing
        chosen.append((vm.namespace, vm.name))
    return chosen


async def _is_node(api: Api, name: str) -> bool:
    try:
        await api.client.get(scheme.NODE, name)
    except status.ApiError:  # also for who may not look at nodes
        return False
    return True


async def perform(api: Api, wish: Wish, namespace: str, name: str, create_only: bool) -> int:
    """One operation on one VM; the exit code."""
    if wish.target_node:
        await _check_target(api, namespace, name, wish.target_node)
    vmop = await api.client.create(scheme.VMOP, _operation(wish, namespace, name))
    op = f'VirtualMachineOperation "{namespace}/{vmop["metadata"]["name"]}"'
    if create_only:
        say(f'VirtualMachine "{namespace}/{name}" {_going(wish.verb)}. {op} created.')
        return 0
    follower = Follower(api, wish, namespace, name, vmop)
    return await follower.follow()


async def at_work(api: Api, namespace: str, name: str) -> str:
    """The way out for one who was refused while another operation of that VM is unfinished; empty when none is."""
    for vmop in (await api.client.list(scheme.VMOP, namespace))[0]:
        if vmops.vm_name(vmop) == name and not vmops.finished(vmop):
            operation = name_of(vmop)
            ends = "aborts it" if vmops.is_migration(vmop) else "takes it back while it is Pending"
            return (
                f". `{PROGRAM} why {operation} -n {namespace}` tells what it waits for; "
                f"`{PROGRAM} k delete vmop {operation} -n {namespace}` {ends}"
            )
    return ""


def _going(verb: str) -> str:
    from drover.cli.lifecycle import words

    return words(verb, done=False)


def _operation(wish: Wish, namespace: str, name: str) -> Object:
    spec: Object = {"type": _TYPES[wish.verb], "virtualMachineName": name}
    if wish.force is not None and wish.verb != "start":
        spec["force"] = wish.force
    if wish.target_node:
        spec["migrate"] = {"nodeSelector": {names.HOSTNAME_LABEL: wish.target_node}}
    return {
        "apiVersion": scheme.VMOP.api_version,
        "kind": scheme.VMOP.kind,
        "metadata": {"generateName": f"{name}-", "namespace": namespace},
        "spec": spec,
    }


async def _check_target(api: Api, namespace: str, name: str, node: str) -> None:
    vm = await api.client.get(scheme.VM, name, namespace)
    if vms.status(vm).get("nodeName") == node:
        raise click.ClickException(
            f'VirtualMachine "{namespace}/{name}" is on node "{node}" already'
        )
    try:
        await api.client.get(scheme.NODE, node)
    except status.NotFound as missing:
        raise click.ClickException(
            f'there is no node "{node}"; `{PROGRAM} k get nodes` lists them'
        ) from missing


def migration_name(operation: str) -> str:
    """The VirtualMachineMigration that carries an operation out."""
    return f"vmop-{operation}"


class Follower:
    """Looks at one operation until it is where the user wants it."""

    def __init__(self, api: Api, wish: Wish, namespace: str, name: str, vmop: Object) -> None:
        self._api = api
        self._wish = wish
        self._namespace = namespace
        self._vm = name
        self._vmop = vmop
        self._drawn = False
        self._last = ""
        self._next_line_s = 0.0

    async def follow(self) -> int:
        """The exit code."""
        clock = self._api.clock
        end = clock.monotonic() + self._wish.timeout_s
        name = self._vmop["metadata"]["name"]
        while True:
            try:
                self._vmop = await self._api.client.get(scheme.VMOP, name, self._namespace)
            except status.NotFound:
                self._clear()
                say(f"{self._about()} was aborted: its operation {name} is deleted.")
                return 1
            phase = vmops.phase(self._vmop)
            if vmops.finished(self._vmop):
                await self._sum_up(phase)
                return self._ended(phase)
            if phase is VmopPhase.IN_PROGRESS and not self._wish.wait:
                self._clear()
                say(f"{self._about()} {_going(self._wish.verb)}. {self._op()} in progress.")
                return 0
            if clock.monotonic() > end:
                self._clear()
                say(
                    f"{self._about()}: not done in time; the operation goes on. {self._op()} {phase}."
                )
                return 1
            if self._wish.wait and vmops.is_migration(self._vmop):
                await self._draw()
            await clock.sleep(POLL_S)

    def _about(self) -> str:
        return f'VirtualMachine "{self._namespace}/{self._vm}"'

    def _op(self) -> str:
        return f'VirtualMachineOperation "{self._namespace}/{self._vmop["metadata"]["name"]}"'

    def _ended(self, phase: VmopPhase | None) -> int:
        from drover.cli.lifecycle import words

        self._clear()
        if phase is VmopPhase.COMPLETED:
            say(f"{self._about()} {words(self._wish.verb, done=True)}. {self._op()} completed.")
            return 0
        if phase is VmopPhase.SUPERSEDED:
            say(
                f"{self._about()} was not {words(self._wish.verb, done=True)}. {self._op()} superseded."
            )
            return 1
        for condition in (self._vmop.get("status") or {}).get("conditions") or []:
            if condition["type"] == "Completed":
                say(
                    f"{self._about()} was not {words(self._wish.verb, done=True)}. {self._op()} failed. "
                    f'type="Completed" reason={condition.get("reason")}, message={condition.get("message")}'
                )
                say(
                    f"`{PROGRAM} why {name_of(self._vmop)} -n {self._namespace}` tells the way out."
                )
        return 1

    async def _sum_up(self, phase: VmopPhase | None) -> None:
        """What a completed move cost: a short copy ends before any counter of it was seen on its way."""
        if (
            not self._wish.wait
            or not vmops.is_migration(self._vmop)
            or phase is not VmopPhase.COMPLETED
        ):
            return
        vmm = await self._migration()
        if vmm is not None and (told := total(vmm)):
            self._clear()
            say(f"  [{_bar(100)}] 100 %  {told}")

    async def _migration(self) -> Object | None:
        name = migration_name(self._vmop["metadata"]["name"])
        try:
            return await self._api.client.get(scheme.VMM, name, self._namespace)
        except status.NotFound:
            return None

    async def _draw(self) -> None:
        vmm = await self._migration()
        percent = vmops.progress_percent(self._vmop)
        done = counters(vmm) if vmm is not None else "queued"
        text = f"  [{_bar(percent)}] {percent:3d} %  {done}"
        if sys.stdout.isatty():
            columns = shutil.get_terminal_size().columns
            click.echo(f"\r\033[K{text[: columns - 1]}", nl=False)
            self._drawn = True
        elif text != self._last and self._api.clock.monotonic() >= self._next_line_s:
            click.echo(text)
            self._last = text
            self._next_line_s = self._api.clock.monotonic() + LINE_S

    def _clear(self) -> None:
        if self._drawn:
            click.echo("\r\033[K", nl=False)


def _bar(percent: int, width: int = 24) -> str:
    filled = percent * width // 100
    full, empty = ("█", "░") if colours() else ("#", ".")
    return full * filled + empty * (width - filled)


def counters(vmm: Object) -> str:
    """MiB copied, dirty rate, iteration, remaining time."""
    said = vmms.source_report(vmm)
    if not said.get("ramTotalBytes"):
        return vmms.phase(vmm).lower()
    copied = int(said.get("ramTransferredBytes", 0)) // MIB
    remaining = int(said.get("ramRemainingBytes", 0))
    dirty = int(said.get("dirtyBytesPerSecond", 0))
    rate = float(said.get("mbps", 0)) * 1e6 / 8
    left = f"{remaining / (rate - dirty):.0f} s left" if rate > dirty else "not converging yet"
    return (
        f"{copied} MiB copied, {remaining // MIB} MiB to go, {dirty / MIB:.1f} MiB/s written, "
        f"pass {said.get('iteration', 0)}, {left}"
    )


def total(vmm: Object) -> str:
    """What a move that is done copied, and how long the guest stood still; empty if no agent told it."""
    said = vmms.source_report(vmm)
    if not said.get("ramTotalBytes"):
        return ""
    copied = int(said.get("ramTransferredBytes", 0)) // MIB
    return f"{copied} MiB copied, guest paused for {int(said.get('downtimeMs', 0))} ms"
