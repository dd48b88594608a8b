"""What a drain would find, on Pods built as the controllers build them; and the adapter's reading of Pods."""

from __future__ import annotations

import copy
from typing import Any

from drover.api import machine as machines
from drover.api import names, vmpod
from drover.api.wire import Object
from drover.controllers.forecast import VmForecast, forecast_drain
from drover.controllers.planning import Snapshots, pod_of, requests, snapshot, target_of
from drover.planner import Operator, Requirement, Selector, fit

GENERIC: Object = {"metadata": {"name": "generic"}, "spec": {"cpu": {"type": "Model"}}}
MACHINE = {**dict.fromkeys(machines.FIELDS), "disks": [], "seed_secret": ""}


def node(name: str, cpu: str = "8", **spec: Any) -> Object:
    taint = {"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}
    allocatable = {"cpu": cpu, "memory": "16Gi", "pods": "110"}
    labels = {"kubernetes.io/hostname": name}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [taint], **spec},
        "status": {"allocatable": allocatable},
    }


def vm_pod(name: str, on: str, cores: int = 1, group: str = "", **spec: Any) -> Object:
    """The Pod of a running VM."""
    labels = {"group": group} if group else {}
    meta = {"name": name, "namespace": "users", "uid": f"uid-{name}", "labels": labels}
    wish = {"cpu": {"cores": cores}, "memory": {"size": "1Gi"}, **spec}
    vm = {"metadata": meta, "spec": wish}
    pod = vmpod.build_pod(f"d8v-vm-{name}-aaaaa", vm, GENERIC, MACHINE)
    pod["spec"]["nodeName"] = on
    pod["metadata"]["uid"] = f"pod-{name}"
    return {**pod, "status": {"phase": "Running"}}


def together(group: str) -> Object:
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"group": group}},
    }
    return {
        "virtualMachineAndPodAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    }


def forecast(nodes: list[Object], pods: list[Object], of: str = "a") -> tuple[VmForecast, ...]:
    return forecast_drain(snapshot(nodes, pods), of, pods).vms


def test_each_vm_gets_the_room_that_the_ones_before_it_left() -> None:
    pods = [vm_pod(name, "a", cores=4) for name in ("x", "y", "z")]
    pods.append(vm_pod("old", "c", cores=6))
    lines = forecast([node("a"), node("b"), node("c")], pods)
    assert [(line.vm, line.node) for line in lines] == [
        ("users/x", "b"),
        ("users/y", "b"),
        ("users/z", ""),
    ]
    assert lines[2].message == (
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "2 Insufficient cpu."
    )


def test_only_living_vms_of_the_node_are_asked_about() -> None:
    plain = {"metadata": {"name": "web", "namespace": "users"}, "spec": {"nodeName": "a"}}
    ended, leaving, arriving = (vm_pod(name, "a") for name in ("ended", "leaving", "arriving"))
    ended["status"]["phase"] = "Succeeded"
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    arriving["metadata"]["annotations"][names.MIGRATION_ANNOTATION] = "vmop-move"
    arriving["status"]["phase"] = "Pending"
    pods = [plain, ended, leaving, arriving, vm_pod("x", "a"), vm_pod("y", "b")]
    assert [line.vm for line in forecast([node("a"), node("b")], pods)] == ["users/x"]


def test_vms_bound_to_each_other_move_as_a_group() -> None:
    pods = [vm_pod(n, "a", cores=3, group="g", affinity=together("g")) for n in ("x", "y")]
    pods += [vm_pod("single", "a"), vm_pod("old", "b", cores=4)]
    lines = forecast([node("a"), node("b"), node("c")], pods)
    group = ("users/x", "users/y")
    assert [(line.vm, line.node, line.group) for line in lines] == [
        ("users/single", "c", ()),
        ("users/x", "c", group),
        ("users/y", "c", group),
    ]


def test_a_group_without_a_common_place_is_stuck_and_says_why() -> None:
    pods = [vm_pod(n, "a", cores=3, group="g", affinity=together("g")) for n in ("x", "y")]
    lines = forecast([node("a"), node("b", cpu="4"), node("c", cpu="4")], pods)
    assert [line.node for line in lines] == ["", ""]
    assert lines[0].message.startswith("no node takes all that must stay together: users/d8v-vm-y")
    assert "Insufficient cpu" in lines[0].message


def test_a_vm_whose_friends_are_elsewhere_moves_alone() -> None:
    pods = [
        vm_pod("x", "a", group="g", affinity=together("g")),
        vm_pod("y", "a", group="g"),
        vm_pod("z", "b", group="g"),
    ]
    lines = forecast([node("a"), node("b"), node("c")], pods)
    assert [(line.vm, line.node, line.group) for line in lines] == [
        ("users/x", "b", ()),
        ("users/y", "c", ()),
    ]


def test_a_target_stays_off_its_source_and_may_be_named() -> None:
    pods = [vm_pod("x", "a")]
    cluster = snapshot([node("a"), node("b"), node("c")], pods)
    assert fit(cluster, target_of(pods[0])).nodes == ("b", "c")
    assert fit(cluster, target_of(pods[0], {"kubernetes.io/hostname": "c"})).nodes == ("c",)
    contradiction = fit(cluster, target_of(pods[0], {"kubernetes.io/hostname": "a"}))
    assert contradiction.message == (
        "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    )


def test_requests_are_those_that_the_scheduler_counts() -> None:
    def container(cpu: str, **more: Any) -> Object:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec: Object = {
        "containers": [container("500m"), container("1")],
        "initContainers": [
            container("1", restartPolicy="Always"),
            container("2"),
            container("250m", restartPolicy="Always"),
        ],
        "overhead": {"cpu": "10m", "memory": "1Mi"},
    }
    assert requests(spec) == {"cpu": 3010, "memory": 2**20}
    spec["initContainers"].pop(1)
    assert requests(spec)["cpu"] == 2760
    spec["resources"] = {"requests": {"cpu": "4"}}
    assert requests(spec)["cpu"] == 4010


def test_absurd_requests_take_their_node_and_break_no_sums() -> None:
    """Anybody who may create a Pod may write them, and name a node."""
    absurd = ["9223372036854775807", "7Ei", "1e30"]
    pods = [{"metadata": {"namespace": "evil", "name": f"p{number}", "labels": {}},
             "spec": {"nodeName": "b", "containers": [{"resources": {"requests": {"cpu": much, "memory": much}}}]}}
            for number, much in enumerate(absurd * 3)]  # fmt: skip
    lines = forecast([node("a"), node("b"), node("c")], [vm_pod("x", "a"), *pods])
    assert [(line.vm, line.node) for line in lines] == [("users/x", "c")]


def test_pictures_read_what_has_changed() -> None:
    nodes, snapshots = [node("a"), node("b")], Snapshots()
    x, y = vm_pod("x", "a", cores=6), vm_pod("y", "a")
    for pod in (x, y):
        pod["metadata"]["resourceVersion"] = "1"
    first = snapshots.take(nodes, [x, y])
    moved = copy.deepcopy(y)
    moved["spec"]["nodeName"] = "b"
    moved["metadata"]["resourceVersion"] = "2"
    second = snapshots.take(nodes, [x, moved])
    key = "users/d8v-vm-y-aaaaa"
    assert (first.node_of(key), second.node_of(key)) == ("a", "b")
    assert second.pods.pods[0] is first.pods.pods[0]
    x["status"]["phase"] = "Succeeded"
    assert [pod.key for pod in snapshots.take(nodes, [x, moved]).pods.pods] == [key]


def test_label_keys_are_merged_once() -> None:
    term = {
        "topologyKey": "zone",
        "labelSelector": {"matchLabels": {"app": "web"}},
        "matchLabelKeys": ["track"],
        "mismatchLabelKeys": ["tier", "absent"],
    }
    pod = vm_pod("x", "a")
    pod["metadata"]["labels"] |= {"track": "1", "tier": "gold"}
    rules = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    pod["spec"]["affinity"] = {"podAntiAffinity": rules}
    merged = Selector(
        (
            Requirement("app", Operator.IN, ("web",)),
            Requirement("track", Operator.IN, ("1",)),
            Requirement("tier", Operator.NOT_IN, ("gold",)),
        )
    )
    assert pod_of(pod).anti_affinity[0].selector == merged
    stored = copy.deepcopy(pod)
    stored["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        0
    ]["labelSelector"] = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "track", "operator": "In", "values": ["1"]},
            {"key": "tier", "operator": "NotIn", "values": ["gold"]},
        ],
    }
    assert pod_of(stored).anti_affinity[0].selector == merged
