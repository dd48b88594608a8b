"""A spec becomes an argument vector: what the guest sees is fixed, and no name smuggles in an
option.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drover.agent.ports import Disk, HypervisorError, MachineSpec
from drover.agent.qemu import commandline
from drover.agent.qemu.files import CopyFiles
from drover.agent.qemu.settings import Bundle, QemuSettings

FILES = CopyFiles(Path("/run/n/copy-a"), Path("/log/n/copy-a"))
SETTINGS = QemuSettings(
    run_dir=Path("/run/n"), log_dir=Path("/log/n"), tls_dir=Path("/tls"), address="10.67.10.11"
)
SPEC = MachineSpec(
    vm="default/linux-vm",
    vm_uid="6f6f6b1e-4f0e-4a57-9a5b-0d6c2d1f0a11",
    cores=2,
    memory_bytes=256 << 20,
    mac="52:54:00:00:00:01",
    ip="10.66.10.10",
    gateway="10.66.10.254",
    prefix=24,
    disks=(
        Disk("root", "/disks/a,b=c.qcow2", boot_order=1),
        Disk("seed", "/seeds/s.iso", format="raw", read_only=True),
    ),
)


def build(spec: MachineSpec = SPEC, incoming: bool = False) -> list[str]:
    return commandline.build("copy-a", spec, FILES, SETTINGS, incoming)


def values(argv: list[str], option: str) -> list[str]:
    return [argv[i + 1] for i, word in enumerate(argv) if word == option]


def devices(argv: list[str]) -> dict[str, dict[str, Any]]:
    parsed = [json.loads(text) for text in values(argv, "-device")]
    return {device["id"]: device for device in parsed}


def test_starts_stopped_without_defaults() -> None:
    argv = build()
    assert {"-S", "-nodefaults", "-no-user-config"} <= set(argv)
    assert "-incoming" not in argv
    assert values(build(incoming=True), "-incoming") == ["defer"]


def test_both_ends_of_a_move_see_the_same_machine() -> None:
    source, target = devices(build()), devices(build(incoming=True))
    assert source == target
    addresses = [device["addr"] for device in source.values() if device.get("bus") == "pcie.0"]
    assert len(addresses) == len(set(addresses)) == 6


def test_a_display_is_a_socket_of_the_copy_alone() -> None:
    assert "-vnc" not in build()
    argv = build(replace(SPEC, display=True))
    assert values(argv, "-vnc") == ["unix:/run/n/copy-a/vnc,share=force-shared"]
    assert devices(argv)["vga0"]["addr"] == "0x01"
    assert devices(argv).keys() - devices(build()).keys() == {"vga0"}


def test_disks_are_locked_and_named_by_json() -> None:
    root, seed = (json.loads(text) for text in values(build(), "-blockdev"))
    assert root["file"]["filename"] == "/disks/a,b=c.qcow2"
    assert root["file"]["locking"] == seed["file"]["locking"] == "on"
    assert (root["read-only"], seed["read-only"]) == (False, True)
    assert devices(build())["vd0"]["bootindex"] == 1
    assert "bootindex" not in devices(build())["vd1"]


def test_a_guest_boots_by_efi_from_flash_whose_variables_are_locked() -> None:
    assert not any("pflash" in word or "uefi" in word for word in build())
    argv = build(replace(SPEC, uefi_vars="/disks/a,b=c.efivars"))
    assert values(argv, "-machine")[0].endswith(",pflash0=uefi-code,pflash1=uefi-vars")
    code, variables = (json.loads(text) for text in values(argv, "-blockdev")[:2])
    assert (code["read-only"], variables["read-only"]) == (True, False)
    assert variables["file"]["filename"] == "/disks/a,b=c.efivars"
    assert variables["file"]["locking"] == "on"
    assert devices(argv) == devices(build())


def test_commas_of_names_are_data() -> None:
    argv = build(replace(SPEC, vm="a/b,process=x"))
    assert values(argv, "-name") == ["guest=a/b,,process=x,debug-threads=on"]


@pytest.mark.parametrize(
    "model", ["", "Nehalem,+aes x", "host,migratable=off;", "a b", "-S", "x,y=z"]
)
def test_no_cpu_model_smuggles_in_an_option(model: str) -> None:
    with pytest.raises(HypervisorError):
        build(replace(SPEC, cpu_model=model))


def test_cpu_features_are_allowed() -> None:
    assert values(build(replace(SPEC, cpu_model="Nehalem,+aes,pcid=off")), "-cpu") == [
        "Nehalem,+aes,pcid=off"
    ]


def test_too_many_disks_are_refused() -> None:
    disks = tuple(Disk(f"d{i}", f"/d/{i}") for i in range(24))
    with pytest.raises(HypervisorError, match="24 disks"):
        build(replace(SPEC, disks=disks))


def test_firmware_bundle_names_the_binary() -> None:
    bundles = {"": Bundle(), "10.0": Bundle("/fw/10.0/qemu", "/fw/10.0/roms")}
    settings = replace(SETTINGS, bundles=bundles)
    argv = commandline.build("copy-a", replace(SPEC, firmware="10.0"), FILES, settings, False)
    assert argv[0] == "/fw/10.0/qemu"
    assert values(argv, "-L") == ["/fw/10.0/roms"]
    with pytest.raises(HypervisorError, match=r"9\.9"):
        commandline.build("copy-a", replace(SPEC, firmware="9.9"), FILES, settings, False)


def test_long_disk_names_get_a_stable_short_serial() -> None:
    assert commandline.disk_serial("root") == "root"
    long = commandline.disk_serial("a-very-long-virtual-disk-name")
    assert len(long) == 20
    assert long != commandline.disk_serial("a-very-long-virtual-disk-namf")


@pytest.mark.parametrize("asked", [128 << 20, (128 << 20) + 1, (4 << 30) - 4096, 100_000_000])
def test_memory_under_tcg_takes_the_long_way_to_dirty_pages(asked: int) -> None:
    (size,) = values(build(replace(SPEC, memory_bytes=asked)), "-m")
    got = int(size.removeprefix("size=").removesuffix("k")) * 1024
    assert got % 8192 == 0  # else QEMU rounds it up
    assert got % (256 << 10) != 0
    assert 0 <= asked - got < 16384


def test_memory_under_kvm_is_what_was_asked_for() -> None:
    argv = commandline.build("copy-a", SPEC, FILES, replace(SETTINGS, accel="kvm"), False)
    assert values(argv, "-m") == ["size=262144k"]
