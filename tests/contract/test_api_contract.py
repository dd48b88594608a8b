"""What we rely on of the Kubernetes API, asked of the model and of the real server alike.

A difference is a bug of the model, which every simulation and every controller test believes. The
other files ``test_api_*`` of this directory go on.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from tests.contract.api_bodies import config_map, lease, operation

from drover.api.scheme import CONFIGMAP, LEASE, VM, VMOP
from drover.api.status import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Invalid,
    NotFound,
)

if TYPE_CHECKING:
    from tests.contract.api_rig import Rig

    from drover.api.scheme import Kind

pytestmark = pytest.mark.timeout(240)


class TestCreate:
    async def test_the_server_fills_in_identity_time_and_version(self, rig: Rig) -> None:
        made = await rig.admin.create(VMOP, operation(rig))
        meta = made["metadata"]
        assert made["kind"] == "VirtualMachineOperation"
        assert made["apiVersion"] == "virtualization.deckhouse.io/v1alpha2"
        assert meta["generation"] == 1
        assert len(meta["uid"]) == 36
        assert meta["creationTimestamp"].endswith("Z")
        assert int(meta["resourceVersion"]) > 0

    async def test_a_name_is_taken_once(self, rig: Rig) -> None:
        await rig.admin.create(CONFIGMAP, config_map(rig))
        with pytest.raises(AlreadyExists) as refusal:
            await rig.admin.create(CONFIGMAP, config_map(rig))
        assert refusal.value.reason == "AlreadyExists"

    async def test_generated_names(self, rig: Rig) -> None:
        body = {"metadata": {"generateName": "g-", "namespace": rig.namespace}}
        names = {(await rig.admin.create(CONFIGMAP, body))["metadata"]["name"] for _ in range(3)}
        assert len(names) == 3
        assert {(name[:2], len(name)) for name in names} == {("g-", 7)}

    async def test_a_name_is_required(self, rig: Rig) -> None:
        with pytest.raises(Invalid):
            await rig.admin.create(CONFIGMAP, {"metadata": {"namespace": rig.namespace}})

    async def test_a_namespace_must_exist(self, rig: Rig) -> None:
        with pytest.raises(NotFound):
            await rig.admin.create(CONFIGMAP, {"metadata": {"name": "one", "namespace": "nowhere"}})

    async def test_a_version_cannot_be_chosen(self, rig: Rig) -> None:
        with pytest.raises(ApiError) as refusal:
            await rig.admin.create(CONFIGMAP, config_map(rig, resourceVersion="7"))
        assert refusal.value.code >= 400
        with pytest.raises(NotFound):
            await rig.admin.get(CONFIGMAP, "one", rig.namespace)

    async def test_a_uid_cannot_be_chosen(self, rig: Rig) -> None:
        made = await rig.admin.create(CONFIGMAP, config_map(rig, uid="mine"))
        assert made["metadata"]["uid"] != "mine"

    async def test_a_dry_run_stores_nothing(self, rig: Rig) -> None:
        path = CONFIGMAP.path(rig.namespace)
        code, _ = await rig.raw("POST", path, config_map(rig), query={"dryRun": "All"})
        assert code == 201
        with pytest.raises(NotFound):
            await rig.admin.get(CONFIGMAP, "one", rig.namespace)


class TestRead:
    async def test_missing_objects_and_kinds(self, rig: Rig) -> None:
        with pytest.raises(NotFound) as refusal:
            await rig.admin.get(VM, "none", rig.namespace)
        assert refusal.value.reason == "NotFound"
        code, body = await rig.raw("GET", "/apis/drover.dev/v1alpha1/namespaces/x/nonsense")
        assert (code, body) == (404, body)

    async def test_a_list_is_sorted_and_selected(self, rig: Rig) -> None:
        for name, tier in (("c", "x"), ("a", "x"), ("b", "y")):
            await rig.admin.create(CONFIGMAP, config_map(rig, name, labels={"tier": tier}))

        async def names(**selection: str) -> list[str]:
            items, version = await rig.admin.list(CONFIGMAP, rig.namespace, **selection)
            assert int(version) > 0
            ours = [item["metadata"]["name"] for item in items]
            return [name for name in ours if name != "kube-root-ca.crt"]

        assert await names() == ["a", "b", "c"]
        assert await names(labels="tier=x") == ["a", "c"]
        assert await names(labels="tier!=x") == ["b"]
        assert await names(labels="tier in (y,z),tier") == ["b"]
        assert await names(labels="!tier") == []
        assert await names(fields="metadata.name=b") == ["b"]
        assert await names(fields="metadata.name=b", labels="tier=x") == []

    async def test_other_fields_cannot_be_selected(self, rig: Rig) -> None:
        with pytest.raises(BadRequest):
            await rig.admin.list(VM, rig.namespace, fields="spec.runPolicy=AlwaysOn")


class TestReplace:
    async def test_a_stale_version_conflicts(self, rig: Rig) -> None:
        first = await rig.admin.create(LEASE, lease(rig))
        second = await rig.admin.replace(LEASE, {**first, "spec": {"holderIdentity": "a"}})
        with pytest.raises(Conflict) as refusal:
            await rig.admin.replace(LEASE, {**first, "spec": {"holderIdentity": "b"}})
        assert refusal.value.reason == "Conflict"
        assert int(second["metadata"]["resourceVersion"]) > int(
            first["metadata"]["resourceVersion"]
        )

    @pytest.mark.parametrize("kind", [LEASE, VMOP, CONFIGMAP], ids=lambda kind: kind.kind)
    async def test_another_uid_conflicts(self, rig: Rig, kind: Kind) -> None:
        bodies = {"Lease": lease, "VirtualMachineOperation": operation, "ConfigMap": config_map}
        made = copy.deepcopy(await rig.admin.create(kind, bodies[kind.kind](rig)))
        made["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000"
        with pytest.raises(Conflict):
            await rig.admin.replace(kind, made)

    async def test_a_deleted_object_stays_deleted_for_who_names_its_uid(self, rig: Rig) -> None:
        made = await rig.admin.create(LEASE, lease(rig))
        await rig.admin.delete(LEASE, "one", rig.namespace)
        with pytest.raises(Conflict):
            await rig.admin.replace(LEASE, made)

    async def test_the_trap_a_put_without_uid_brings_a_lease_back(self, rig: Rig) -> None:
        made = copy.deepcopy(await rig.admin.create(LEASE, lease(rig)))
        await rig.admin.delete(LEASE, "one", rig.namespace)
        del made["metadata"]["uid"]
        code, body = await rig.raw("PUT", LEASE.path(rig.namespace, "one"), made)
        assert (code, body["metadata"]["name"]) == (201, "one")

    @pytest.mark.parametrize("named", [True, False], ids=["uid", "no-uid"])
    async def test_a_missing_object_of_ours_is_not_found(self, rig: Rig, named: bool) -> None:
        made = copy.deepcopy(await rig.admin.create(VMOP, operation(rig)))
        await rig.admin.delete(VMOP, "one", rig.namespace)
        if not named:
            del made["metadata"]["uid"]
        code, _ = await rig.raw("PUT", VMOP.path(rig.namespace, "one"), made)
        assert code == 404

    async def test_without_a_version_some_kinds_are_overwritten(self, rig: Rig) -> None:
        codes = {}
        for kind, body in (
            (LEASE, lease(rig)), (VMOP, operation(rig)), (CONFIGMAP, config_map(rig)),
        ):  # fmt: skip
            await rig.admin.create(kind, body)
            named = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
            codes[kind.kind], _ = await rig.raw("PUT", kind.path(rig.namespace, "one"), named)
        assert codes == {"Lease": 422, "VirtualMachineOperation": 422, "ConfigMap": 200}

    async def test_nothing_changed_is_no_new_version(self, rig: Rig) -> None:
        made = await rig.admin.create(LEASE, lease(rig))
        again = await rig.admin.replace(LEASE, made)
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    async def test_the_name_in_the_path_counts(self, rig: Rig) -> None:
        made = await rig.admin.create(CONFIGMAP, config_map(rig))
        code, _ = await rig.raw("PUT", CONFIGMAP.path(rig.namespace, "other"), made)
        assert code == 400
