"""Random clusters: the planner's arrays agree with the plain rules, before and after moves."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from tests.planner import naive
from tests.planner.cases import Cases
from tests.planner.probe import NAMESPACES

from drover.api.wire import Object
from drover.controllers.planning import counts, node_of, pod_of
from drover.planner import Cluster, Pod, fit

POPULATIONS, EACH = 12, 15


def named(pod: Object, name: str) -> Object:
    """As the API server would give it back."""
    meta = {**pod["metadata"], "name": name}
    leaving = (meta.get("annotations") or {}).get("fate") == "leaving"
    return {**pod, "metadata": {**meta, **({"deletionTimestamp": "now"} if leaving else {})}}


def check(cluster: Cluster, pods: list[Pod], coming: Pod) -> None:
    found = fit(cluster, coming)
    expected = naive.verdicts(cluster.nodes.nodes, pods, NAMESPACES, coming)
    assert found.refusals == {name: why for name, why in expected.items() if why}
    assert found.nodes == tuple(name for name, why in expected.items() if not why)


@pytest.mark.parametrize("seed", range(10))
def test_arrays_agree_with_plain_rules(seed: int) -> None:
    cases, random = Cases(seed), Random(seed)
    for _ in range(POPULATIONS):
        population = cases.population()
        nodes = [node_of(node) for node in population.nodes]
        pods = [pod_of(named(p, p["metadata"]["name"])) for p in population.pods if counts(p)]
        cluster = Cluster.of(nodes, pods, NAMESPACES)
        coming = [pod_of(named(cases.coming(), f"c{i}")) for i in range(EACH)]
        for pod in coming:
            check(cluster, pods, pod)
        if not pods:
            continue
        moves = {p.key: random.choice(nodes).name for p in random.sample(pods, len(pods) // 2)}
        moved = cluster.moved(moves)
        now = [replace(p, node=moves.get(p.key, p.node)) for p in pods]
        for pod in coming:
            check(moved, now, pod)
        check(cluster.with_pods([]), pods, coming[0])
