"""What the reference platform's manual has users apply is accepted here, or refused by name."""

from __future__ import annotations

import pytest
from tests.conformance import documented
from tests.conformance.documented import Documented
from tests.support.cluster import Cluster

from drover.api import manifest_files
from drover.api.status import ApiError

pytestmark = pytest.mark.engine

ACCEPTED = [one for one in documented.ALL if not one.refused]
REFUSED = [one for one in documented.ALL if one.refused]
# Written by drover alone; no manual has users apply them.
OURS = {
    "NodeFence", "NodeRoster", "RebalancePlan", "VirtualMachineLease", "VirtualMachineMigration",
    "VirtualMachineIPAddressLease",
}  # fmt: skip


def the_object(one: Documented) -> dict[str, object]:
    meta = dict(one.manifest["metadata"])
    if one.kind.namespaced:
        meta["namespace"] = "default"
    return {**one.manifest, "metadata": meta}


@pytest.mark.parametrize("one", ACCEPTED, ids=lambda one: one.title)
async def test_it_is_accepted(cluster: Cluster, one: Documented) -> None:
    made = await cluster.admin.put_dry(one.kind, the_object(one))
    assert made["apiVersion"] == one.manifest["apiVersion"]


@pytest.mark.parametrize("one", REFUSED, ids=lambda one: one.title)
async def test_it_is_refused_by_name(cluster: Cluster, one: Documented) -> None:
    with pytest.raises(ApiError) as refusal:
        await cluster.admin.put_dry(one.kind, the_object(one))
    assert one.refused in refusal.value.message


def test_every_kind_that_users_write_is_among_them() -> None:
    kinds = {crd["spec"]["names"]["kind"] for crd in manifest_files.crds()}
    assert {one.kind.kind for one in documented.ALL} == kinds - OURS
