"""What happened since a moment: moves, losses of nodes, plans; with the sums of what guests felt. Pure.

It is read from the objects that are kept, so it goes back as far as they do: of each VM the ten newest finished
operations of the last day, every NodeFence, the last twenty plans. Downtime of a move is what its source's QEMU told;
outage of a loss is from the node's last sign of life to the VM's start elsewhere, without the boot of the guest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from drover.answers.world import World
from drover.api import scheme
from drover.api.kinds import nodefence
from drover.api.kinds import rebalance as plans
from drover.api.kinds import vmm as vmms
from drover.api.kinds.rebalance import StepState
from drover.api.meta import name_of
from drover.api.names import VmmPhase
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339, rfc3339
from drover.base.words import camel


@dataclass(frozen=True, slots=True)
class Move:
    """``ended_s`` None: it goes on. Times are wall time."""

    vm: str
    source: str
    target: str
    origin: str
    result: str  # Succeeded, Failed, Aborted, or the phase it is in
    began_s: float
    ended_s: float | None
    downtime_ms: int | None
    copied_bytes: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """A VM of a lost node. ``outage_s`` None: it was not started again yet."""

    vm: str
    node: str
    outage_s: float | None


@dataclass(frozen=True, slots=True)
class Loss:
    """One life of a node that fell silent. ``moments`` in order of time."""

    node: str
    phase: str
    evidence: str
    began_s: float
    moments: tuple[tuple[str, float], ...]
    vms: tuple[Restart, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    name: str
    phase: str
    began_s: float
    moves: int
    done: int
    failed: int
    overloaded: int


@dataclass(frozen=True)
class History:
    """In order of time."""

    since_s: float
    until_s: float
    moves: tuple[Move, ...]
    losses: tuple[Loss, ...]
    plans: tuple[Plan, ...]
    missing: tuple[str, ...] = ()

    @property
    def sums(self) -> dict[str, float]:
        """Counts; milliseconds of downtime in moves; seconds of outage in losses."""
        told = [move.downtime_ms for move in self.moves if move.downtime_ms is not None]
        restarts = [one for loss in self.losses for one in loss.vms]
        outages = [one.outage_s for one in restarts if one.outage_s is not None]
        results = [move.result for move in self.moves]
        return {
            "moves": len(results),
            "succeeded": results.count(VmmPhase.SUCCEEDED),
            "failed": results.count(VmmPhase.FAILED),
            "aborted": results.count(VmmPhase.ABORTED),
            "downtimeMs": sum(told),
            "longestDowntimeMs": max(told, default=0),
            "copiedBytes": sum(move.copied_bytes for move in self.moves),
            "nodesLost": len(self.losses),
            "vmsRestarted": len(outages),
            "vmsNotRestarted": len(restarts) - len(outages),
            "outageS": round(sum(outages), 1),
            "longestOutageS": round(max(outages, default=0.0), 1),
            "plans": len(self.plans),
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "since": rfc3339(self.since_s),
            "until": rfc3339(self.until_s),
            "sums": self.sums,
            "moves": [_json(one) for one in self.moves],
            "losses": [_json(one) for one in self.losses],
            "plans": [_json(one) for one in self.plans],
            **({"notReadable": list(self.missing)} if self.missing else {}),
        }


def history(world: World, since_s: float) -> History:
    """What began or ended since then."""
    return History(
        since_s,
        world.now_s,
        _since(map(_move, world.all(scheme.VMM)), since_s, lambda one: one.ended_s or world.now_s),
        _since(
            map(_loss, world.all(scheme.NODEFENCE)),
            since_s,
            lambda one: max([one.began_s, *(at_s for _, at_s in one.moments)]),
        ),
        _since(map(_plan, world.all(scheme.REBALANCEPLAN)), since_s, lambda one: one.began_s),
        world.missing,
    )


def _since(found: Iterable[Any], since_s: float, last_s: Callable[[Any], float]) -> tuple[Any, ...]:
    recent = [one for one in found if last_s(one) >= since_s]
    return tuple(sorted(recent, key=lambda one: one.began_s))


def _at(text: object) -> float | None:
    return parse_rfc3339(str(text)) if text else None


def _born(obj: Object) -> float:
    return _at(obj["metadata"].get("creationTimestamp")) or 0.0


def _move(vmm: Object) -> Move:
    said, report = vmms.status(vmm), vmms.source_report(vmm)
    words = [said.get("reason"), said.get("message")]
    reason = [str(word) for word in words if word and word != vmms.phase(vmm)]
    moved = vmms.phase(vmm) == VmmPhase.SUCCEEDED
    return Move(
        vm=vmms.vm_key(vmm),
        source=vmms.source_node(vmm),
        target=vmms.target_node(vmm),
        origin=str(vmms.origin(vmm)),
        result=vmms.phase(vmm),
        began_s=_born(vmm),
        ended_s=_at(said.get("endTimestamp")),
        downtime_ms=report.get("downtimeMs") if moved else None,
        copied_bytes=int(report.get("ramTransferredBytes", 0)),
        why="" if moved else ": ".join(reason),
    )


def _loss(fence: Object) -> Loss:
    said = fence.get("status") or {}
    told = {str(name): parse_rfc3339(str(at)) for name, at in (said.get("timeline") or {}).items()}
    began_s = min([*told.values(), _born(fence)] if told else [_born(fence)])
    seen_s = told.get("lastSeen", began_s)
    vms = [
        Restart(
            f"{one['namespace']}/{one['name']}",
            one.get("node", ""),
            parse_rfc3339(one["restarted"]) - seen_s if "restarted" in one else None,
        )
        for one in nodefence.lost_vms(fence)
    ]
    moments = tuple(sorted(told.items(), key=lambda pair: pair[1]))
    phase, evidence = str(nodefence.phase(fence)), str(said.get("evidence") or "")
    return Loss(nodefence.node(fence), phase, evidence, began_s, moments, tuple(vms))


def _plan(plan: Object) -> Plan:
    states = [str(step.get("state")) for step in plans.steps(plan)]
    return Plan(
        name=name_of(plan),
        phase=str(plans.phase(plan)),
        began_s=_born(plan),
        moves=len(plans.moves(plan)),
        done=states.count(StepState.DONE),
        failed=states.count(StepState.FAILED),
        overloaded=len(plans.spec(plan).get("overloaded") or ()),
    )


def _json(row: Move | Loss | Plan) -> dict[str, Any]:
    """Names as in the API; moments as timestamps."""
    found: dict[str, Any] = {}
    for name, value in asdict(row).items():
        if name in ("began_s", "ended_s"):
            found[name.removesuffix("_s")] = None if value is None else rfc3339(value)
        elif name == "moments":
            found["timeline"] = {moment: rfc3339(at_s) for moment, at_s in value}
        elif name == "vms":
            found["vms"] = [
                {"vm": vm["vm"], "node": vm["node"], "outageS": vm["outage_s"]} for vm in value
            ]
        else:
            found[camel(name)] = value
    return found
