"""Cloud-init of somebody else: line ``user.secret``. The controllers' rights are wider than their askers'."""

from __future__ import annotations

import base64

import pytest
from tests.controllers.vm.test_life import SPEC, needs, tell
from tests.controllers.world import NS, World

from drover.api.scheme import NAMESPACE, SECRET, VM
from drover.api.status import Invalid
from drover.controllers.vm import gather

OTHERS = {"userData": base64.b64encode(b"password: hunter2").decode()}


def test_user_secret() -> None:
    """A path to another namespace is no name: the schema says so, and who follows it all the same finds nothing."""

    async def story(world: World) -> None:
        await needs(world)
        await world.admin.create(NAMESPACE, {"metadata": {"name": "other"}})
        meta = {"name": "theirs", "namespace": "other"}
        await world.admin.create(SECRET, {"metadata": meta, "data": OTHERS})
        path = f"../../other/{SECRET.plural}/theirs"
        reference = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": path}}
        with pytest.raises(Invalid, match="userDataRef"):
            await world.create(VM, "linux-vm", {**SPEC, "provisioning": reference})
        vm = {"metadata": {"name": "x", "namespace": NS}, "spec": {"provisioning": reference}}
        said = await gather.secret_problem(world.manager.client, vm)
        assert said == f'Secret "{path}" does not exist'

    tell(story)


def test_a_secret_under_the_name_of_a_vms_is_not_overwritten() -> None:
    """Who may make VMs may have no right to Secrets."""

    async def story(world: World) -> None:
        await needs(world)
        meta = {"name": "d8v-ci-linux-vm", "namespace": NS}
        await world.admin.create(SECRET, {"metadata": meta, "data": OTHERS})
        data = {"type": "UserData", "userData": "#!/bin/sh"}
        await world.create(VM, "linux-vm", {**SPEC, "provisioning": data})
        await world.settle()
        found = await world.get(SECRET, "d8v-ci-linux-vm")
        assert found["data"] == OTHERS
        assert "ownerReferences" not in found["metadata"]
        assert await world.pods("linux-vm") == []
        vm = await world.get(VM, "linux-vm")
        assert any("not the VM's" in c["message"] for c in vm["status"]["conditions"])
        await world.admin.delete(SECRET, "d8v-ci-linux-vm", NS)
        await world.settle(60)
        assert len(await world.pods("linux-vm")) == 1

    tell(story)
