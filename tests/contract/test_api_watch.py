"""The API contract: watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.contract.api_bodies import lease, operation
from tests.contract.api_rig import eventually, following

from drover.api.scheme import LEASE, VM, VMOP
from drover.api.status import (
    Gone,
)

if TYPE_CHECKING:
    from tests.contract.api_rig import Rig

pytestmark = pytest.mark.timeout(240)


class TestWatch:
    async def test_each_change_once_and_in_order(self, rig: Rig) -> None:
        _, version = await rig.admin.list(LEASE, rig.namespace)
        async with following(rig.admin, LEASE, version, rig.namespace) as follower:
            made = await rig.admin.create(LEASE, lease(rig))
            other = await rig.admin.patch(
                LEASE, "one", rig.namespace, {"spec": {"holderIdentity": "you"}}
            )
            await rig.admin.delete(LEASE, "one", rig.namespace)
            await follower.until(3)
        assert follower.types() == ["ADDED", "MODIFIED", "DELETED"]
        versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in follower.events]
        assert versions[:2] == [int(obj["metadata"]["resourceVersion"]) for obj in (made, other)]
        assert versions[2] > versions[1]
        assert follower.events[2][1]["spec"]["holderIdentity"] == "you"
        assert {obj["kind"] for _, obj in follower.events} == {"Lease"}

    async def test_it_resumes_after_the_version_given(self, rig: Rig) -> None:
        made = await rig.admin.create(VMOP, operation(rig))
        await rig.admin.create(VMOP, operation(rig, "two"))
        await rig.admin.delete(VMOP, "one", rig.namespace)
        version = made["metadata"]["resourceVersion"]
        async with following(rig.admin, VMOP, version, rig.namespace) as follower:
            await follower.until(2)
        seen = [(kind, obj["metadata"]["name"]) for kind, obj in follower.events]
        assert seen == [("ADDED", "two"), ("DELETED", "one")]

    async def test_without_a_version_it_begins_with_what_is_there(self, rig: Rig) -> None:
        await rig.admin.create(LEASE, lease(rig))
        async with following(rig.admin, LEASE, "0", rig.namespace) as follower:
            await follower.until(1)
            await rig.admin.create(LEASE, lease(rig, "two"))
            await follower.until(2)
        assert [obj["metadata"]["name"] for _, obj in follower.events] == ["one", "two"]
        assert follower.types() == ["ADDED", "ADDED"]

    async def test_who_leaves_the_selection_is_deleted_who_enters_is_added(self, rig: Rig) -> None:
        _, version = await rig.admin.list(LEASE, rig.namespace)
        selected = following(rig.admin, LEASE, version, rig.namespace, labels="a=b")
        async with selected as follower:
            await rig.admin.create(LEASE, lease(rig))
            for label in ("b", "c", "d", "b"):
                patch = {"metadata": {"labels": {"a": label}}}
                await rig.admin.patch(LEASE, "one", rig.namespace, patch)
            await rig.admin.delete(LEASE, "one", rig.namespace)
            await follower.until(4)
        assert follower.types() == ["ADDED", "DELETED", "ADDED", "DELETED"]
        versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in follower.events]
        assert versions == sorted(set(versions))

    async def test_other_namespaces_are_not_seen(self, rig: Rig) -> None:
        _, version = await rig.admin.list(LEASE, rig.namespace)
        async with following(rig.admin, LEASE, version, rig.namespace) as follower:
            body = {"metadata": {"name": f"x{rig.namespace}", "namespace": "default"}, "spec": {}}
            await rig.admin.create(LEASE, body)
            await rig.admin.create(LEASE, lease(rig))
            await follower.until(1)
        assert [obj["metadata"]["name"] for _, obj in follower.events] == ["one"]

    async def test_a_forgotten_version_is_gone(self, rig: Rig) -> None:
        rig.forget()
        async with following(rig.admin, VM, "1", rig.namespace) as follower:
            error = await eventually(lambda: follower.error, "an error")
        assert isinstance(error, Gone)

    async def test_it_ends_when_its_time_is_up(self, rig: Rig) -> None:
        _, version = await rig.admin.list(LEASE, rig.namespace)
        async with rig.admin.watch(LEASE, version, 1, namespace=rig.namespace) as events:
            seen = [event async for event in events]
        assert {event["type"] for event in seen} <= {"BOOKMARK"}
