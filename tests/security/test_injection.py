"""Names and texts of users reach QEMU and the disk as data: lines ``user.options``, ``user.disks``, ``secrets.*``."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.qemu.test_commandline import SPEC, build
from tests.controllers.vm.test_pods import CLASS, VM

from drover.agent.ports import Disk, HypervisorError
from drover.agent.seeds import NoCloudSeeds
from drover.api import machine as machines
from drover.api import names, vmpod
from drover.api.machine import GuestNetwork
from drover.controllers.storage import FileStorage

USER_DATA = "#cloud-config\npassword: hunter2\n"
HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "x,readonly=off",
            "x,,y,process=z",
            "-incoming exec:id",
            'x","driver":"host_device","filename":"/dev/sda',
            "x\n-monitor stdio",
            "$(id)",
            "a/../../b",
        ]
    ),
)


def shape(argv: list[str]) -> list[str]:
    """The options, and the keys of each value: what a name must not change."""
    return [word if word.startswith("-") else ",".join(sorted(keys_of(word))) for word in argv[1:]]


def keys_of(value: str) -> list[str]:
    if value.startswith("{"):
        found: list[str] = []
        nested = [json.loads(value)]
        while nested:
            for key, below in nested.pop().items():
                found.append(f"{key}={below}" if key == "driver" else key)
                nested += [below] if isinstance(below, dict) else []
        return found
    return [part.partition("=")[0] for part in value.replace(",,", "").split(",") if "=" in part]


@given(HOSTILE, HOSTILE, HOSTILE)
def test_user_options(vm: str, disk: str, path: str) -> None:
    disks = (Disk(disk, path, boot_order=1), SPEC.disks[1])
    argv = build(replace(SPEC, vm=f"default/{vm}", disks=disks))
    assert shape(argv) == shape(build())
    root = json.loads(argv[argv.index("-blockdev") + 1])
    assert root["file"]["filename"] == path
    assert (
        argv[argv.index("-name") + 1]
        == f"guest={f'default/{vm}'.replace(',', ',,')},debug-threads=on"
    )


@given(HOSTILE)
def test_no_class_or_firmware_smuggles_in_an_option(text: str) -> None:
    for field in ("cpu_model", "machine_type", "firmware"):
        try:
            argv = build(replace(SPEC, **{field: text}))  # type: ignore[arg-type]
        except HypervisorError:
            continue
        assert len(argv) == len(build())


def test_user_disks(tmp_path: Path) -> None:
    """The name of an object never becomes a path; its uid does, which the API server makes."""
    storage = FileStorage(tmp_path / "disks", tmp_path / "images")
    uid = "6f6f6b1e-4f0e-4a57-9a5b-0d6c2d1f0a11"
    assert storage.scratch(uid).parent == tmp_path / "images"
    vm = copy.deepcopy(VM)
    vm["metadata"]["name"] = "x"
    vm["spec"]["blockDeviceRefs"] = [{"kind": "VirtualDisk", "name": "a"}]
    made = machine(vm, [machines.disk("vd-../../etc/shadow", f"/disks/{uid}.qcow2")])
    assert [disk["path"] for disk in made["disks"]] == [f"/disks/{uid}.qcow2"]


def machine(
    vm: dict[str, object], disks: list[dict[str, object]], secret: str = ""
) -> dict[str, object]:
    network = GuestNetwork("10.66.10.254", 24)
    return machines.machine_of(vm, CLASS, "10.66.10.10", disks, network, secret)


def test_secrets_pod() -> None:
    """Neither the Pod that starts a VM nor a target has a word of the user data; a change still shows."""
    vm = copy.deepcopy(VM)
    vm["spec"]["provisioning"] = {"type": "UserData", "userData": USER_DATA}
    pod = vmpod.build_pod("d8v-vm-x-abcde", vm, CLASS, machine(vm, [], "d8v-ci-x"))
    pod["metadata"]["uid"] = "u"
    vmm = {"metadata": {"name": "m", "uid": "m1"}, "spec": {"sourceNode": "n1"}}
    target = vmpod.target_pod(pod, vmm, "x", vmpod.Now(vm, CLASS))
    for made in (pod, target):
        assert "hunter2" not in json.dumps(made)
        assert "#cloud-config" not in json.dumps(made)
    other = copy.deepcopy(vm)
    other["spec"]["provisioning"]["userData"] += "x"
    assert vmpod.applied_spec(vm) == vmpod.applied_spec(copy.deepcopy(vm))
    assert vmpod.applied_spec(vm) != vmpod.applied_spec(other)


async def test_secrets_arguments(tmp_path: Path) -> None:
    seed = await NoCloudSeeds(tmp_path / "seeds").write("copy-a", SPEC, USER_DATA.encode())
    assert b"hunter2" in Path(seed.path).read_bytes()
    assert Path(seed.path).stat().st_mode & 0o777 == 0o600
    assert Path(seed.path).parent.stat().st_mode & 0o777 == 0o700
    argv = build(replace(SPEC, disks=(*SPEC.disks, seed), seed_secret="d8v-ci-x"))
    assert "hunter2" not in " ".join(argv)


@pytest.mark.parametrize("annotation", [names.MACHINE_ANNOTATION, names.FIRMWARE_ANNOTATION])
def test_a_vms_own_annotations_never_mean_its_pod(annotation: str) -> None:
    vm = copy.deepcopy(VM)
    vm["metadata"]["annotations"] = {annotation: "forged", "app.example/x": "y"}
    carried = vmpod.pod_annotations(vm)
    assert "forged" not in carried.values()
    assert carried["app.example/x"] == "y"
