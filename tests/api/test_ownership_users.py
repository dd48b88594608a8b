"""Lines of docs/ownership.md about the kinds that users write."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.api import samples
from tests.api.ownership import only_controllers_write_status, patch, refused

from drover.api import names, scheme, status

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

    from drover.api.wire import Object

pytestmark = [pytest.mark.engine, pytest.mark.timeout(90)]  # the first starts the engine


async def test_vm_spec(cluster: Cluster) -> None:
    vm = await cluster.a_sample(scheme.VM)
    await refused(cluster.controllers, scheme.VM, vm, {"spec": {"runPolicy": "AlwaysOff"}})
    await refused(cluster.node_a, scheme.VM, vm, {"spec": {"runPolicy": "AlwaysOff"}})
    held = {"metadata": {"finalizers": [names.VM_FINALIZER]}}
    await patch(cluster.controllers, scheme.VM, vm, held)
    await patch(cluster.editor, scheme.VM, vm, {"spec": {"runPolicy": "AlwaysOff"}})


async def test_vm_metadata(cluster: Cluster) -> None:
    vm = await cluster.a_sample(scheme.VM)
    for part in ("labels", "annotations"):
        change = {"metadata": {part: {names.VM_NAME_LABEL.replace("/name", ".kubevirt.io/x"): "y"}}}
        said = await refused(cluster.admin, scheme.VM, vm, change)
        assert "kubevirt.io" in said
    await patch(cluster.editor, scheme.VM, vm, {"metadata": {"labels": {"app": "web"}}})


async def test_vm_requests(cluster: Cluster) -> None:
    vm = await cluster.a_sample(scheme.VM)

    def asks(text: str | None) -> Object:
        return {"metadata": {"annotations": {"drover.dev/stop-requested": text}}}

    for stranger in (cluster.admin, cluster.editor):
        said = await refused(stranger, scheme.VM, vm, asks("vmop-1"))
        assert "VirtualMachineOperation" in said
    await patch(cluster.controllers, scheme.VM, vm, asks("vmop-1"))
    await refused(cluster.editor, scheme.VM, vm, asks("vmop-2"))
    await patch(cluster.editor, scheme.VM, vm, {"metadata": {"labels": {"app": "web"}}})
    await patch(cluster.editor, scheme.VM, vm, asks(None))


async def test_vm_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.VM, {"phase": "Running"})


async def test_vmop_spec(cluster: Cluster) -> None:
    vmop = await cluster.a_sample(scheme.VMOP)
    change = {"spec": {"virtualMachineName": "other"}}
    assert ".spec is immutable" in await refused(cluster.admin, scheme.VMOP, vmop, change)
    await refused(cluster.controllers, scheme.VMOP, vmop, change)


async def test_vmop_notes(cluster: Cluster) -> None:
    """A plan goes past a VM's affinity, and a failure of a rollout counts against it."""
    for key in (names.PLAN_ANNOTATION, "drover.dev/firmware-rollout", "drover.dev/signal"):
        for stranger in (cluster.admin, cluster.editor):
            meta: Object = {"name": cluster.name("rebalance"), "namespace": "default"}
            meta["annotations"] = {key: "{"}
            forged = {"metadata": meta, "spec": samples.works(scheme.VMOP.kind)[0]}
            with pytest.raises(status.Forbidden, match="belong to drover:controllers"):
                await stranger.create(scheme.VMOP, forged)
    vmop = await cluster.a_sample(scheme.VMOP)
    note: Object = {"metadata": {"annotations": {"drover.dev/signal": "one"}}}
    await refused(cluster.editor, scheme.VMOP, vmop, note)
    await patch(cluster.controllers, scheme.VMOP, vmop, note)
    await patch(cluster.editor, scheme.VMOP, vmop, {"metadata": {"labels": {"app": "web"}}})


async def test_vmop_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.VMOP, {"phase": "Completed"})


async def test_moduleconfig_spec(cluster: Cluster) -> None:
    config = await _module_config(cluster)
    change = {"spec": {"version": int(config["spec"].get("version", 0)) + 1}}
    for stranger in (cluster.controllers, cluster.editor, cluster.node_a):
        await refused(stranger, scheme.MODULECONFIG, config, change)
    await patch(cluster.admin, scheme.MODULECONFIG, config, change)


async def test_moduleconfig_status(cluster: Cluster) -> None:
    config = await _module_config(cluster)
    for stranger in (cluster.admin, cluster.editor, cluster.node_a):
        said = {"status": {"message": "fine"}}
        await refused(stranger, scheme.MODULECONFIG, config, said, "status")
    told = {"status": {"message": "told"}}
    after = await patch(cluster.controllers, scheme.MODULECONFIG, config, told, "status")
    assert after["status"]["message"] == "told"


async def _module_config(cluster: Cluster) -> Object:
    """There are two of this kind at most, so tests share them."""
    with suppress(status.AlreadyExists):
        return await cluster.admin.create(
            scheme.MODULECONFIG, {"metadata": {"name": "descheduler"}, "spec": {}}
        )
    return await cluster.admin.get(scheme.MODULECONFIG, "descheduler")


async def test_vmclass_spec(cluster: Cluster) -> None:
    vmclass = await cluster.a_sample(scheme.VMCLASS)
    await refused(cluster.controllers, scheme.VMCLASS, vmclass, {"spec": {"sizingPolicies": None}})
    await refused(cluster.editor, scheme.VMCLASS, vmclass, {"spec": {"sizingPolicies": None}})
    change = {"spec": {"cpu": {"model": "Skylake-Client"}}}
    assert "immutable" in await refused(cluster.admin, scheme.VMCLASS, vmclass, change)
    await patch(cluster.admin, scheme.VMCLASS, vmclass, {"spec": {"sizingPolicies": None}})


async def test_vmclass_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.VMCLASS, {"phase": "Ready"})


async def test_vd_spec(cluster: Cluster) -> None:
    disk = await cluster.a_sample(scheme.VDISK)
    for change in ({"size": "2Gi"}, {"size": None}):
        await refused(
            cluster.editor, scheme.VDISK, disk, {"spec": {"persistentVolumeClaim": change}}
        )
    source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "i"}}
    await refused(cluster.editor, scheme.VDISK, disk, {"spec": {"dataSource": source}})
    await refused(cluster.controllers, scheme.VDISK, disk, {"spec": {"dataSource": source}})


async def test_vd_status(cluster: Cluster) -> None:
    await only_controllers_write_status(
        cluster, scheme.VDISK, {"heldBy": {"name": "linux-vm", "uid": "u"}}
    )


async def test_vi_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.VIMAGE, {"phase": "Ready"})


async def test_cvi_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.CVIMAGE, {"phase": "Ready"})


async def test_vmip_spec(cluster: Cluster) -> None:
    claim = await cluster.a_sample(scheme.VMIP)
    change = {"spec": {"type": "Static", "staticIP": "10.66.10.77"}}
    assert "immutable" in await refused(cluster.editor, scheme.VMIP, claim, change)


async def test_vmip_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.VMIP, {"address": "10.66.10.77"})


async def test_vmipl(cluster: Cluster) -> None:
    lease = {
        "metadata": {"name": cluster.name("ip")},
        "spec": samples.works("VirtualMachineIPAddressLease")[0],
    }
    for stranger in (cluster.admin, cluster.node_a):
        with pytest.raises(status.Forbidden):
            await stranger.create(scheme.VMIPLEASE, lease)
    made = await cluster.make(scheme.VMIPLEASE, lease)
    change = {"spec": {"virtualMachineIPAddressRef": {"name": "other"}}}
    await refused(cluster.admin, scheme.VMIPLEASE, made, change)
    await refused(cluster.admin, scheme.VMIPLEASE, made, {"status": {"phase": "Bound"}}, "status")
    await patch(cluster.controllers, scheme.VMIPLEASE, made, change)
    with pytest.raises(status.Forbidden):
        await cluster.admin.delete(scheme.VMIPLEASE, made["metadata"]["name"])
