"""``drover console VM``: the guest's serial line, through the API server, with the user's own rights.

On a terminal every key goes to the guest; Ctrl+] leaves. The console follows a VM that moves: when its line ends and
the VM runs elsewhere, it is attached there. A pipe as input is typed to its end, and the command ends when the guest
has been silent for a while. Exit code 0 when the user left or the input ended, 1 when the console ended by itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from drover.cli.session import Session, examples

if TYPE_CHECKING:
    from drover.cli.connect import Api
    from drover.cli.keyboard import Keyboard
    from drover.cli.targets import Target
    from drover.runtime.attach import Attached
    from drover.runtime.kubeconfig import Access

MOVE_LIMIT_S = 10.0  # until a VM whose line ended shows up elsewhere
POLL_S = 0.25


@click.command(
    epilog=examples("console linux-vm", "console linux-vm.default", "console linux-vm < commands")
)
@click.argument("vm")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option(
    "-t",
    "--timeout",
    default="5m",
    show_default=True,
    help="How long to wait for a VM that starts.",
)
@click.option(
    "--linger",
    default="2s",
    show_default=True,
    help="After the end of piped input, stay until the guest was silent for so long.",
)
@click.pass_obj
def command(session: Session, vm: str, namespace: str, timeout: str, linger: str) -> int:
    """Serial console of VM. Ctrl+] leaves it; Enter brings a prompt.

    Follows the VM when it moves to another node. Input may be a pipe.
    """
    from drover.cli.lifecycle import seconds
    from drover.cli.targets import target

    sitting = _run(session, target(vm, namespace), seconds(timeout), seconds(linger))
    return asyncio.run(sitting)


async def _run(session: Session, vm: Target, timeout_s: float, linger_s: float) -> int:
    from drover.cli.connect import connected
    from drover.cli.keyboard import Keyboard, ended_by_signals
    from drover.runtime.kubeconfig import load

    this = asyncio.current_task()
    assert this is not None
    async with connected(session) as api:
        with ended_by_signals(this):
            console = Console(api, load(session.kubeconfig()), vm, Keyboard(), linger_s)
            return await console.run(timeout_s)


@dataclass
class Console:
    """One sitting at the console of one VM, over as many connections as it takes."""

    api: Api
    access: Access
    vm: Target
    keyboard: Keyboard
    linger_s: float
    left: bool = False  # the user left, or the input ended

    async def run(self, timeout_s: float) -> int:
        from drover.api.names import COMPUTE_CONTAINER
        from drover.api.status import NotFound
        from drover.runtime.attach import attach

        pod, node = await self._place(timeout_s)
        while pod:
            try:
                async with attach(
                    self.access, self.api.clock, self.vm.namespace, pod, COMPUTE_CONTAINER
                ) as line:
                    self._note(f"{self.vm.name} on {node}. Ctrl+] leaves; Enter brings a prompt.")
                    with self.keyboard.raw():
                        await self._talk(line)
                failure = line.failure
            except NotFound:
                failure = "its Pod is gone"
            if self.left:
                self._note("console left.")
                return 0
            self._note(f"the console ended{': ' + failure if failure else ''}")
            pod, node = await self._next_place(pod)
        return 1

    async def _talk(self, line: Attached) -> None:
        """Until either side has had enough."""
        from drover.base.tasks import TaskScope, wait_first

        heard = asyncio.Event()
        async with TaskScope("console") as scope:
            showing = scope.spawn(_show(line, heard), "output")
            typing = scope.spawn(self._type(line, heard), "input")
            await wait_first(showing, typing)
            for task in (showing, typing):
                if task.done():
                    task.result()

    async def _type(self, line: Attached, heard: asyncio.Event) -> None:
        async for data in self.keyboard.typed():
            await line.send(data)
        if not self.keyboard.is_terminal:
            await _silence(heard, self.linger_s)
        self.left = True

    async def _place(self, timeout_s: float) -> tuple[str, str]:
        """(Pod, node) where the VM runs; waits for one that starts. Raises ClickException."""
        from drover.api.kinds import vm as vms
        from drover.cli.targets import active_pod, find, why_not_running

        end = self.api.clock.monotonic() + timeout_s
        told = False
        while True:
            found = await find(self.api.client, self.vm)
            pod = active_pod(found)
            if pod and vms.node_name(found):
                return pod, vms.node_name(found)
            phase = vms.phase(found)
            hopeless = phase in (vms.VmPhase.STOPPED, vms.VmPhase.STOPPING)
            if hopeless or self.api.clock.monotonic() > end:
                raise click.ClickException(why_not_running(self.vm, found))
            if not told:
                self._note(f"{self.vm.name} is {phase}; waiting for it. Ctrl+C gives up.")
                told = True
            await self.api.clock.sleep(POLL_S)

    async def _next_place(self, before: str) -> tuple[str, str]:
        """Where the VM runs now that its line ended; ("", "") when it does not come back soon."""
        from drover.api.kinds import vm as vms
        from drover.cli.targets import active_pod, find

        end = self.api.clock.monotonic() + MOVE_LIMIT_S
        while self.api.clock.monotonic() < end:
            await self.api.clock.sleep(POLL_S)
            found = await find(self.api.client, self.vm)
            pod = active_pod(found)
            if pod and pod != before and vms.node_name(found):
                return pod, vms.node_name(found)
        return "", ""

    def _note(self, text: str) -> None:
        click.echo(f"[{text}]", err=True)


async def _show(line: Attached, heard: asyncio.Event) -> None:
    from drover.cli.keyboard import show

    async for data in line.output():
        heard.set()
        show(data)


async def _silence(heard: asyncio.Event, limit_s: float) -> None:
    """Until the guest has said nothing for a while."""
    while True:
        heard.clear()
        try:
            async with asyncio.timeout(limit_s):
                await heard.wait()
        except TimeoutError:
            return
