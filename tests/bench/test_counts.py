"""What bench/control reads from pages of metrics."""

from __future__ import annotations

import math

from bench.controlling import counts, seeding
from bench.controlling.load import percentile

from drover.api import scheme

PAGE = """
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",resource="pods",subresource="",verb="POST"} 3
apiserver_request_total{code="409",resource="pods",subresource="",verb="POST"} 1
apiserver_request_total{code="200",resource="pods",subresource="status",verb="PATCH"} 5
apiserver_request_total{code="200",resource="pods",subresource="",verb="WATCH"} 9
drover_controller_work_seconds_bucket{controller="vm",le="0.01"} 90
drover_controller_work_seconds_bucket{controller="vm",le="0.1"} 99
drover_controller_work_seconds_bucket{controller="vm",le="+Inf"} 100
drover_controller_wait_seconds_bucket{controller="vm",le="+Inf"} 0
"""


def test_requests_are_counted_by_kind_and_watches_are_not() -> None:
    assert counts.requests(PAGE) == {"POST pods": 4, "PATCH pods/status": 5}


def test_passes_are_counted() -> None:
    assert (counts.passes(PAGE, "vm"), counts.passes(PAGE, "gc")) == (100, 0)


def test_a_quantile_is_the_end_of_its_bucket() -> None:
    work = counts.buckets(PAGE)[("work", "vm")]
    assert counts.quantile({}, work, 0.5) == 0.01
    assert counts.quantile({}, work, 0.99) == 0.1
    assert counts.quantile({}, work, 1.0) == math.inf
    assert counts.quantile({0.01: 90.0, 0.1: 90.0, math.inf: 90.0}, work, 0.5) == 0.1
    assert counts.quantile(work, work, 0.5) == 0


def test_the_slowest_controller_comes_first() -> None:
    page = PAGE.replace('"vm"', '"vmop"').replace('le="0.1"} 99', 'le="0.1"} 100') + PAGE
    rows = list(counts.slowest({}, counts.buckets(page), 0.995))
    assert rows == [("vm", 0.0, math.inf), ("vmop", 0.0, 0.1)]


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [51, 100, 100]
    assert percentile([], 0.5) == 0


def test_a_clone_has_names_uids_and_references_of_its_own() -> None:
    vm = {"metadata": {"name": "template-vm", "namespace": "default", "uid": "uid-of-the-vm",
                       "resourceVersion": "7"}, "spec": {"ip": "10.64.0.10", "at": "2026-01-01T00:00:09Z"}}  # fmt: skip
    owner = [{"uid": "uid-of-the-vm"}]
    pod = {"metadata": {"name": "d8v-vm-template-vm-abcde", "namespace": "default",
                        "uid": "uid-of-the-pod", "ownerReferences": owner}}  # fmt: skip
    made = seeding.Template.of([(scheme.VM, vm), (scheme.POD, pod)], ("template-vm", "10.64.0.10"))
    given = {"template-vm": "vm-1", "10.64.0.10": "10.64.4.1"}
    (vm_key, vm_text), (pod_key, pod_text) = made.clone("vm-1", given)
    assert vm_key == "/registry/virtualization.deckhouse.io/virtualmachines/default/vm-1"
    assert pod_key == "/registry/pods/default/d8v-vm-vm-1-abcde"
    assert b"10.64.4.1" in vm_text
    assert b"uid-of" not in vm_text + pod_text
    assert b"resourceVersion" not in vm_text
    assert b"2026-01-01T00:00:09Z" in vm_text
    other = dict(made.clone("vm-2", {**given, "template-vm": "vm-2"}, 10.0))
    assert any(b"2025-12-31T23:59:59Z" in text for text in other.values())
    assert other.keys().isdisjoint({vm_key, pod_key})
