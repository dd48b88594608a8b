"""The API contract: status and generation, patches, deletion."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from tests.contract.api_bodies import config_map, operation

from drover.api.scheme import CONFIGMAP, LEASE, VM, VMOP
from drover.api.status import (
    ApiError,
    Conflict,
    Invalid,
    NotFound,
)
from drover.api.wire import JSON_PATCH, MERGE_PATCH

if TYPE_CHECKING:
    from tests.contract.api_rig import Rig

    from drover.api.scheme import Kind
    from drover.api.wire import Object

pytestmark = pytest.mark.timeout(240)


class TestStatusAndGeneration:
    async def test_the_two_doors_change_only_their_part(self, rig: Rig) -> None:
        controllers = await rig.controllers()
        made = await rig.admin.create(VMOP, {**operation(rig), "status": {"phase": "Failed"}})
        assert "status" not in made or made["status"].get("phase") != "Failed"
        labelled = copy.deepcopy({**made, "status": {"phase": "Pending"}})
        labelled["metadata"]["labels"] = {"a": "b"}
        labelled["spec"] = {**made["spec"], "force": True}
        after = copy.deepcopy(await controllers.replace(VMOP, labelled, "status"))
        assert after["status"]["phase"] == "Pending"
        assert "labels" not in after["metadata"]
        assert "force" not in after["spec"]
        assert after["metadata"]["generation"] == 1
        after["status"] = {"phase": "Failed"}
        after["metadata"]["labels"] = {"a": "b"}
        final = await rig.admin.replace(VMOP, after)
        assert final["status"]["phase"] == "Pending"
        assert final["metadata"]["labels"] == {"a": "b"}
        assert final["metadata"]["generation"] == 1

    async def test_only_a_change_of_the_spec_is_a_new_generation(self, rig: Rig) -> None:
        body = {
            "metadata": {"name": "vm", "namespace": rig.namespace},
            "spec": {"virtualMachineClassName": "generic", "runPolicy": "Manual",
                     "cpu": {"cores": 1}, "memory": {"size": "1Gi"},
                     "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "disk"}]},
        }  # fmt: skip
        made = await rig.admin.create(VM, body)
        patched = await rig.admin.patch(VM, "vm", rig.namespace, {"spec": {"cpu": {"cores": 2}}})
        assert made["metadata"]["generation"] == 1
        assert patched["metadata"]["generation"] == 2
        assert patched["spec"]["cpu"]["cores"] == 2
        same = await rig.admin.patch(VM, "vm", rig.namespace, {"spec": {"cpu": {"cores": 2}}})
        assert same["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"]


class TestPatch:
    async def test_null_removes_and_lists_are_replaced(self, rig: Rig) -> None:
        body = config_map(rig, labels={"a": "1", "b": "2"}, finalizers=["x.dev/a", "x.dev/b"])
        await rig.admin.create(CONFIGMAP, body)
        patch = {"metadata": {"labels": {"a": None}, "finalizers": ["x.dev/c"]}, "data": None}
        after = await rig.admin.patch(CONFIGMAP, "one", rig.namespace, patch)
        assert after["metadata"]["labels"] == {"b": "2"}
        assert after["metadata"]["finalizers"] == ["x.dev/c"]
        assert "data" not in after
        await rig.admin.patch(CONFIGMAP, "one", rig.namespace, {"metadata": {"finalizers": None}})

    async def test_a_version_inside_is_a_condition(self, rig: Rig) -> None:
        first = await rig.admin.create(CONFIGMAP, config_map(rig))
        patch = {"data": {"b": "2"}}
        second = await rig.admin.patch(CONFIGMAP, "one", rig.namespace, patch, version=first)
        assert second["data"] == {"a": "1", "b": "2"}
        with pytest.raises(Conflict):
            await rig.admin.patch(CONFIGMAP, "one", rig.namespace, patch, version=first)

    @pytest.mark.parametrize("kind", [CONFIGMAP, VMOP], ids=lambda kind: kind.kind)
    async def test_a_uid_inside_is_a_condition(self, rig: Rig, kind: Kind) -> None:
        body = config_map(rig) if kind is CONFIGMAP else operation(rig)
        made = await rig.admin.create(kind, body)
        path = kind.path(rig.namespace, "one")
        uid = "00000000-0000-4000-8000-000000000000"
        patch = {"metadata": {"labels": {"a": "b"}, "uid": uid}}
        code, _ = await rig.raw("PATCH", path, patch, content_type=MERGE_PATCH)
        assert code == 422
        patch["metadata"]["resourceVersion"] = "1"
        code, _ = await rig.raw("PATCH", path, patch, content_type=MERGE_PATCH)
        assert code == 409
        patch["metadata"]["resourceVersion"] = ""
        code, _ = await rig.raw("PATCH", path, patch, content_type=MERGE_PATCH)
        assert code == 422
        patch["metadata"] = {"uid": made["metadata"]["uid"], "labels": {"a": "c"}}
        code, _ = await rig.raw("PATCH", path, patch, content_type=MERGE_PATCH)
        assert code == 200

    async def test_json_patch_with_a_test(self, rig: Rig) -> None:
        await rig.admin.create(CONFIGMAP, config_map(rig))
        path = CONFIGMAP.path(rig.namespace, "one")
        good = [
            {"op": "test", "path": "/data/a", "value": "1"},
            {"op": "add", "path": "/metadata/labels", "value": {"x/y": "z"}},
            {"op": "replace", "path": "/metadata/labels/x~1y", "value": "q"},
            {"op": "remove", "path": "/data/a"},
        ]
        code, body = await rig.raw("PATCH", path, good, content_type=JSON_PATCH)
        assert code == 200
        assert body["metadata"]["labels"] == {"x/y": "q"}
        code, _ = await rig.raw("PATCH", path, good, content_type=JSON_PATCH)
        assert code == 422

    async def test_a_missing_object_is_not_found(self, rig: Rig) -> None:
        path = LEASE.path(rig.namespace, "none")
        code, _ = await rig.raw("PATCH", path, {"spec": {}}, content_type=MERGE_PATCH)
        assert code == 404


class TestDelete:
    async def test_preconditions(self, rig: Rig) -> None:
        made = await rig.admin.create(CONFIGMAP, config_map(rig))
        with pytest.raises(Conflict):
            await rig.admin.delete(CONFIGMAP, "one", rig.namespace, uid="other")
        with pytest.raises(Conflict):
            await rig.admin.delete(CONFIGMAP, "one", rig.namespace, resource_version="1")
        meta = made["metadata"]
        await rig.admin.delete(
            CONFIGMAP, "one", rig.namespace,
            uid=meta["uid"], resource_version=meta["resourceVersion"],
        )  # fmt: skip
        with pytest.raises(NotFound):
            await rig.admin.delete(CONFIGMAP, "one", rig.namespace)

    async def test_finalizers_hold(self, rig: Rig) -> None:
        await rig.admin.create(VMOP, operation(rig, finalizers=["x.dev/a", "x.dev/b"]))
        await rig.admin.delete(VMOP, "one", rig.namespace)
        marked = await rig.admin.get(VMOP, "one", rig.namespace)
        assert marked["metadata"]["deletionTimestamp"]
        await rig.admin.delete(VMOP, "one", rig.namespace)
        with pytest.raises((Invalid, ApiError)) as refusal:
            await rig.admin.patch(
                VMOP, "one", rig.namespace, {"metadata": {"finalizers": ["x.dev/a", "x.dev/c"]}}
            )
        assert refusal.value.code == 422
        left = await rig.admin.patch(
            VMOP, "one", rig.namespace, {"metadata": {"finalizers": ["x.dev/b"]}}
        )
        assert left["metadata"]["finalizers"] == ["x.dev/b"]
        last = await rig.admin.patch(VMOP, "one", rig.namespace, {"metadata": {"finalizers": []}})
        assert last["metadata"]["deletionTimestamp"]
        with pytest.raises(NotFound):
            await rig.admin.get(VMOP, "one", rig.namespace)

    async def test_a_mark_of_deletion_cannot_be_taken_back(self, rig: Rig) -> None:
        await rig.admin.create(CONFIGMAP, config_map(rig, finalizers=["x.dev/a"]))
        await rig.admin.delete(CONFIGMAP, "one", rig.namespace)
        patch: Object = {"metadata": {"deletionTimestamp": None, "labels": {"a": "b"}}}
        after = await rig.admin.patch(CONFIGMAP, "one", rig.namespace, patch)
        assert after["metadata"]["deletionTimestamp"]
        await rig.admin.patch(CONFIGMAP, "one", rig.namespace, {"metadata": {"finalizers": None}})
