"""``drover fence confirm``: look whether the node is silent, ask, write, follow until its VMs are free.

A node that has no Lease is known by the VM leases that name it alone: it was removed while it was off, or a hand
wrote a name that no node has. A Lease is made in its place, for the word to stand in; an agent of that life, should
there be one after all, finds it, renews it, and makes the word void.
"""

from __future__ import annotations

import click

from drover.api import names, scheme
from drover.api.fencing import UNARMED_SUSPECT_S, Evidence
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence
from drover.api.kinds import vml as vmls
from drover.api.status import AlreadyExists, Conflict
from drover.api.wire import Object
from drover.base.words import some_of
from drover.cli.connect import Api
from drover.cli.fence_world import World, look
from drover.cli.session import PROGRAM, require_yes, say

SILENT_S = UNARMED_SUSPECT_S + 0.5  # a node that lives renews within it
POLL_S = 0.5
MOST_TRIES = 5  # each but the last was met by another write to the Lease


async def perform(api: Api, node: str, yes: bool, limit_s: float) -> int:
    """The exit code."""
    world = await look(api)
    if node not in world.leases and (life := await _life_named(api, world, node)):
        return await _perform_absent(api, world, node, life, yes, limit_s)
    world.require(node)
    fence = world.open_fence(node)
    if fence is not None and nodefence.proves_dead(fence):
        say(f"{node} is {nodefence.phase(fence)} already: there is nothing to confirm.")
        return 0
    lease = _lease(world, node)
    say(f"Looking for {SILENT_S:g} s whether {node} still gives a sign of life ...")
    await _require_silent(api, node, lease)
    if not yes:
        require_yes(_question(world, node))
    await _write(api, node, lease)
    say(f"Confirmed: {node} is off.")
    return await _follow(api, node, nodes.incarnation(lease), limit_s)


def _lease(world: World, node: str) -> Object:
    lease = world.leases.get(node)
    if lease is None or nodes.evidence(lease) is None:
        raise click.ClickException(
            f"{node} has no Lease of a drover agent in {names.NODE_LEASE_NAMESPACE}: nothing of it can be running that "
            "a VM lease names"
        )
    _require_group(world)
    return lease


def _require_group(world: World) -> None:
    if not world.groups:
        raise click.ClickException(
            "there is no NodeGroup, so nobody deals with lost nodes: make one"
        )


async def _life_named(api: Api, world: World, node: str) -> str:
    """The first life of a node without Lease that VM leases name and that is not proved dead; empty: none."""
    dead = {nodefence.incarnation(f) for f in world.fences_of(node) if nodefence.proves_dead(f)}
    leases, _ = await api.client.list(scheme.VML)
    named = {vmls.incarnation(lease) for lease in leases if vmls.node(lease) == node}
    return next(iter(sorted(named - dead - {""})), "")


async def _perform_absent(
    api: Api, world: World, node: str, life: str, yes: bool, limit_s: float
) -> int:
    _require_group(world)
    say(f"{node} has no Lease, and VM leases name it (its life {life[:8]}).")
    say(f"Looking for {SILENT_S:g} s whether it still gives a sign of life ...")
    await api.clock.sleep(SILENT_S)
    if not yes:
        require_yes(_question(world, node))
    try:
        await api.client.create(scheme.LEASE, _stand_in(node, life))
    except AlreadyExists as there:
        raise _alive(node) from there
    say(f"Confirmed: {node} is off.")
    return await _follow(api, node, life, limit_s)


def _stand_in(node: str, life: str) -> Object:
    """It promises nothing, and nobody will ever renew it but that very life."""
    said = Evidence(attempt="confirmed", boot="", machine="", seq=0)
    marks = {names.INCARNATION_ANNOTATION: life, names.EVIDENCE_ANNOTATION: said.dump()}
    meta: Object = {
        "name": node,
        "namespace": names.NODE_LEASE_NAMESPACE,
        "annotations": marks,
    }
    lease: Object = {"metadata": meta, "spec": {"holderIdentity": node}}
    marks[names.CONFIRMED_ANNOTATION] = nodes.renewal(lease)
    return lease


async def _require_silent(api: Api, node: str, lease: Object) -> None:
    end_s = api.clock.monotonic() + SILENT_S
    while api.clock.monotonic() < end_s:
        await api.clock.sleep(POLL_S)
        now = await api.client.get(scheme.LEASE, node, names.NODE_LEASE_NAMESPACE)
        if nodes.renewal(now) != nodes.renewal(lease):
            raise _alive(node)


def _alive(node: str) -> click.ClickException:
    return click.ClickException(
        f"{node} is alive: it has just renewed its Lease. Only a node that is off may be confirmed; `{PROGRAM} drain "
        f"{node}` empties one that lives"
    )


def _question(world: World, node: str) -> str:
    lease = world.leases.get(node)
    running = sorted(nodes.machines(lease) or {}) if lease is not None else []
    said = f"It last ran {some_of(running)}. " if running else ""
    return f"{said}If {node} still runs, its VMs will run twice and destroy their disks. Is it switched off, for sure?"


async def _write(api: Api, node: str, lease: Object) -> None:
    """Onto the renewal that was looked at, or not at all."""
    word: Object = {"metadata": {"annotations": {names.CONFIRMED_ANNOTATION: nodes.renewal(lease)}}}
    for _ in range(MOST_TRIES):
        now = await api.client.get(scheme.LEASE, node, names.NODE_LEASE_NAMESPACE)
        if nodes.renewal(now) != nodes.renewal(lease):
            raise _alive(node)
        try:
            await api.client.patch(
                scheme.LEASE, node, names.NODE_LEASE_NAMESPACE, word, version=now
            )
            return
        except Conflict:
            continue
    raise click.ClickException(f"somebody else keeps writing to the Lease of {node}: try again")


async def _follow(api: Api, node: str, life: str, limit_s: float) -> int:
    """Lines of the timeline as they come, until what its VMs hold is free."""
    end_s, said = api.clock.monotonic() + limit_s, 0
    while True:
        world = await look(api)
        own = [f for f in world.fences_of(node) if nodefence.incarnation(f) == life]
        if own:
            lines = [line for line in world.timeline(own[-1])[1:] if line[2:3].isdigit()]
            for line in lines[said:]:
                say(line)
            said = max(said, len(lines))
            if nodefence.phase(own[-1]) in nodefence.PROVED[1:]:
                say(f"Its VMs start elsewhere; `{PROGRAM} fence show {node}` tells where.")
                return 0
        if api.clock.monotonic() > end_s:
            why = world.why(node) or "the controllers have not taken it up"
            say(f"{node} is {world.state(node)}, not fenced yet: {why}.")
            return 1
        await api.clock.sleep(POLL_S)
