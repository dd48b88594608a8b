"""``drover drain --dry-run``: where the VMs of a node could go, what is in the way, and how long it may take."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from drover.api import scheme
from drover.api.scheme import key_of
from drover.cli import drain_plan as plan
from drover.cli.connect import Api
from drover.cli.drain_world import look
from drover.cli.session import say
from drover.controllers.forecast import DrainForecast, VmForecast, forecast_drain
from drover.controllers.planning import snapshot


async def tell(api: Api, node: str, options: plan.Options, as_json: bool) -> int:
    """Print the forecast; the exit code: 0 when everything could leave."""
    client, world = api.client, await look(api, node)
    everything, _ = await client.list(scheme.POD)
    all_nodes, _ = await client.list(scheme.NODE)
    spaces, _ = await client.list(scheme.NAMESPACE)
    choice = plan.choose(world.pods.values(), options)
    found = forecast_drain(snapshot(all_nodes, everything, spaces), node, choice.pods)
    took_s = await world.remaining_s(api, [one.vm for one in found.vms if one.node])
    others = sorted({key_of(pod) for pod in choice.pods} - {one.pod for one in found.vms})
    if as_json:
        _json(found, others, choice.refused, took_s)
    else:
        _text(found, others, choice.refused, took_s)
    return 1 if found.stuck or choice.refused else 0


def _json(
    found: DrainForecast, others: Sequence[str], refused: Sequence[str], took_s: float
) -> None:
    told = {
        "node": found.node,
        "seconds": round(took_s, 1),
        "vms": [
            {"vm": one.vm, "node": one.node, "message": one.message, "group": list(one.group)}
            for one in found.vms
        ],
        "pods": list(others),
        "refused": list(refused),
    }
    click.echo(json.dumps(told, indent=2))


def _text(
    found: DrainForecast, others: Sequence[str], refused: Sequence[str], took_s: float
) -> None:
    for one in found.vms:
        say(f"{one.vm:<30} {_words(one)}")
    for key in others:
        say(f"{key:<30} would be deleted")
    for line in refused:
        say(f"refused: {line}")
    if not found.vms:
        say(f"{found.node} has no VM to move")
        return
    movable = len(found.vms) - len(found.stuck)
    time = f", in about {plan.duration(took_s)}" if movable else ""
    say(f"{movable} of {len(found.vms)} VMs could leave{time}")


def _words(one: VmForecast) -> str:
    if not one.node:
        return f"cannot leave: {one.message}"
    others = [vm for vm in one.group if vm != one.vm]
    return f"could go to {one.node}" + (f", together with {', '.join(others)}" if others else "")
