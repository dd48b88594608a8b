"""Several Pods, one after another: which of them find room, and on which node.

Among the nodes that fit, the least allocated one is taken, as kube-scheduler does by and large; ties go to the first.
So an answer "fits" is a plan that works, not a prophecy of what kube-scheduler will choose. Greedy: a Pod that finds
no room here might have found some had the ones before it been placed otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from drover.planner.cluster import Cluster
from drover.planner.fit import Fit, fit
from drover.planner.model import Pod

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where Pods (by key) go, why the others do not, and the picture afterwards."""

    nodes: Mapping[str, str]
    refused: Mapping[str, Fit]
    after: Cluster


def allocation(cluster: Cluster, pod: Pod) -> Floats:
    """How full each node would be with ``pod`` on it: the mean of CPU and memory, in [0, 1] and above."""
    shares = np.zeros(len(cluster.nodes))
    for resource in ("cpu", "memory"):
        whole = cluster.nodes.allocatable(resource)
        used = whole - cluster.left(resource) + pod.requests.get(resource, 0)
        shares += used / np.maximum(whole, 1) / 2
    return shares


def roomiest(cluster: Cluster, pod: Pod, found: Fit) -> str:
    """The least allocated of the nodes that fit; empty: there is none."""
    if not found.feasible.any():
        return ""
    shares = allocation(cluster, pod)
    shares[~found.feasible] = np.inf
    return found.names[int(np.argmin(shares))]


def lacking(cluster: Cluster, pod: Pod) -> tuple[str, dict[str, int]] | None:
    """The roomiest node that refuses ``pod`` for want of room alone, and how much more it would need there. None: it
    fits somewhere, or room is not what it lacks."""
    if fit(cluster, pod).feasible.any():
        return None
    node = roomiest(cluster, pod, fit(cluster, replace(pod, requests={})))
    if not node:
        return None
    row = cluster.nodes.row_of[node]
    left = {name: int(cluster.left(name)[row]) for name in pod.requests}
    missing = {name: wanted - left[name] for name, wanted in pod.requests.items()}
    return node, {name: amount for name, amount in missing.items() if amount > 0}


def place(cluster: Cluster, pods: Iterable[Pod]) -> Placement:
    """Each Pod as a copy that comes while the one in the picture, if any, still runs; once placed, only the copy
    counts. The next Pod sees the ones before it in their new places."""
    nodes: dict[str, str] = {}
    refused: dict[str, Fit] = {}
    for pod in pods:
        found = fit(cluster, pod)
        node = roomiest(cluster, pod, found)
        if not node:
            refused[pod.key] = found
            continue
        nodes[pod.key] = node
        cluster = _put(cluster, pod, node)
    return Placement(nodes, refused, cluster)


def _put(cluster: Cluster, pod: Pod, node: str) -> Cluster:
    if pod.key in cluster.pods.row_of:
        return cluster.moved({pod.key: node})
    return cluster.with_pods([replace(pod, node=node)])


def place_group(cluster: Cluster, pods: Sequence[Pod]) -> Placement:
    """All Pods or none, as if none of them ran anywhere now: Pods bound to each other find a common place only when
    the old one does not hold them. Tries each node for the first of them, roomiest first."""
    away = {pod.key: "" for pod in pods if pod.key in cluster.pods.row_of}
    empty = cluster.moved(away)
    first = fit(empty, pods[0])
    best = Placement({}, {pods[0].key: first}, cluster)
    tried: set[str] = set()
    while True:
        rest = [name not in tried for name in first.names]
        open_ = first.feasible & np.array(rest, dtype=np.bool_)
        node = roomiest(empty, pods[0], Fit(first.names, open_, ()))
        if not node:
            return best
        tried.add(node)
        placed = place(_put(empty, pods[0], node), pods[1:])
        if not placed.refused:
            return Placement({pods[0].key: node, **placed.nodes}, {}, placed.after)
        if len(tried) == 1:
            best = Placement({}, placed.refused, cluster)
