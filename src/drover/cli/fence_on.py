"""``drover fence on`` and ``off``: write a group's ``spec.fencing``, and follow until its nodes live by it."""

from __future__ import annotations

import click

from drover.api import profiles, scheme
from drover.api.fencing import Timing
from drover.api.kinds import node as nodes
from drover.api.kinds import nodegroup
from drover.api.meta import name_of
from drover.api.status import ApiError
from drover.api.wire import Object
from drover.cli.connect import Api
from drover.cli.fence_world import World, look
from drover.cli.session import PROGRAM, say

POLL_S = 0.3


async def switch_on(api: Api, group: str, profile: str, limit_s: float) -> int:
    """The exit code: 0 when every node of the group is armed by its times, 1 when some are not within ``limit_s``. An
    empty profile leaves the times as they are."""
    name = name_of(await _group(api, group))
    wanted: Object = {"mode": "Watchdog"}
    if profile:
        wanted |= {"profile": profile, "watchdog": None}  # an own timeout would stand in its place
    kept = await _write(api, name, wanted)
    if profile and nodegroup.profile(kept) != profiles.PROFILES[profile]:
        raise click.ClickException(
            f"the definition of NodeGroup here is not drover's, and has no field profile: set "
            f"spec.fencing.watchdog.timeout to {profiles.PROFILES[profile].timeout_s:g}s"
        )
    return await _follow(api, name, limit_s)


async def switch_off(api: Api, group: str) -> int:
    """The exit code."""
    name = name_of(await _group(api, group))
    await _write(api, name, None)
    say(
        f"Fencing of NodeGroup {name} is off: a lost node's VMs start elsewhere when somebody says that it is off"
    )
    say(f"(`{PROGRAM} fence confirm NODE`).")
    return 0


async def _group(api: Api, wanted: str) -> Object:
    """The one that is named, or the only one. Raises ClickException."""
    there, _ = await api.client.list(scheme.NODEGROUP)
    known = ", ".join(sorted(map(name_of, there))) or "none"
    found = [group for group in there if not wanted or name_of(group) == wanted]
    if wanted and not found:
        raise click.ClickException(f"there is no NodeGroup {wanted!r}; there are: {known}")
    if len(found) != 1:
        raise click.ClickException(f"name a NodeGroup with --group; there are: {known}")
    return found[0]


async def _write(api: Api, group: str, wanted: Object | None) -> Object:
    try:
        return await api.client.patch(scheme.NODEGROUP, group, "", {"spec": {"fencing": wanted}})
    except ApiError as refused:
        raise click.ClickException(f"NodeGroup {group} was not changed: {refused}") from refused


async def _follow(api: Api, group: str, limit_s: float) -> int:
    end_s, said = api.clock.monotonic() + limit_s, set[str]()
    while True:
        world = await look(api)
        obj = world.groups[group]
        timing = _times(group, obj)
        members = [node for node in world.nodes if world.group_of.get(node) == group]
        late = [node for node in members if not lives_by(world, node, timing)]
        for node in members:
            if node not in late and node not in said:
                said.add(node)
                say(
                    f"{node} is armed: its VMs are dead {timing.timeout_s:g} s after its last sign of life."
                )
        if members and not late:
            by = f"profile {nodegroup.profile(obj).name}"
            say(
                f"NodeGroup {group} is fenced, {by}: a lost node's VMs start elsewhere {timing.fence_s:.1f} s"
            )
            say("after its last sign of life.")
            return 0
        if api.clock.monotonic() > end_s:
            for node in late:
                say(f"{node} is {world.state(node)}{_because(world, node)}")
            if not members:
                say(f"No node of NodeGroup {group} has joined.")
            return 1
        await api.clock.sleep(POLL_S)


def _times(group: str, obj: Object) -> Timing:
    """Raises ClickException with the arithmetic when they may not be used."""
    try:
        timing = nodegroup.timing(obj)
    except ValueError as bad:
        raise click.ClickException(f"spec.fencing of NodeGroup {group}: {bad}") from bad
    if problems := timing.problems():
        raise click.ClickException("; ".join([*problems, "nothing is fenced by these times"]))
    return timing


def lives_by(world: World, node: str, timing: Timing) -> bool:
    """Its last renewal promises just these times."""
    evidence = nodes.evidence(world.leases[node]) if node in world.leases else None
    armed = evidence.armed if evidence is not None else None
    if armed is None:
        return False
    promised = round(armed.age_s + armed.slack_s, 3), round(armed.late_s, 3)
    return promised == (round(timing.timeout_s, 3), round(timing.late_s, 3))


def _because(world: World, node: str) -> str:
    if why := world.why(node):
        return f": {why}"
    return f"; `{PROGRAM} k describe node {node}` may tell more"
