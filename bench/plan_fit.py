"""bench/plan_fit: where one VM fits on 1,000 nodes with 20,000 VMs and their rules.

The yardstick is the same rules said plainly, node by node and Pod by Pod (``tests/planner/naive.py``); both answer for
the same VMs, and the answers are compared. The VMs that come are copies of some that run: what a drain asks.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TypeVar

from tests.planner import naive

from bench import common
from drover.planner import (
    Cluster,
    Node,
    NodeTerm,
    Operator,
    Pod,
    PodTerm,
    Requirement,
    Selector,
    Spread,
    Taint,
    Toleration,
    fit,
)

NODES, PER_NODE = 1000, 20
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
VM_TAINT = "drover.dev/vm-node"
GI = 2**30
SEED = 5
T = TypeVar("T")


def one_of(key: str, *values: str) -> Requirement:
    return Requirement(key, Operator.IN, values)


def node(number: int, random: Random) -> Node:
    name = f"node-{number:04}"
    labels = {
        HOST: name,
        ZONE: f"zone-{number % 3}",
        "rack": f"rack-{number % 60}",
        "disk": random.choice(("ssd", "ssd", "hdd")),
        "generation": str(random.randint(5, 9)),
    }
    return Node(
        name,
        labels,
        (Taint(VM_TAINT), Taint("gpu")) if random.random() < 0.05 else (Taint(VM_TAINT),),
        random.random() < 0.01,
        {"cpu": 64_000, "memory": 256 * GI, "pods": 110},
    )


def vm(number: int, random: Random) -> Pod:
    """Every third has rules: apart from its like on hosts, spread over zones, near its database, on certain nodes."""
    app, namespace = f"app-{number // 5}", f"team-{number // 5 % 100}"
    kin = Selector((one_of("app", app),))
    rules: dict[str, object] = {}
    lot = random.random()
    if lot < 0.15:
        rules["anti_affinity"] = (PodTerm(HOST, kin, (namespace,)),)
    elif lot < 0.20:
        rules["anti_affinity"] = (PodTerm("rack", kin, (namespace,)),)
    elif lot < 0.25:
        rules["spread"] = (Spread(ZONE, 1, kin),)
    elif lot < 0.28:
        rules["affinity"] = (PodTerm(ZONE, kin, (namespace,)),)
    elif lot < 0.33:
        newer = Requirement("generation", Operator.GT, ("6",))
        rules["node_terms"] = (NodeTerm((one_of("disk", "ssd"), newer)),)
    return Pod(
        namespace,
        f"d8v-vm-vm-{number}-abcde",
        {"app": app, "tier": random.choice(("web", "db")), "vm": f"vm-{number}"},
        {"cpu": random.choice((500, 1000, 2000)), "memory": random.choice((2, 4, 8)) * GI},
        tolerations=(Toleration(VM_TAINT, exists=True),),
        **rules,  # type: ignore[arg-type]
    )


def world(random: Random) -> tuple[list[Node], list[Pod]]:
    nodes = [node(number, random) for number in range(NODES)]
    pods = [
        replace(vm(number, random), node=random.choice(nodes).name)
        for number in range(NODES * PER_NODE)
    ]
    return nodes, pods


def timed_ms(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = work()
    return (time.perf_counter() - began) * 1000, result


def fits_ms(cluster: Cluster, coming: list[Pod], rounds: int = 1) -> list[float]:
    """Per VM, of so many rounds the best: what it costs, without what the machine did meanwhile."""
    return [
        min(timed_ms(lambda pod=pod: fit(cluster, pod))[0] for _ in range(rounds)) for pod in coming
    ]


def yardstick_ms(cluster: Cluster, pods: list[Pod], coming: list[Pod]) -> list[float]:
    """The plain rules for the same VMs; SystemExit when their answer is another one."""
    times = []
    for pod in coming:
        took, expected = timed_ms(
            lambda pod=pod: naive.verdicts(cluster.nodes.nodes, pods, {}, pod)
        )
        times.append(took)
        if fit(cluster, pod).refusals != {name: why for name, why in expected.items() if why}:
            raise SystemExit(f"{pod.key}: the planner and the plain rules differ")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--fits", type=int, default=2000)
    parser.add_argument("--plain", type=int, default=5, help="VMs judged by the yardstick")
    given = parser.parse_args()
    before, random = common.load(), Random(SEED)
    nodes, pods = world(random)
    build_ms, cluster = timed_ms(lambda: Cluster.of(nodes, pods))
    coming = [replace(pod, node="") for pod in random.sample(pods, given.fits)]
    first_ms = sum(fits_ms(cluster, coming[:200]))
    times, best = sorted(fits_ms(cluster, coming)), max(fits_ms(cluster, coming, 3))
    ruled = [p for p in coming if p.anti_affinity or p.spread or p.affinity][: given.plain]
    plain, few = yardstick_ms(cluster, pods, ruled), fits_ms(cluster, ruled)
    figures = [
        common.Figure("one fit, any VM", "ms", times, plain, "<= 2 ms"),
        common.Figure("one fit, the yardstick's VMs", "ms", few, plain, "<= 2 ms"),
    ]
    title = f"bench/plan_fit: {NODES} nodes, {len(pods)} VMs; {given.fits} fits, medians"
    common.show(title, figures, before)
    print(f"99 % of the fits within {times[len(times) * 99 // 100]:.2f} ms")
    print(f"the most expensive VM, best of three: {best:.2f} ms")
    print(
        f"the yardstick takes {statistics.median(plain) / statistics.median(few):,.0f} times as long"
    )
    print(
        f"building the picture {build_ms:.0f} ms; the first 200 fits, columns made, {first_ms:.0f} ms"
    )


if __name__ == "__main__":
    main()
