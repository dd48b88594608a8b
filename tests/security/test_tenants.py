"""What somebody who may edit one namespace tries beyond it: lines ``user.*`` that the control plane holds."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from tests.api import samples
from tests.api.ownership import NAMESPACE, A, refused

from drover.api import names, scheme, status

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

    from drover.api.wire import Object

pytestmark = pytest.mark.engine

TRICKS = (
    "../../kube-system/secrets/x",
    "x/../../../kube-system/secrets/x",
    "%2e%2e%2fx",
    "..",
    "x?watch=true",
    "x#y",
    "x,readonly=off",
    "x y",
    "x\ny",
)
STATUSES = {
    scheme.VM: {"phase": "Running", "nodeName": A},
    scheme.VMOP: {"phase": "Completed"},
    scheme.VDISK: {"phase": "Ready", "target": {"path": "../../etc/shadow"}},
    scheme.VIMAGE: {"phase": "Ready", "target": {"path": "/etc/shadow"}},
    scheme.VMIP: {"phase": "Bound", "address": "10.66.10.1"},
}


async def test_user_status(cluster: Cluster) -> None:
    for kind, part in STATUSES.items():
        obj = await cluster.a_sample(kind)
        await refused(cluster.editor, kind, obj, {"status": part}, "status")
        meta = {"name": cluster.name("forged"), "namespace": NAMESPACE}
        made = await cluster.editor.create(
            kind, {"metadata": meta, "spec": obj["spec"], "status": part}
        )
        assert "phase" not in (made.get("status") or {}) or made["status"]["phase"] == "Pending"
    lease = {"metadata": {"name": "x", "namespace": NAMESPACE}, "spec": {"holder": "", "epoch": 1}}
    with pytest.raises(status.Forbidden):
        await cluster.editor.create_dry(scheme.VML, lease)


async def test_user_force(cluster: Cluster) -> None:
    vm = await cluster.a_sample(scheme.VM)
    labelled: Object = {
        "metadata": {
            "name": cluster.name("mine"),
            "namespace": NAMESPACE,
            "labels": {names.VM_NAME_LABEL: vm["metadata"]["name"]},
        },
        "spec": {"nodeName": A, "containers": [{"name": "c", "image": "i"}]},
    }
    with pytest.raises(status.Forbidden, match="only drover:controllers"):
        await cluster.editor.create_dry(scheme.POD, labelled)
    plain = copy.deepcopy(labelled)
    del plain["metadata"]["labels"]
    plain["spec"]["automountServiceAccountToken"] = False
    pod = await cluster.editor.create(scheme.POD, plain)
    for part in ("", "status"):
        change: Object = {"metadata": {"labels": labelled["metadata"]["labels"]}}
        await refused(cluster.editor, scheme.POD, pod, change, part)
    name = pod["metadata"]["name"]
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "target": {"apiVersion": "v1", "kind": "Node", "name": A},
    }
    for path in (
        scheme.POD.path(NAMESPACE, name, "binding"),
        f"/api/v1/namespaces/{NAMESPACE}/bindings",
    ):
        with pytest.raises(status.Forbidden):
            await cluster.editor.post(path, binding)
    planned = {
        "metadata": {
            "name": cluster.name("vmop"),
            "namespace": NAMESPACE,
            "annotations": {"drover.dev/plan": f'{{"node":"{A}"}}'},
        },
        "spec": {"type": "Evict", "virtualMachineName": vm["metadata"]["name"]},
    }
    with pytest.raises(status.Forbidden, match=r"drover\.dev"):
        await cluster.editor.create_dry(scheme.VMOP, planned)
    move = samples.works("VirtualMachineMigration")[0]
    meta = {"name": cluster.name("vmm"), "namespace": NAMESPACE}
    with pytest.raises(status.Forbidden):
        await cluster.editor.create_dry(scheme.VMM, {"metadata": meta, "spec": move})


@pytest.mark.parametrize("name", TRICKS)
async def test_user_names(cluster: Cluster, name: str) -> None:
    vm = samples.works("VirtualMachine")[0]
    by_secret = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": name}}
    disk = {
        "dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": name}}
    }
    evict = {"type": "Evict", "virtualMachineName": name}
    attempts = [
        (scheme.VM, {**vm, "provisioning": by_secret}),
        (scheme.VM, {**vm, "virtualMachineClassName": name}),
        (scheme.VM, {**vm, "virtualMachineIPAddressName": name}),
        (scheme.VM, {**vm, "priorityClassName": name}),
        (scheme.VM, {**vm, "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}]}),
        (scheme.VDISK, disk),
        (scheme.VMOP, evict),
    ]
    for kind, spec in attempts:
        meta = {"name": cluster.name("x"), "namespace": NAMESPACE}
        with pytest.raises(status.Invalid):
            await cluster.editor.create_dry(kind, {"metadata": meta, "spec": spec})
    for kind in (scheme.VM, scheme.VDISK, scheme.VIMAGE):
        meta = {"name": name, "namespace": NAMESPACE}
        with pytest.raises((status.Invalid, status.BadRequest)):
            await cluster.editor.create_dry(
                kind, {"metadata": meta, "spec": samples.works(kind.kind)[0]}
            )


@pytest.mark.parametrize("name", TRICKS[:6])
async def test_names_that_no_object_can_have_never_become_a_url(
    cluster: Cluster, name: str
) -> None:
    """The second guard, should a schema forget one: nothing is asked of the server, under whatever rights."""
    with pytest.raises(status.NotFound, match="no Secret can be called"):
        await cluster.admin.get(scheme.SECRET, name, NAMESPACE)
    with pytest.raises(status.NotFound, match="no Secret can be called"):
        await cluster.admin.get(scheme.SECRET, "x", name)
    wanted = await cluster.admin.get(scheme.Kind("", "v1", "", "namespaces", False), "kube-system")
    assert wanted["metadata"]["name"] == "kube-system"
    system = scheme.CLUSTERROLE.path("", "system:node")
    assert (await cluster.admin.get(scheme.CLUSTERROLE, "system:node"))["metadata"][
        "name"
    ] in system
