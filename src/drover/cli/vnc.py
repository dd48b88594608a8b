"""``drover vnc VM``: a local port that a VNC viewer is pointed at, tunnelled through the API server."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

import click

from drover.cli.session import Session, examples, say

VIEWERS = ("remote-viewer", "vncviewer", "gvncviewer", "xtigervncviewer")


@click.command(
    epilog=examples("vnc linux-vm", "vnc linux-vm.staging --port 5901", "vnc linux-vm -o json")
)
@click.argument("vm")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free one.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def command(session: Session, vm: str, namespace: str, address: str, port: int, output: str) -> int:
    """Open the screen of VM to a VNC viewer, until Ctrl+C.

    Any viewer will do; there is no password, since only this machine reaches the port. After a move of the VM connect
    again.
    """
    return asyncio.run(_run(session, vm, namespace, address, port, output))


async def _run(
    session: Session, vm: str, namespace: str, address: str, port: int, output: str
) -> int:
    from drover.api.names import COMPUTE_CONTAINER
    from drover.cli.connect import connected
    from drover.cli.session import PROGRAM
    from drover.cli.targets import target
    from drover.cli.tunnels import Tunnel, until_told
    from drover.runtime.attach import screen
    from drover.runtime.kubeconfig import load

    wanted = target(vm, namespace)
    async with connected(session) as api:
        access = load(session.kubeconfig())

        def open_stream(pod: str) -> Any:
            return screen(access, api.clock, wanted.namespace, pod, COMPUTE_CONTAINER)

        tunnel = Tunnel(api, wanted, open_stream)
        if trouble := await tunnel.check():
            raise click.ClickException(
                f"{wanted} shows no screen: {trouble}. A VM that was started before there were "
                f"displays gets one at its next start: `{PROGRAM} restart {wanted.name} -n {wanted.namespace}`"
            )
        async with tunnel.listening(address, port) as local:
            if output == "json":
                click.echo(json.dumps({"address": address, "port": local}))
            else:
                viewer = next((one for one in VIEWERS if shutil.which(one)), VIEWERS[0])
                url = f"vnc://{address}:{local}" if viewer == VIEWERS[0] else f"{address}::{local}"
                say(f"The screen of {wanted.name} is at {address}:{local}. For example:")
                say(f"  {viewer} {url}")
            await until_told()
    return 0
