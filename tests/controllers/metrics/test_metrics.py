"""Every metric of the papers is made, with the labels that they name, and says what the objects say."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.controllers.rebalance.objects import node, pod

from drover.api.wire import Object
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.controllers.metrics.exposition import AT_ONCE, Exposition, Objects, families, packed
from drover.controllers.metrics.moves import Finished
from drover.runtime.client import Client
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.manager import Manager
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run

PAPER = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
NOW_S = 1_767_225_600.0 + 3600  # 2026-01-01T01:00:00Z
AT = "2026-01-01T00:00:00Z"
COMMON = {
    "virtualmachine": {"name", "namespace", "uid", "node"},
    "virtualmachineoperation": {"name", "namespace", "uid", "type", "virtualmachine"},
    "virtualmachineclass": {"name", "uid"},
    "virtualdisk": {"name", "uid", "namespace"},
    "virtualimage": {"name", "uid", "namespace"},
    "clustervirtualimage": {"name", "uid"},
}


def obj(name: str, namespace: str = "users", **parts: object) -> Object:
    place = {"namespace": namespace} if namespace else {}
    meta = {"name": name, "uid": f"uid-{name}", "creationTimestamp": AT, **place}
    return {"metadata": {**meta, **parts.pop("metadata", {})}, **parts}  # type: ignore[dict-item]


def exposed(*of: Any) -> str:
    """What a scrape reads of these ``families``."""
    return gzip.decompress(packed(families(*of))).decode()


def condition(kind: str, status: str = "True", reason: str = "", at: str = AT) -> Object:
    return {"type": kind, "status": status, "reason": reason, "lastTransitionTime": at}


def worked() -> Controller:
    """One whose keys have waited for 3 ms once, and were worked on for 40 ms."""

    async def reconcile(_: str) -> Outcome:
        return Done()

    made = Controller("vm", reconcile)
    made.bind(SimClock(), Log(SimClock(), lambda _: None))
    made.waited.observe(0.003)
    made.worked.observe(0.04)
    return made


VM = obj(
    "my-vm",
    metadata={
        "labels": {"app.kubernetes.io/name": "db"},
        "annotations": {"note": "hi", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    },
    spec={
        "cpu": {"cores": 4, "coreFraction": "50%"},
        "memory": {"size": "4Gi"},
        "runPolicy": "AlwaysOn",
        "virtualMachineClassName": "generic",
    },
    status={
        "phase": "Running",
        "nodeName": "n1",
        "resources": {
            "cpu": {"cores": 2, "coreFraction": "25%", "runtimeOverhead": "0"},
            "memory": {"size": "2Gi", "runtimeOverhead": "284Mi"},
        },
        "virtualMachinePods": [{"name": "old", "active": False}, {"name": "new", "active": True}],
        "conditions": [
            condition("AwaitingRestartToApplyConfiguration"),
            condition("ConfigurationApplied", "False"),
            condition("AgentReady"),
            condition("Migratable"),
            condition("FirmwareUpToDate", "False"),
            condition("EvictionRequired"),
            condition("EvacuationBlocked"),
        ],
    },
)
FRESH_VM = obj("fresh", spec={"cpu": {"cores": 1}, "memory": {"size": "1Gi"}})


def vmop(name: str, phase: str, kind: str = "Evict", *conditions: Object, **meta: object) -> Object:
    spec = {"type": kind, "virtualMachineName": "my-vm"}
    status = {"phase": phase, "conditions": list(conditions)} if phase else {}
    return obj(name, metadata=meta, spec=spec, status=status)


WAITING = condition("Completed", "False", "MigrationPending")
VMOPS = [
    vmop("evict", "Pending", "Evict", WAITING),
    vmop(
        "evacuation-x",
        "Pending",
        "Evict",
        WAITING,
        annotations={"virtualization.deckhouse.io/evacuation": "true"},
        creationTimestamp="2026-01-01T00:59:00Z",
    ),
    vmop("done", "Completed", "Migrate", condition("SignalSent"), condition("Completed")),
    vmop("refused", "Failed", "Start", condition("Completed", "False", at="2026-01-01T00:00:09Z")),
    vmop("new", "", "Stop"),
    vmop("copying", "InProgress", "Evict", condition("Completed", "False", "Syncing")),
]


def move(name: str, phase: str, seconds: int, downtime_ms: int | None = None) -> Object:
    source = {} if downtime_ms is None else {"source": {"downtimeMs": downtime_ms}}
    ended = {"endTimestamp": f"2026-01-01T00:00:{seconds:02}Z"} if seconds else {}
    return obj(name, spec={}, status={"phase": phase, **ended, **source})


MOVES = [
    move("a", "Succeeded", 2, 20),
    move("b", "Succeeded", 8, 300),
    move("c", "Failed", 59, 5000),
    obj(
        "d",
        spec={"virtualMachineName": "my-vm", "sourceNode": "n1"},
        status={
            "phase": "Copying",
            "source": {
                "ramTotalBytes": 1000,
                "ramTransferredBytes": 600,
                "ramRemainingBytes": 500,
                "dirtyBytesPerSecond": 70,
                "mbps": 8.0,
            },
        },
    ),
]
ENDED = {"phase": "Succeeded"}
FENCED = {"node": "n9", "incarnation": "life", "group": "worker"}
OBJECTS = Objects(
    vms=[VM, FRESH_VM],
    vmops=VMOPS,
    moves=MOVES,
    classes=[
        obj(
            "generic",
            "",
            spec={"cpu": {"type": "Model", "model": "Nehalem"}},
            status={"phase": "Ready", "availableNodes": ["n1", "n2"]},
        )
    ],
    disks=[
        obj(
            "root",
            metadata={"labels": {"a": "b"}, "annotations": {"c-d": "e"}},
            status={
                "phase": "Ready",
                "capacity": "10Gi",
                "heldBy": {"name": "my-vm"},
                "conditions": [condition("InUse")],
            },
        )
    ],
    images=[obj("iso", status={"phase": "Failed"})],
    cluster_images=[obj("linux", "", status={"phase": "Ready"})],
    groups=[
        obj(
            "worker",
            "",
            status={"standby": [{"node": "n1", "virtualMachines": 3, "withoutRoom": 1}]},
        )
    ],
    deschedulers=[
        obj(
            "virtualization",
            "",
            status={
                "overloadedNodes": 2,
                "brokenRules": 1,
                "lastBalancedTime": AT,
                "conditions": [condition("Balanced", "False")],
            },
        )
    ],
    plans=[
        obj(
            "rebalance-1",
            "",
            spec={"number": 1},
            status={
                "phase": "Executing",
                "done": 2,
                "gain": 30,
                "steps": [{"state": state} for state in ("Done", "Done", "Failed", "Moving")],
            },
        )
    ],
    nodes=[node("n1", "10", unschedulable=True), node("n2"), obj("cp", "", spec={})],
    pods=[pod("a", "n1", "2"), pod("b", "n1", "500m"), {**pod("c", "n1"), "status": ENDED}],
    fences=[
        obj("n9-a", "", spec=FENCED, status={"phase": "Fenced"}),
        obj(
            "n9-b",
            "",
            metadata={"creationTimestamp": "2026-01-01T00:30:00Z"},
            spec=FENCED,
            status={"phase": "Rejoined"},
        ),
    ],
)
WORKED = [worked()]


def documented() -> dict[str, set[str]]:
    """Per metric of the tables: all of its labels."""
    found = {}
    for line in PAPER.read_text().splitlines():
        if match := re.match(r"\| `(\w+)` \|([^|]*)\|", line):
            name, labels = match.groups()
            kind = name.removeprefix("d8_virtualization_").split("_")[0]
            common = set() if "_migration_" in name else COMMON.get(kind, set())
            found[name] = {*re.findall(r"`([^`]+)`", labels), *common}
    return found


def test_the_papers_name_every_metric_and_its_labels() -> None:
    made = list(families(OBJECTS, Finished(), NOW_S, WORKED))
    paper = documented()
    assert sorted(family.name for family in made) == sorted(paper)
    for family in made:
        assert family.samples, family.name
        for sample in family.samples:
            labels = {re.sub(r"^(label|annotation)_.*", r"\1_*", key) for key in sample.labels}
            wanted = paper[family.name] - ({"label_*", "annotation_*"} - labels)
            assert labels - {"le"} == wanted, family.name


ONE_NODE = replace(OBJECTS, classes=(), nodes=())


def samples(objects: Objects = ONE_NODE) -> dict[tuple[str, str], float]:
    """By name and the labels that are not its object's base, through the text and back."""
    found = {}
    base = {"namespace", "uid", "node"}
    for family in text_string_to_metric_families(exposed(objects, Finished(), NOW_S, WORKED)):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()) if k not in base)
            assert (sample.name, labels) not in found
            found[(sample.name, labels)] = sample.value
    return found


@pytest.mark.parametrize(
    ("kind", "series"),
    [("vms", "virtualmachine_cpu_cores"), ("disks", "virtualdisk_status_in_use")],
)
def test_families_of_many_objects_are_whole(kind: str, series: str) -> None:
    """They are made in parts; a family that comes twice would be refused by who reads it."""
    (one, *_) = getattr(OBJECTS, kind)
    many = tuple(
        {**one, "metadata": {**one["metadata"], "name": f"one-{n}"}} for n in range(AT_ONCE + 1)
    )
    text = exposed(replace(OBJECTS, **{kind: many}), Finished(), NOW_S)
    found = [family.name for family in text_string_to_metric_families(text)]
    assert len(found) == len(set(found))
    lines = [line for line in text.splitlines() if line.startswith(f"d8_virtualization_{series}{{")]
    assert len(lines) == len(many)


VALUES = [
    ("virtualmachine_status_phase", "name=my-vm,phase=Running", 1),
    ("virtualmachine_status_phase", "name=my-vm,phase=Stopped", 0),
    ("virtualmachine_status_phase", "name=fresh,phase=Pending", 1),
    ("virtualmachine_cpu_cores", "name=my-vm", 2),
    ("virtualmachine_configuration_cpu_cores", "name=my-vm", 4),
    ("virtualmachine_cpu_core_fraction", "name=my-vm", 25),
    ("virtualmachine_configuration_cpu_core_fraction", "name=my-vm", 50),
    ("virtualmachine_configuration_memory_size_bytes", "name=my-vm", 4 * 2**30),
    ("virtualmachine_configuration_memory_runtime_overhead_bytes", "name=my-vm", 284 * 2**20),
    ("virtualmachine_awaiting_restart_to_apply_configuration", "name=my-vm", 1),
    ("virtualmachine_configuration_applied", "name=my-vm", 0),
    ("virtualmachine_configuration_run_policy", "name=my-vm,runPolicy=AlwaysOn", 1),
    ("virtualmachine_configuration_run_policy", "name=my-vm,runPolicy=Manual", 0),
    ("virtualmachine_agent_ready", "name=my-vm", 1),
    ("virtualmachine_pod", "name=my-vm,pod=new", 1),
    ("virtualmachine_pod", "name=my-vm,pod=old", 0),
    ("virtualmachine_labels", "label_app_kubernetes_io_name=db,name=my-vm", 1),
    ("virtualmachine_annotations", "annotation_note=hi,name=my-vm", 1),
    ("virtualmachine_firmware_up_to_date", "name=my-vm", 0),
    ("virtualmachine_firmware_up_to_date", "name=fresh", 1),
    ("virtualmachine_info", "name=my-vm,virtualmachineclass=generic", 1),
    ("virtualmachine_migratable", "name=my-vm", 1),
    ("virtualdisk_capacity_bytes", "name=root", 10 * 2**30),
    ("virtualdisk_info", "name=root,virtualmachine=my-vm", 1),
    ("virtualdisk_status_in_use", "name=root", 1),
    ("virtualimage_status_phase", "name=iso,phase=Failed", 1),
    ("clustervirtualimage_status_phase", "name=linux,phase=Ready", 1),
]


def test_values_are_those_of_the_objects() -> None:
    found = samples()
    for name, labels, value in VALUES:
        assert found[(f"d8_virtualization_{name}", labels)] == value, (name, labels)


def test_operations_have_the_times_of_their_steps() -> None:
    found = samples(Objects(vmops=VMOPS))

    def of(metric: str) -> Iterator[tuple[str, float]]:
        for (name, labels), value in found.items():
            if name == f"d8_virtualization_virtualmachineoperation_{metric}":
                yield labels.split(",")[0], value - (NOW_S - 3600)

    assert dict(of("started_timestamp_seconds")) == {"name=done": 0}
    assert dict(of("finished_timestamp_seconds")) == {"name=done": 0, "name=refused": 9}
    assert len(dict(of("created_timestamp_seconds"))) == len(VMOPS)
    pending = ("d8_virtualization_virtualmachineoperation_status_phase",)
    labels = "name=new,phase=Pending,type=Stop,virtualmachine=my-vm"
    assert found[(*pending, labels)] == 1


def test_what_the_loss_of_a_node_would_mean() -> None:
    found = samples()
    assert found["drover_standby_vms", "group=worker"] == 3
    assert found["drover_standby_vms_without_room", "group=worker"] == 1


def test_nodes_tell_what_they_offer_and_what_is_reserved() -> None:
    text = exposed(OBJECTS, Finished(), NOW_S)
    told = [line for line in text.splitlines() if line.startswith("drover_node_")]
    for line in (
        'drover_node_ready{node="n1"} 1.0',
        'drover_node_unschedulable{node="n1"} 1.0',
        'drover_node_unschedulable{node="n2"} 0.0',
        'drover_node_allocatable_cpu_cores{node="n1"} 10.0',
        'drover_node_reserved_cpu_cores{node="n1"} 2.5',
        'drover_node_reserved_cpu_cores{node="n2"} 0.0',
        'drover_node_fence_phase{group="worker",node="n9",phase="Rejoined"} 1.0',
        'drover_node_fence_phase{group="worker",node="n9",phase="Fenced"} 0.0',
    ):
        assert line in told
    assert not any('node="cp"' in line for line in told)


def test_how_a_rebalancing_goes() -> None:
    found = samples()
    assert found["drover_rebalance_overloaded_nodes", ""] == 2
    assert found["drover_rebalance_broken_rules", ""] == 1
    assert found["drover_rebalance_seconds_since_balanced", ""] == 3600
    assert found["drover_rebalance_plan_age_seconds", ""] == 3600
    assert found["drover_rebalance_moves", "result=Done"] == 2
    assert found["drover_rebalance_moves", "result=Stopped"] == 0
    assert found["drover_rebalance_gain_per_move", ""] == 15
    balanced = obj("virtualization", "", status={"conditions": [condition("Balanced")]})
    calm = samples(replace(ONE_NODE, deschedulers=[balanced], plans=[]))
    assert calm["drover_rebalance_seconds_since_balanced", ""] == 0
    assert ("drover_rebalance_plan_age_seconds", "") not in calm


def test_how_soon_controllers_act() -> None:
    found = samples()
    for name, most_s, sum_s in (("wait", 0.005, 0.003), ("work", 0.05, 0.04)):
        family = f"drover_controller_{name}_seconds"
        assert found[(f"{family}_bucket", f"controller=vm,le={most_s}")] == 1
        assert found[(f"{family}_bucket", f"controller=vm,le={most_s / 5}")] == 0
        assert found[(f"{family}_sum", "controller=vm")] == pytest.approx(sum_s)


def test_the_queue_and_the_backlog() -> None:
    found = samples()
    assert found[("drover_migrations_waiting", "origin=Person,reason=MigrationPending")] == 1
    assert found[("drover_migrations_waiting", "origin=Evacuation,reason=MigrationPending")] == 1
    assert found[("drover_migrations_oldest_waiting_seconds", "reason=MigrationPending")] == 3600
    assert not [key for key in found if key[0] == "drover_migrations_waiting" and "Sync" in key[1]]
    assert found[("drover_evacuation_backlog", "")] == 1
    assert found[("drover_evacuation_blocked", "")] == 1


def test_copies_tell_how_far_they_are() -> None:
    found = samples()
    told = {
        name.removeprefix("d8_virtualization_virtualmachine_migration_"): value
        for (name, labels), value in found.items()
        if "_migration_" in name and labels == "name=my-vm"
    }
    assert told == {
        "data_total_bytes": 1000,
        "data_processed_bytes": 600,
        "data_remaining_bytes": 500,
        "dirty_memory_rate_bytes": 70,
        "memory_transfer_rate_bytes": 1_000_000,
    }


def test_finished_migrations_are_taken_in_once_and_outlive_their_objects() -> None:
    finished = Finished()

    def count(moves: list[Object]) -> tuple[float, float, float]:
        text = exposed(Objects(moves=moves), finished, NOW_S)
        found = {
            (
                sample.name,
                sample.labels.get("result", ""),
                sample.labels.get("le", ""),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        return (
            found[("drover_migration_duration_seconds_count", "Succeeded", "")],
            found[("drover_migration_duration_seconds_bucket", "Succeeded", "2.0")],
            found[("drover_migration_downtime_seconds_sum", "", "")],
        )

    assert count(MOVES) == (2, 1, pytest.approx(0.32))
    assert count(MOVES) == (2, 1, pytest.approx(0.32))
    assert count(MOVES[2:]) == (2, 1, pytest.approx(0.32))
    assert count([move("e", "Succeeded", 1, 10)]) == (3, 2, pytest.approx(0.33))


def test_a_cluster_without_objects_has_its_families_all_the_same() -> None:
    text = exposed(Objects(), Finished(), NOW_S)
    for name in documented():
        assert f"# TYPE {name} " in text


def test_who_stands_by_has_nothing_that_would_be_counted_twice() -> None:
    async def main() -> bytes:
        clock = SimClock()
        client = Client(ApiModel(clock, SeededIds(0)).transport())
        manager = Manager(client, clock, SeededIds(1), Log(clock, lambda entry: None))
        return gzip.decompress(await Exposition(manager).packed())

    lines = [line for line in run(main()).decode().splitlines() if not line.startswith("#")]
    assert lines == ["drover_controllers_leading 0.0"]
