"""EFI variables are made once, by a start and not by a copy that comes in, and are never written over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent.qemu.test_commandline import SPEC

from drover.agent.ports import HostError, HypervisorError
from drover.agent.qemu import uefi
from drover.agent.qemu.settings import Uefi


@pytest.fixture
def node(tmp_path: Path) -> Uefi:
    made = Uefi(tmp_path / "code.fd", tmp_path / "new.fd")
    made.code.write_bytes(b"code")
    made.new_vars.write_bytes(b"new")
    return made


def spec_at(file: Path):
    return replace(SPEC, uefi_vars=str(file))


def test_the_first_start_makes_them_and_later_ones_keep_them(tmp_path: Path, node: Uefi) -> None:
    file = tmp_path / "disk.efivars"
    uefi.prepare(spec_at(file), node, incoming=False)
    assert file.read_bytes() == b"new"
    file.write_bytes(b"boot entries")
    uefi.prepare(spec_at(file), node, incoming=False)
    assert file.read_bytes() == b"boot entries"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["code.fd", "disk.efivars", "new.fd"]


def test_whoever_comes_late_takes_nothing_away(tmp_path: Path) -> None:
    """An agent that was frozen between its look and its write."""
    file = tmp_path / "disk.efivars"
    file.write_bytes(b"boot entries")
    uefi._make(file, b"new")
    assert file.read_bytes() == b"boot entries"


def test_an_incoming_copy_makes_none(tmp_path: Path, node: Uefi) -> None:
    file = tmp_path / "disk.efivars"
    uefi.prepare(spec_at(file), node, incoming=True)
    assert not file.exists()


def test_a_guest_with_bios_needs_no_firmware(tmp_path: Path) -> None:
    uefi.prepare(SPEC, Uefi(tmp_path / "none", tmp_path / "none"), incoming=False)


@pytest.mark.parametrize("incoming", [False, True])
def test_a_node_without_the_firmware_names_the_package(
    tmp_path: Path, node: Uefi, incoming: bool
) -> None:
    node.code.unlink()
    with pytest.raises(HypervisorError, match="install the package ovmf"):
        uefi.prepare(spec_at(tmp_path / "disk.efivars"), node, incoming)


def test_a_file_that_cannot_be_written_is_trouble_of_the_host(tmp_path: Path, node: Uefi) -> None:
    with pytest.raises(HostError, match="EFI variables of default/linux-vm"):
        uefi.prepare(spec_at(tmp_path / "none" / "disk.efivars"), node, incoming=False)
