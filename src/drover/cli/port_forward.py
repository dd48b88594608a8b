"""``drover port-forward VM [LOCAL:]REMOTE...``: ports of a guest on this machine, through the API server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any

import click

from drover.cli.session import Session, examples, say


@dataclass(frozen=True)
class Ports:
    """``local`` 0: any free one."""

    local: int
    remote: int


class PortPair(click.ParamType[Ports]):
    name = "[LOCAL:]REMOTE"

    def convert(self, value: Any, param: Any, ctx: Any) -> Ports:
        if isinstance(value, Ports):
            return value
        local, colon, remote = str(value).rpartition(":")
        numbers = [local or "0", remote] if colon else [remote, remote]
        if not all(number.isdecimal() for number in numbers):
            self.fail(f"{value!r} is no pair of ports; write 8080:80, :80 or 80", param, ctx)
        pair = Ports(int(numbers[0]), int(numbers[1]))
        if not (0 <= pair.local < 65536 and 0 < pair.remote < 65536):
            self.fail(f"{value!r}: ports are 1 to 65535", param, ctx)
        return pair


@click.command(
    epilog=examples(
        "port-forward linux-vm 2222:22",
        "port-forward linux-vm.staging 8080:80 :443",
        "port-forward linux-vm 22 --address 0.0.0.0",
        "port-forward linux-vm :22 -o json",
    )
)
@click.argument("vm")
@click.argument("pairs", nargs=-1, required=True, type=PortPair(), metavar="[LOCAL:]REMOTE...")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def command(
    session: Session, vm: str, pairs: tuple[Ports, ...], namespace: str, address: str, output: str
) -> int:
    """Make TCP ports of VM's guest ports of this machine, until Ctrl+C.

    The way goes through the API server, so it works from wherever the API is reached. A new connection finds the VM
    also after it has moved; one that is open when the VM moves ends.
    """
    return asyncio.run(_run(session, vm, namespace, address, pairs, output))


async def _run(
    session: Session, vm: str, namespace: str, address: str, pairs: tuple[Ports, ...], output: str
) -> int:
    from drover.cli.connect import connected
    from drover.cli.targets import target
    from drover.cli.tunnels import Tunnel, until_told
    from drover.runtime.attach import forward
    from drover.runtime.kubeconfig import load

    wanted = target(vm, namespace)
    async with connected(session) as api, contextlib.AsyncExitStack() as stack:
        access = load(session.kubeconfig())
        told = []
        for pair in pairs:

            def open_stream(pod: str, port: int = pair.remote) -> Any:
                return forward(access, api.clock, wanted.namespace, pod, port)

            tunnel = Tunnel(api, wanted, open_stream)
            await tunnel.pod()
            local = await stack.enter_async_context(tunnel.listening(address, pair.local))
            told.append({"address": address, "local": local, "remote": pair.remote})
        if output == "json":
            click.echo(json.dumps(told))
        for one in told if output == "text" else ():
            say(f"Forwarding {address}:{one['local']} -> {wanted.name}:{one['remote']}")
        await until_told()
    return 0
