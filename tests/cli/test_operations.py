"""`drover evict` and its siblings against the API model: what is created, what is printed, the exit code.

A script plays the vmop controller: it moves the operation through its phases, as fast as it likes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import click
import pytest
import pytest_asyncio

from drover.api import scheme
from drover.api.wire import Object
from drover.base.clock import RealClock
from drover.base.ids import SeededIds
from drover.base.tasks import TaskScope
from drover.cli import operations
from drover.cli.connect import Api
from drover.cli.lifecycle import Wish
from drover.runtime.client import Client
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock

NS = "default"


@pytest_asyncio.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """A door without admission rules, with two VMs behind it."""
    monkeypatch.setattr(operations, "POLL_S", 0.005)
    client = Client(ApiModel(SimClock(), SeededIds(0)).stagehand())
    for name, app in (("linux-vm", "web"), ("other-vm", "db")):
        vm: Object = {
            "metadata": {"name": name, "namespace": NS, "labels": {"app": app}},
            "spec": {
                "virtualMachineClassName": "generic",
                "cpu": {"cores": 1},
                "memory": {"size": "192Mi"},
                "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
            },
        }
        made = await client.create(scheme.VM, vm)
        status = {"phase": "Running", "nodeName": "virtlab-pt-1"}
        await client.patch(
            scheme.VM, name, NS, {"status": status}, subresource="status", version=made
        )
    await client.create(scheme.NODE, {"metadata": {"name": "virtlab-pt-2"}})
    yield Api(client, RealClock())


def wish(verb: str = "evict", **given: Any) -> Wish:
    fields = {
        "names": ("linux-vm",), "everything": False, "selector": "", "namespace": NS, "force": None,
        "wait": True, "create_only": False, "timeout_s": 5.0, "yes": True,
    }  # fmt: skip
    return Wish(verb, **{**fields, **given})


async def only_operation(api: Api) -> Object | None:
    found, _ = await api.client.list(scheme.VMOP, NS)
    return found[0] if found else None


async def play(api: Api, *statuses: dict[str, Any]) -> None:
    """Write one status after the other into the operation, once it is there."""
    while (vmop := await only_operation(api)) is None:
        await api.clock.sleep(0.005)
    name = vmop["metadata"]["name"]
    for status in statuses:
        await api.client.patch(scheme.VMOP, name, NS, {"status": status}, subresource="status")
        await api.clock.sleep(0.03)


async def perform(api: Api, wanted: Wish, *statuses: dict[str, Any]) -> int:
    async with TaskScope("test") as scope:
        scope.spawn(play(api, *statuses), "controller")
        return await operations.perform(api, wanted, NS, "linux-vm", wanted.create_only)


def ended(phase: str, reason: str, message: str) -> dict[str, Any]:
    condition = {"type": "Completed", "status": "False", "reason": reason, "message": message}
    return {"phase": phase, "progress": "42%", "conditions": [condition]}


async def test_wait_ends_with_completed_and_zero(api, capsys):
    code = await perform(api, wish(), {"phase": "InProgress"}, {"phase": "Completed"})
    assert code == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith('VirtualMachine "default/linux-vm" evicted. VirtualMachineOperation ')
    assert last.endswith(" completed.")


async def test_without_wait_it_returns_when_the_operation_is_under_way(api, capsys):
    code = await perform(api, wish(wait=False), {"phase": "Pending"}, {"phase": "InProgress"})
    assert code == 0
    assert capsys.readouterr().out.endswith(" in progress.\n")


async def test_a_failed_operation_is_one_with_reason_and_message(api, capsys):
    code = await perform(api, wish("stop"), ended("Failed", "SomeRule", "it broke a rule"))
    said = capsys.readouterr().out
    assert code == 1
    assert "was not stopped" in said
    assert "reason=SomeRule, message=it broke a rule" in said


async def test_a_superseded_operation_is_one(api, capsys):
    assert await perform(api, wish("restart"), {"phase": "Superseded"}) == 1
    assert "was not restarted" in capsys.readouterr().out


async def test_a_deleted_operation_is_told_as_aborted(api, capsys):
    async def delete() -> None:
        await play(api, {"phase": "InProgress"})
        vmop = await only_operation(api)
        assert vmop is not None
        await api.client.delete(scheme.VMOP, vmop["metadata"]["name"], NS)

    async with TaskScope("test") as scope:
        scope.spawn(delete(), "user")
        code = await operations.perform(api, wish(), NS, "linux-vm", False)
    assert code == 1
    assert "was aborted" in capsys.readouterr().out


async def test_a_time_out_is_one_and_leaves_the_operation(api, capsys):
    code = await perform(api, wish(timeout_s=0.05), {"phase": "InProgress"})
    assert code == 1
    assert "not done in time; the operation goes on" in capsys.readouterr().out
    assert await only_operation(api) is not None


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        (wish(), {"type": "Evict"}),
        (wish(force=True), {"type": "Evict", "force": True}),
        (wish(force=False), {"type": "Evict", "force": False}),
        (wish("start", force=True), {"type": "Start"}),
        (
            wish("migrate", target_node="virtlab-pt-2"),
            {
                "type": "Migrate",
                "migrate": {"nodeSelector": {"kubernetes.io/hostname": "virtlab-pt-2"}},
            },
        ),
    ],
)
async def test_what_is_created(api, given, spec):
    assert await operations.perform(api, given, NS, "linux-vm", create_only=True) == 0
    vmop = await only_operation(api)
    assert vmop is not None
    assert vmop["spec"] == {"virtualMachineName": "linux-vm", **spec}
    assert vmop["metadata"]["name"].startswith("linux-vm-")


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("virtlab-pt-1", 'is on node "virtlab-pt-1" already'),
        ("nowhere", 'there is no node "nowhere"'),
    ],
)
async def test_targets_that_cannot_be_create_nothing(api, node, words):
    with pytest.raises(click.ClickException, match=words):
        await operations.perform(api, wish("migrate", target_node=node), NS, "linux-vm", True)
    assert await only_operation(api) is None


@pytest.mark.parametrize(
    ("names", "selector", "found"),
    [
        (("linux-vm",), "", ["linux-vm"]),
        (("other-vm.default", "linux-vm.default"), "", ["other-vm", "linux-vm"]),
        ((), "", ["linux-vm", "other-vm"]),
        ((), "app=db", ["other-vm"]),
        ((), "app=none", []),
    ],
)
async def test_which_vms_are_meant(api, names, selector, found):
    meant = await operations.resolve(api, names, NS, selector)
    assert meant == [(NS, name) for name in found]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("virtlab-pt-2", "migrate linux-vm --target-node-name virtlab-pt-2` moves"),
        ("nothing", "k get vm -A` lists all"),
    ],
)
async def test_a_name_that_is_no_vm(api, name, words):
    with pytest.raises(click.ClickException) as refused:
        await operations.resolve(api, ("linux-vm", name), NS, "")
    assert f'there is no VirtualMachine "{NS}/{name}"' in refused.value.message
    assert words in refused.value.message


async def test_an_unknown_vm_is_named_with_a_way_out(api):
    with pytest.raises(click.ClickException, match=r'no VirtualMachine "default/nope".*get vm -A'):
        await operations.resolve(api, ("nope",), NS, "")


def source(**counters: Any) -> Object:
    return {"metadata": {}, "spec": {}, "status": {"phase": "Copying", "source": counters}}


@pytest.mark.parametrize(
    ("vmm", "text"),
    [
        ({"metadata": {}, "spec": {}, "status": {"phase": "Preparing"}}, "preparing"),
        (
            source(ramTotalBytes=192 << 20, ramTransferredBytes=64 << 20, ramRemainingBytes=128 << 20,
                   dirtyBytesPerSecond=8 << 20, mbps=1074, iteration=2),
            "64 MiB copied, 128 MiB to go, 8.0 MiB/s written, pass 2, 1 s left",
        ),
        (
            source(ramTotalBytes=1 << 20, ramRemainingBytes=1 << 20, dirtyBytesPerSecond=9 << 20, mbps=8),
            "0 MiB copied, 1 MiB to go, 9.0 MiB/s written, pass 0, not converging yet",
        ),
    ],
)  # fmt: skip
def test_counters_of_a_copy(vmm, text):
    assert operations.counters(vmm) == text


@pytest.mark.parametrize(
    ("percent", "bar"), [(0, "...."), (50, "##.."), (99, "###."), (100, "####")]
)
def test_a_bar_without_colours(percent, bar):
    assert operations._bar(percent, 4) == bar


def test_the_total_of_a_copy():
    done = source(ramTotalBytes=192 << 20, ramTransferredBytes=81 << 20, downtimeMs=24)
    assert operations.total(done) == "81 MiB copied, guest paused for 24 ms"
    assert operations.total(source()) == ""


async def test_the_way_out_names_the_operation_that_is_in_the_way(api: Api) -> None:
    assert await operations.at_work(api, NS, "linux-vm") == ""
    spec = {"type": "Evict", "virtualMachineName": "linux-vm"}
    await api.client.create(
        scheme.VMOP, {"metadata": {"name": "op", "namespace": NS}, "spec": spec}
    )
    assert "k delete vmop op -n default` aborts it" in await operations.at_work(api, NS, "linux-vm")
    assert await operations.at_work(api, NS, "other-vm") == ""
