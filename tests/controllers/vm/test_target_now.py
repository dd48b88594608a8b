"""What a target Pod takes from the present: placement and firmware, and nothing that needs a restart."""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.controllers.vm.test_pods import CLASS, REQUIRED, VM, VMM, bound

from drover.api import firmware, names, placement, vmpod


def wished(**changes: Any) -> dict[str, Any]:
    vm = copy.deepcopy(VM)
    vm["spec"] |= changes
    return vm


def terms(pod: dict[str, Any]) -> list[dict[str, Any]]:
    node = pod["spec"]["affinity"]["nodeAffinity"]
    return list(node["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"])


def test_placement_is_that_of_now_and_the_machine_that_of_the_source() -> None:
    vm = wished(nodeSelector={"disk": "nvme"}, affinity={}, tolerations=[], memory={"size": "8Gi"})
    source = bound()
    target = vmpod.target_pod(source, VMM, "x", vmpod.Now(vm, CLASS))
    assert target["spec"]["nodeSelector"] == {"disk": "nvme", "zone": "b"}
    assert [t["key"] for t in target["spec"]["tolerations"]] == [
        *("drover.dev/vm-node", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"),
        "vm",
    ]
    assert [t["matchExpressions"] for t in terms(target)] == [[{"key": "c", "operator": "Exists"}]]
    apart = target["spec"]["affinity"]["podAntiAffinity"][REQUIRED]
    assert [list(term["labelSelector"]["matchLabels"]) for term in apart] == [
        [vmpod.CREATED_BY_LABEL]
    ]
    notes, before = target["metadata"]["annotations"], source["metadata"]["annotations"]
    assert notes[names.MACHINE_ANNOTATION] == before[names.MACHINE_ANNOTATION]
    assert target["spec"]["containers"] == source["spec"]["containers"]
    assert notes[placement.DIGEST_ANNOTATION] == placement.digest(vm, CLASS)
    applied = json.loads(notes[vmpod.APPLIED_SPEC_ANNOTATION])
    assert applied["nodeSelector"] == {"disk": "nvme"}
    assert applied["memory"] == {"size": "4Gi"}  # waits for a restart


def test_a_second_move_forgets_the_first_ones_rules_too() -> None:
    now = vmpod.Now(wished(affinity={}), CLASS)
    first = vmpod.target_pod(bound(), VMM, "x", now)
    back = {"metadata": {"name": "b", "uid": "m2"}, "spec": {**VMM["spec"], "sourceNode": "n2"}}
    assert (
        vmpod.target_pod(first, back, "y", now)["spec"]
        == (vmpod.target_pod(bound(), back, "y", now)["spec"])
    )


def test_firmware_is_wished_for_and_nodes_are_avoided() -> None:
    now = vmpod.Now(VM, CLASS, "10.0.2", ("n3", "n4"))
    target = vmpod.target_pod(bound(), VMM, "x", now)
    assert firmware.wish_of(target) == "10.0.2"
    off = [
        {"key": "metadata.name", "operator": "NotIn", "values": [node]}
        for node in ("n1", "n3", "n4")
    ]
    assert [t["matchFields"] for t in terms(target)] == [off, off]
    back = {"metadata": {"name": "b", "uid": "m2"}, "spec": {**VMM["spec"], "sourceNode": "n2"}}
    again = vmpod.target_pod(target, back, "y", vmpod.Now(VM, CLASS))
    assert firmware.wish_of(again) == "10.0.2"  # nobody wants another one
    assert [t["matchFields"][0]["values"] for t in terms(again)] == [["n2"], ["n2"]]


def test_a_digest_is_of_the_wish_alone() -> None:
    assert placement.digest(VM, CLASS) == placement.digest(copy.deepcopy(VM), CLASS)
    assert placement.digest(VM, CLASS) == placement.digest(wished(memory={"size": "1Gi"}), CLASS)
    assert placement.digest(VM, CLASS) != placement.digest(wished(nodeSelector={}), CLASS)
    other = {**CLASS, "spec": {**CLASS["spec"], "tolerations": []}}
    assert placement.digest(VM, CLASS) != placement.digest(VM, other)
