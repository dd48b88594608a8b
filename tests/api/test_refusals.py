"""What a user reads who writes something that cannot be: the object, the rule, the field."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.api import samples

from drover.api import scheme, status

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

    from drover.api.scheme import Kind

pytestmark = [pytest.mark.engine, pytest.mark.timeout(90)]  # the first starts the engine

MANY = "{" + ", ".join(f"l{n}: x" for n in range(33)) + "}"
REFUSED: list[tuple[Kind, str, str, str]] = [
    (scheme.VM, "cpu", "{cores: 17}", "must be a multiple of 2"),
    (scheme.VM, "cpu", "{cores: 34}", "must be a multiple of 4"),
    (scheme.VM, "cpu", "{cores: 68}", "must be a multiple of 8"),
    (scheme.VM, "cpu", "{cores: 0}", "spec.cpu.cores"),
    (scheme.VM, "cpu", "{cores: 256}", "248"),
    (scheme.VM, "cpu", "{cores: 1, coreFraction: 0%}",
     "Core fraction must be 'Auto' or a percentage between 1% and 100%."),
    (scheme.VM, "memory", "{size: lots}", "spec.memory.size"),
    (scheme.VM, "memory", "{size: 1Mi}", "at least 16Mi"),
    (scheme.VM, "memory", "{size: 4096}", "at least 16Mi"),
    (scheme.VM, "blockDeviceRefs", "[]", "spec.blockDeviceRefs"),
    (scheme.VM, "blockDeviceRefs",
     "[{kind: VirtualDisk, name: a}, {kind: VirtualDisk, name: a}]", "names a device twice"),
    (scheme.VM, "blockDeviceRefs",
     "[{kind: VirtualDisk, name: a, bootOrder: 1}, {kind: VirtualDisk, name: b, bootOrder: 1}]",
     "bootOrder twice"),
    (scheme.VM, "blockDeviceRefs", "[{kind: ClusterVirtualImage, name: iso}]",
     "spec.bootloader EFI needs a VirtualDisk"),
    (scheme.VM, "provisioning", "{type: UserData}", "has userData"),
    (scheme.VM, "provisioning", "{type: UserDataRef, userData: x}", "has userData"),
    (scheme.VM, "provisioning", "{type: UserData, userData: '" + "x" * 2049 + "'}", "2048"),
    (scheme.VM, "provisioning", "{type: UserData, userData: '" + "ä" * 1025 + "'}", "2048 bytes"),
    (scheme.VM, "runPolicy", "Sometimes", "AlwaysOnUnlessStoppedManually"),
    (scheme.VM, "terminationGracePeriodSeconds", "-1", "terminationGracePeriodSeconds"),
    (scheme.VM, "nodeSelector", "{'a b': c}", "valid label keys"),
    (scheme.VM, "nodeSelector", "{a: 'b c'}", "valid label keys"),
    (scheme.VM, "nodeSelector", MANY, "32"),
    (scheme.VM, "tolerations", "[{effect: NoSchedule}]", "needs operator Exists"),
    (scheme.VM, "tolerations", "[{key: a, operator: Exists, value: b}]", "has no value"),
    (scheme.VM, "tolerations", "[{key: a, tolerationSeconds: 3}]", "needs effect NoExecute"),
    (scheme.VMOP, "type", "Reboot", "Restart"),
    (scheme.VMOP, "virtualMachineName", "''", "virtualMachineName"),
    (scheme.VMOP, "type", "Evict", "spec.migrate can only be set when spec.type is 'Migrate'"),
    (scheme.VMOP, "migrate", "{nodeSelector: {'a b': c}}", "valid label keys"),
    (scheme.VMCLASS, "sizingPolicies", "[{cores: {min: 4, max: 1}}]", "less than the minimum"),
    (scheme.VMCLASS, "sizingPolicies",
     "[{cores: {min: 1, max: 4}}, {cores: {min: 4, max: 8}}]", "must not overlap"),
    (scheme.VMCLASS, "cpu", "{type: Model}", "has a model"),
    (scheme.VDISK, "persistentVolumeClaim", "{}", "needs spec.persistentVolumeClaim.size"),
    (scheme.VDISK, "persistentVolumeClaim", "{size: 10}", "at least 1Mi"),
    (scheme.CVIMAGE, "dataSource", "{type: HTTP}", "has http"),
    (scheme.CVIMAGE, "dataSource", "{type: HTTP, http: {url: 'ftp://a/b'}}", "http.url"),
    (scheme.CVIMAGE, "dataSource",
     "{type: HTTP, http: {url: 'file:///a', checksum: {sha256: abc}}}", "sha256"),
    (scheme.VMIP, "type", "Static", "has a staticIP"),
    (scheme.MODULECONFIG, "enabled", "false", "spec.enabled cannot be false"),
    *[
        (scheme.MODULECONFIG, "settings", f"{{liveMigration: {{limits: {{{limit}: {value}}}}}}}",
         f"liveMigration.limits.{limit}")
        for limit in ("cluster", "outboundPerNode", "inboundPerNode", "syncPerNode")
        for value in ("0", "-1", "two", "1000001")
    ],
    *[
        (scheme.MODULECONFIG, "settings", f"{{liveMigration: {{{limit}: {value}}}}}", limit)
        for limit in ("completionTimeoutPerGiB", "progressTimeout")
        for value in ("0", "-5", "soon")
    ],
    *[
        (scheme.MODULECONFIG, "settings", f"{{liveMigration: {{bandwidthPerMigration: {value}}}}}",
         "bandwidthPerMigration")
        for value in ("'0'", "-1Mi", "fast", "'1023'", "2Ti")
    ],
    *[
        (scheme.DESCHEDULER, "strategies",
         f"{{lowNodeUtilization: {{targetThresholds: {{cpu: {value}}}}}}}", "targetThresholds.cpu")
        for value in ("101", "-1", "much", "'80'")
    ],
    (scheme.DESCHEDULER, "strategies",
     "{lowNodeUtilization: {thresholds: {cpu: 81}, targetThresholds: {cpu: 80}}}",
     "a threshold cannot be above its targetThreshold"),
    (scheme.DESCHEDULER, "strategies", "{removeEverything: {enabled: true}}",
     "unknown strategy; drover knows lowNodeUtilization"),
    (scheme.DESCHEDULER, "strategies", "{removePodsViolatingNodeAffinity: {thresholds: {cpu: 1}}}",
     "only lowNodeUtilization has thresholds"),
    (scheme.DESCHEDULER, "strategies", "{lowNodeUtilization: {nodeAffinityType: []}}",
     "only removePodsViolatingNodeAffinity has nodeAffinityType"),
    (scheme.DESCHEDULER, "priorityClassThreshold", "{name: a, value: 1}", "either name or value"),
    (scheme.DESCHEDULER, "podLabelSelector",
     "{matchExpressions: [{key: a, operator: In}]}", "In and NotIn need values"),
    (scheme.MODULECONFIG, "settings", "{evictionHold: 26}", "evictionHold"),
    (scheme.MODULECONFIG, "settings", "{evictionHold: -1}", "evictionHold"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "field", "value", "said"),
    REFUSED,
    ids=[f"{c[0].plural} {c[3]} {c[2]}"[:80] for c in REFUSED],
)
async def test_a_bad_value_is_refused(
    kind: Kind, field: str, value: str, said: str, cluster: Cluster
) -> None:
    spec: dict[str, Any] = copy.deepcopy(samples.works(kind.kind)[0])
    spec[field] = yaml.safe_load(value)
    singular = kind in (scheme.MODULECONFIG, scheme.DESCHEDULER)
    name = "virtualization" if singular else "sample"
    with pytest.raises(status.Invalid) as refusal:
        await cluster.admin.create_dry(kind, {"metadata": meta(kind, name), "spec": spec})
    assert said in refusal.value.message


async def test_an_operation_whose_migration_could_not_be_named_is_refused(cluster: Cluster) -> None:
    spec = samples.works(scheme.VMOP.kind)[0]
    for length, fits in ((248, True), (249, False)):
        body = {"metadata": meta(scheme.VMOP, "x" * length), "spec": spec}
        if fits:
            await cluster.admin.create_dry(scheme.VMOP, body)
            continue
        with pytest.raises(status.Invalid, match=r"metadata.name"):
            await cluster.admin.create_dry(scheme.VMOP, body)


@pytest.mark.parametrize(
    ("name", "spec", "said"),
    [
        ("virtualisation", {}, "only the ModuleConfigs virtualization and descheduler"),
        ("descheduler", {"settings": {"evictionHold": 1}}, "belong to ModuleConfig virtualization"),
        (
            "virtualization",
            {"settings": {"rebalance": {"cooldown": 1}}},
            "belongs to ModuleConfig descheduler",
        ),
        ("descheduler", {"settings": {"rebalance": {"settlingTime": 0}}}, "settlingTime"),
        ("descheduler", {"settings": {"rebalance": {"mode": "Manual"}}}, "Approve"),
    ],
)
async def test_settings_nobody_would_read_are_refused(
    name: str, spec: Any, said: str, cluster: Cluster
) -> None:
    with pytest.raises(status.Invalid) as refusal:
        await cluster.admin.create_dry(
            scheme.MODULECONFIG, {"metadata": {"name": name}, "spec": spec}
        )
    assert said in refusal.value.message


async def test_a_setting_that_does_not_exist_is_refused(cluster: Cluster) -> None:
    spec = {"settings": {"liveMigration": {"bandwith": "1Gi"}}}
    with pytest.raises(
        status.ApiError, match=r"unknown field \"spec.settings.liveMigration.bandwith"
    ):
        await cluster.admin.create_dry(
            scheme.MODULECONFIG, {"metadata": {"name": "virtualization"}, "spec": spec}
        )


async def test_only_the_descheduler_of_virtual_machines_is_taken(cluster: Cluster) -> None:
    with pytest.raises(status.Invalid, match="only the Descheduler virtualization has an effect"):
        await cluster.admin.create_dry(
            scheme.DESCHEDULER, {"metadata": {"name": "other"}, "spec": {}}
        )


async def test_a_start_cannot_be_forced(cluster: Cluster) -> None:
    spec = {"type": "Start", "virtualMachineName": "a", "force": True}
    vmop = {"metadata": meta(scheme.VMOP, "sample"), "spec": spec}
    with pytest.raises(status.Invalid, match="cannot be performed forcibly"):
        await cluster.admin.create_dry(scheme.VMOP, vmop)


@pytest.mark.parametrize("length", [64, 300])
async def test_a_name_that_is_too_long(length: int, cluster: Cluster) -> None:
    vm = {
        "metadata": meta(scheme.VM, "x" * length),
        "spec": samples.works("VirtualMachine")[0],
    }
    with pytest.raises(status.Invalid, match=r"metadata\.name: Too long: may not be more than 63"):
        await cluster.admin.create_dry(scheme.VM, vm)


async def test_what_is_not_given_is_filled_in(cluster: Cluster) -> None:
    spec = {
        "cpu": {"cores": 1},
        "memory": {"size": "1Gi"},
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}],
    }
    vm = await cluster.admin.create_dry(
        scheme.VM, {"metadata": meta(scheme.VM, "sample"), "spec": spec}
    )
    assert vm["spec"] == spec | {
        "runPolicy": "AlwaysOnUnlessStoppedManually",
        "liveMigrationPolicy": "PreferSafe",
        "disruptions": {"restartApprovalMode": "Manual"},
        "terminationGracePeriodSeconds": 60,
        "osType": "Generic",
        "bootloader": "BIOS",
        "enableParavirtualization": True,
    }


async def test_a_plan_of_the_greatest_size_can_be_written_and_told_about(cluster: Cluster) -> None:
    """Comparing it costs the API server something, too."""
    [spec] = samples.works("RebalancePlan")
    plan = {
        "metadata": {"name": cluster.name("plan")},
        "spec": {**spec, "moves": spec["moves"] * 200},
    }
    made = await cluster.make(scheme.REBALANCEPLAN, plan)
    step = {"virtualMachine": "default/linux-vm", "operation": "rebalance-x", "state": "Done"}
    told = {"status": {"phase": "Done", "steps": [step] * 200}}
    name = made["metadata"]["name"]
    await cluster.controllers.patch(scheme.REBALANCEPLAN, name, "", told, subresource="status")
    yes = {"spec": {"approved": True}}
    after = await cluster.admin.patch(scheme.REBALANCEPLAN, name, "", yes)
    assert after["spec"]["approved"]


def meta(kind: Kind, name: str) -> dict[str, str]:
    return {"name": name} | ({"namespace": "default"} if kind.namespaced else {})
