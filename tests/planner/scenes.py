"""Small random clusters as plain data, and the same as the planner's values.

Plain, because the replayer judges plans without a line of the planner: these records are what both start from.
Everything comes from a seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from drover.planner import (
    Cluster,
    Goal,
    Node,
    Operator,
    Pod,
    PodTerm,
    Requirement,
    Selector,
    Spread,
    Taint,
    Toleration,
    Vm,
)

GI = 2**30
APPS = ("web", "db", "cache")
TOPOLOGY = {"host": "kubernetes.io/hostname", "zone": "zone"}


@dataclass(frozen=True)
class Host:
    name: str
    zone: str
    cpu: int
    memory: int  # GiB
    tainted: bool = False
    cordoned: bool = False


@dataclass(frozen=True)
class Guest:
    """``apart``, ``near``: (topology, app) of Pods; ``spread``: (topology, skew), counted over its own app."""

    name: str
    host: str
    cpu: int
    memory: int
    app: str
    zone: str = ""
    tolerates: bool = False
    apart: tuple[str, str] | None = None
    near: tuple[str, str] | None = None
    spread: tuple[str, int] | None = None
    movable: bool = True


@dataclass(frozen=True)
class Scene:
    hosts: tuple[Host, ...]
    guests: tuple[Guest, ...]
    ceilings: dict[str, int] = field(default_factory=dict)


def scene(seed: int, *, tiny: bool = False) -> Scene:
    """Three to six hosts with 5 to 25 guests, or three with at most six."""
    random = Random(f"scene {seed}")
    count = 3 if tiny else random.randint(3, 6)
    calm = (
        1.0 if seed % 2 else 0.3
    )  # every other one has fewer rules, and more plans that mend it all
    hosts = tuple(_host(f"h{i}", random, calm) for i in range(count))
    guests = tuple(
        _guest(f"g{i:02}", random.choice(hosts).name, random, calm)
        for i in range(random.randint(3, 6) if tiny else random.randint(5, 5 * count))
    )
    ceilings = {"cpu": random.choice((70, 80, 80, 90))}
    if random.random() < 0.3:
        ceilings["memory"] = random.choice((80, 90))
    return Scene(hosts, _fitting(hosts, guests), ceilings)


def _host(name: str, random: Random, calm: float) -> Host:
    return Host(
        name,
        random.choice("xyz"),
        random.choice((8000, 8000, 16000)),
        random.choice((32, 64)),
        random.random() < 0.08 * calm,
        random.random() < 0.05,
    )


def _guest(name: str, host: str, random: Random, calm: float) -> Guest:
    def chance(share: float) -> bool:
        return random.random() < share * calm

    app, other = random.choice(APPS), random.choice(APPS)
    topology = random.choice(("host", "host", "zone"))
    return Guest(
        name,
        host,
        random.choice((500, 1000, 1000, 2000, 3000)),
        random.choice((1, 2, 4, 8)),
        app,
        random.choice("xyz") if chance(0.1) else "",
        chance(0.2),
        (topology, random.choice((app, other))) if chance(0.12) else None,
        (topology, random.choice((app, other))) if chance(0.04) else None,
        (topology, random.choice((1, 2))) if chance(0.05) else None,
        not chance(0.1),
    )


def _fitting(hosts: tuple[Host, ...], guests: tuple[Guest, ...]) -> tuple[Guest, ...]:
    """Those that there is room for: nobody starts above what a host has."""
    left = {host.name: [host.cpu, host.memory] for host in hosts}
    kept = []
    for guest in guests:
        room = left[guest.host]
        if guest.cpu <= room[0] and guest.memory <= room[1]:
            room[0] -= guest.cpu
            room[1] -= guest.memory
            kept.append(guest)
    return tuple(kept)


def _term(rule: tuple[str, str] | None) -> tuple[PodTerm, ...]:
    if rule is None:
        return ()
    chosen = Selector((Requirement("app", Operator.IN, (rule[1],)),))
    return (PodTerm(TOPOLOGY[rule[0]], chosen, ("ns",)),)


def pod_of(guest: Guest) -> Pod:
    own = Selector((Requirement("app", Operator.IN, (guest.app,)),))
    return Pod(
        "ns",
        guest.name,
        {"app": guest.app},
        {"cpu": guest.cpu, "memory": guest.memory * GI},
        guest.host,
        (Requirement("zone", Operator.IN, (guest.zone,)),) if guest.zone else (),
        tolerations=(Toleration("t", exists=True),) if guest.tolerates else (),
        affinity=_term(guest.near),
        anti_affinity=_term(guest.apart),
        spread=(Spread(TOPOLOGY[guest.spread[0]], guest.spread[1], own),) if guest.spread else (),
    )


def values_of(given: Scene) -> tuple[Cluster, list[Vm], Goal]:
    """For the planner."""
    nodes = [
        Node(
            host.name,
            {"kubernetes.io/hostname": host.name, "zone": host.zone},
            (Taint("t"),) if host.tainted else (),
            host.cordoned,
            {"cpu": host.cpu, "memory": host.memory * GI, "pods": 30},
        )
        for host in given.hosts
    ]
    pods = [pod_of(guest) for guest in given.guests]
    vms = [Vm(f"ns/{g.name}", g.memory * GI, movable=g.movable) for g in given.guests]
    return Cluster.of(nodes, pods), vms, Goal(given.ceilings)
