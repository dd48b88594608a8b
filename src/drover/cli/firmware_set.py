"""``drover firmware set``: check, write, follow. The checks are pure: ``resolve`` and ``objections``."""

from __future__ import annotations

import sys

import click

from drover.api import machine as machines
from drover.api import names, scheme
from drover.api.firmware import SET_ANNOTATION, Version
from drover.api.status import NotFound
from drover.api.wire import Object
from drover.base.clock import rfc3339
from drover.base.words import some_of
from drover.cli.connect import Api
from drover.cli.firmware import bar
from drover.cli.firmware_world import World, look
from drover.cli.session import PROGRAM, say

POLL_S = 1.0
LINE_S = 5.0  # between two lines of progress where there is no terminal


def resolve(world: World, asked: str) -> str:
    """The version that is meant. Raises ClickException with what exists."""
    offered = [version for version in world.versions if world.offering(version)]
    found = [v for v in offered if v == asked] or [v for v in offered if v.startswith(f"{asked}.")]
    if len(found) == 1:
        return found[0]
    exists = ", ".join(offered) or "nothing: no VM node tells what it offers"
    if found:
        raise click.ClickException(f'"{asked}" may be any of {", ".join(found)}: say which')
    raise click.ClickException(f'no node offers firmware "{asked}"; on offer: {exists}')


def objections(world: World, version: str) -> list[str]:
    """Why the rollout to this version could not end; each names the nodes, and the way out is below them."""
    found = []
    lacking = sorted(set(world.offers) - set(world.offering(version)))
    if lacking:
        found.append(f"these VM nodes do not offer {version}: {some_of(lacking)}")
    needed = {**world.machine_types, "new VMs": machines.MACHINE_TYPE}
    for machine_type in sorted(set(needed.values())):
        without = [
            node
            for node, offers in sorted(world.offers.items())
            if any(o.version == version and machine_type not in o.machine_types for o in offers)
        ]
        if without:
            who = some_of(sorted(vm for vm, has in needed.items() if has == machine_type))
            found.append(
                f"{version} on {some_of(without)} has no machine type {machine_type}, which {who} need"
            )
    return found


async def perform(api: Api, asked: str, wait: bool, limit_s: float) -> int:
    """The exit code."""
    world = await look(api)
    version = resolve(world, asked) if asked else ""
    against = objections(world, version) if version else []
    if against:
        words = "; ".join(against)
        raise click.ClickException(
            f"firmware {version} is not set: {words}. Give these nodes the bundle (or remove the "
            f"nodes), then say it again; `{PROGRAM} firmware list` shows what each offers."
        )
    token = rfc3339(api.clock.wall())
    await _write(api, version, token)
    if not version:
        say("No firmware version is wanted any more; VMs stay on what they run on.")
        return 0
    outdated = [vm for vm, runs in world.vms.items() if runs != version]
    older = [vm for vm in outdated if Version.of(world.vms[vm]) > Version.of(version)]
    say(f"Firmware {version} is wanted; {len(outdated)} of {len(world.vms)} running VMs move to it")
    if older:
        say(f"({len(older)} of them from a newer one).")
    if not wait:
        say(f"`{PROGRAM} firmware list` shows how far it is; VMs that start now start on it.")
        return 0
    return await _follow(api, version, token, limit_s)


async def _write(api: Api, version: str, token: str) -> None:
    patch: Object = {
        "metadata": {"annotations": {SET_ANNOTATION: token}},
        "spec": {"settings": {"firmware": {"version": version}}},
    }
    try:
        await api.client.patch(scheme.MODULECONFIG, names.MODULE_CONFIG, "", patch)
    except NotFound:
        fresh: Object = {**patch, "metadata": {**patch["metadata"], "name": names.MODULE_CONFIG}}
        await api.client.create(scheme.MODULECONFIG, fresh)


async def _follow(api: Api, version: str, token: str, limit_s: float) -> int:
    end = api.clock.monotonic() + limit_s
    line = _Line(api)
    while True:
        world = await look(api)
        if world.wanted != version:
            line.clear()
            say(f"Somebody has set another version meanwhile: {world.wanted or 'none'}.")
            return 1
        begun = world.token == token
        if begun and world.state == "UpToDate" and not world.outdated:
            line.clear()
            say(f"All {len(world.vms)} running VMs are on {version}.")
            return 0
        if begun and world.state in ("Stopped", "Disabled"):
            line.clear()
            raise click.ClickException(f"the rollout does not go on: {world.message}")
        if api.clock.monotonic() > end:
            line.clear()
            raise click.ClickException(
                f"not done in time, and it goes on: {len(world.outdated)} VMs are outdated "
                f"({some_of(world.outdated)}). {world.message}"
            )
        done = len(world.vms) - len(world.outdated)
        more = world.message.partition("; ")[2] if begun else ""  # the count stands before it
        line.draw(
            f"  [{bar(done, len(world.vms))}] {done} of {len(world.vms)} VMs  {more}".rstrip()
        )
        await api.clock.sleep(POLL_S)


class _Line:
    """One line that is drawn over on a terminal, and written now and then elsewhere."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._last = ""
        self._next_s = 0.0

    def draw(self, text: str) -> None:
        if sys.stdout.isatty():
            click.echo(f"\r\033[K{text[:110]}", nl=False)
        elif text != self._last and self._api.clock.monotonic() >= self._next_s:
            say(text)
            self._next_s = self._api.clock.monotonic() + LINE_S
        self._last = text

    def clear(self) -> None:
        if sys.stdout.isatty() and self._last:
            click.echo("\r\033[K", nl=False)
