"""What users of kubectl read, held by golden files: columns, words, refusals."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.kubectl.conftest import LINUX_VM, NAMESPACE, Kubectl
from tests.kubectl.transcript import assert_golden
from tests.support.lab import CHECKOUT, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EVICT = (CHECKOUT / "examples/operations/evict.yaml").read_text()
NOWHERE = """\
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachineOperation
metadata:
  generateName: migrate-linux-vm-
spec:
  type: Migrate
  virtualMachineName: linux-vm
  migrate:
    nodeSelector:
      kubernetes.io/hostname: nowhere
"""


def created(said: str) -> str:
    """The generated name in what `create` printed."""
    return said.split("/")[-1].split()[0]


def test_get(k: Kubectl):
    assert_golden(
        "get",
        k("get", "vm"),
        k("get", "vd"),
        k("get", "vmip"),
        k("get", "cvi"),
        k("get", "vmclass"),
        k("get", "vm", "linux-vm", "-o", "name"),
        k("get", "vm", "linux-vm", "-o", "jsonpath={.status.phase} {.spec.memory.size}"),
    )


def test_get_wide(k: Kubectl):
    ready = "{.status.conditions[?(@.type=='AgentReady')].status}"
    eventually(lambda: k.value("vm/linux-vm", ready) == "True")
    assert_golden("get_wide", k("get", "vm", "-o", "wide"), k("get", "pods", "-o", "wide"))


def test_get_json_is_the_object(k: Kubectl):
    shown = json.loads(k("get", "vm", "linux-vm", "-o", "json").split("\n", 1)[1])
    assert shown["apiVersion"] == "virtualization.deckhouse.io/v1alpha2"
    assert shown["kind"] == "VirtualMachine"
    assert shown["spec"]["runPolicy"] == "AlwaysOn"
    assert shown["status"]["phase"] == "Running"
    assert shown["status"]["virtualMachinePods"][0]["active"] is True


def test_a_migration_as_the_manual_shows_it(k: Kubectl):
    """create, watch, describe, delete: and however fast it was, the watch says Migrating."""
    source = k.value("vm/linux-vm", "{.status.nodeName}")
    address = k.value("vm/linux-vm", "{.status.ipAddress}")
    command = k.lab.argv("k", "-n", NAMESPACE, "get", "vm", "-w")
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=k.lab.environment, stdout=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stdout is not None
        try:
            rows = [watch.stdout.readline(), watch.stdout.readline()]
            said = k("create", "-f", "-", stdin=EVICT)
            name = created(said)
            completed = ("--for=jsonpath={.status.phase}=Completed", "--timeout=180s")
            done = k("wait", f"vmop/{name}", *completed)
            target = k.value("vm/linux-vm", "{.status.nodeName}")
            while target not in rows[-1]:  # the watch may be behind
                rows.append(watch.stdout.readline())
                assert rows[-1], rows
        finally:
            watch.terminate()
        rows += watch.stdout.readlines()
    story = [tuple(row.split()[1:4]) for row in rows[1:]]
    story = [now for before, now in zip([None, *story], story, strict=False) if now != before]
    assert story == [
        ("Running", source, address), ("Migrating", source, address), ("Running", target, address),
    ]  # fmt: skip
    assert target != source
    # The source ends by itself, a moment after the move.
    eventually(lambda: k.value("pods", "{.items[?(@.status.phase=='Succeeded')].metadata.name}"))
    pods = sorted(k("get", "pods", "--no-headers").splitlines()[1:], key=lambda row: row.split()[2])
    assert_golden("evict", said, done, rows[0], k("get", "vmop"), *pods)
    told = {line.split()[1].removeprefix("VirtualMachineOperation") for line in _events(k, name)}
    assert told == {"Pending", "Started", "InProgress", "Succeeded"}
    assert_golden("delete_operation", k("delete", "vmop", name))


def _events(k: Kubectl, operation: str) -> list[str]:
    """The table of Events that `describe` ends with, once it is complete."""

    def complete() -> list[str]:
        told = k("describe", "vmop", operation).partition("Events:\n")[2]  # `<none>` at first
        lines = [line for line in told.splitlines()[2:] if line.strip()]
        return lines if "VirtualMachineOperationSucceeded" in told else []

    found = eventually(complete)
    assert isinstance(found, list)
    return found


def test_a_second_operation_is_refused_while_the_first_goes_on(k: Kubectl):
    first = created(k("create", "-f", "-", stdin=NOWHERE))
    try:
        unschedulable = "{.status.conditions[?(@.type=='Completed')].reason}"
        eventually(lambda: k.value(f"vmop/{first}", unschedulable) == "TargetUnschedulable")
        assert_golden("second_operation", k("create", "-f", "-", stdin=EVICT, code=1))
    finally:
        assert "deleted" in k("delete", "vmop", first)
    assert k.value("vm/linux-vm", "{.status.phase}") == "Running"


def test_refused_requests(k: Kubectl):
    long = LINUX_VM.replace("name: linux-vm\n", f"name: {'a' * 300}\n")
    assert "may not be more than 63 bytes" in k("create", "-f", "-", stdin=long, code=1)
    patch = '{"status":{"phase":"Stopped"}}'
    unknown_type = EVICT.replace("type: Evict", "type: Restore")
    without_vm = EVICT.replace("  virtualMachineName: linux-vm\n", "")
    assert_golden(
        "refused",
        k("patch", "vm", "linux-vm", "--subresource=status", "--type=merge", "-p", patch, code=1),
        k("create", "-f", "-", stdin=unknown_type, code=1),
        k("create", "-f", "-", stdin=without_vm, code=1),
        k("get", "vm", "nope", code=1),
    )


@pytest.mark.parametrize(
    ("vm", "reason", "words"),
    [
        ("no-vm", "VirtualMachineNotFound", "VirtualMachine not found"),
        ("stopped-vm", "NotApplicableForVirtualMachineRunPolicy", "runPolicy AlwaysOff"),
    ],
)
def test_an_operation_that_cannot_be_fails_with_its_reason(k: Kubectl, vm, reason, words):
    if vm == "stopped-vm":
        stopped = LINUX_VM.replace("linux-vm", vm).replace("AlwaysOn", "AlwaysOff")
        k("apply", "-f", "-", stdin=stopped)
        # Who hears of an operation before its VM says that there is none.
        eventually(lambda: k.value(f"vm/{vm}", "{.status.phase}"))
    wrong = EVICT.replace("virtualMachineName: linux-vm", f"virtualMachineName: {vm}")
    name = created(k("create", "-f", "-", stdin=wrong))
    condition = "{.status.conditions[?(@.type=='Completed')]"
    eventually(lambda: k.value(f"vmop/{name}", "{.status.phase}") == "Failed")
    assert k.value(f"vmop/{name}", condition + ".reason}") == reason
    assert words in k.value(f"vmop/{name}", condition + ".message}")


def test_an_unknown_class_is_told_by_a_condition(k: Kubectl):
    odd = LINUX_VM.replace("linux-vm", "odd-vm").replace("ClassName: generic", "ClassName: nope")
    k("apply", "-f", "-", stdin=odd)
    condition = "{.status.conditions[?(@.type=='VirtualMachineClassReady')]"
    eventually(lambda: k.value("vm/odd-vm", condition + ".status}") == "False")
    eventually(lambda: k.value("vm/odd-vm", "{.status.ipAddress}"))  # another controller's word
    path = f"jsonpath={condition}.reason}}: {condition}.message}}"
    assert_golden("unknown_class", k("get", "vm", "odd-vm", "-o", path), k("get", "vm", "odd-vm"))
    k("delete", "vm", "odd-vm")


def test_delete(k: Kubectl):
    assert_golden("delete", k("delete", "vm", "linux-vm"), k("get", "vm", "linux-vm", code=1))
