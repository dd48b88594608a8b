"""A server's configuration: what is wrong with it is named by its field."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import msgspec
import pytest

from drover.base import config_file
from drover.controllers.config import ControllersConfig
from drover.server import config as configs
from drover.server import joining, service
from drover.server.config import Declared, ServerConfig, controllers_config, declared_file, faults
from drover.server.errors import ControlPlaneError


def config_at(directory: Path, **changes: object) -> ServerConfig:
    for name in ("disks", "images"):
        (directory / name).mkdir(exist_ok=True)
    made = ServerConfig(
        name="one",
        address="10.0.0.1",
        engine=sys.executable,
        disks_dir=str(directory / "disks"),
        images_dir=str(directory / "images"),
        vm_cidr="10.66.0.0/24",
        vm_first="10.66.0.10",
        vm_last="10.66.0.250",
        vm_gateway="10.66.0.254",
        state_dir=str(directory / "state"),
    )
    return msgspec.structs.replace(made, **changes)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    config = config_at(tmp_path, servers={"one": "10.0.0.1"}, joins=True, more_names=["vip"])
    config_file.save(tmp_path / "server.toml", config)
    assert config_file.load(tmp_path / "server.toml", ServerConfig) == config


def test_nothing_is_wrong_with_a_good_one(tmp_path: Path) -> None:
    assert faults(config_at(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Server One"}, "name: 'Server One' is not made of small letters"),
        ({"address": "server.local"}, "address: 'server.local' is no IPv4 address"),
        ({"vm_cidr": "10.66.0.1/24"}, "vm_cidr: 10.66.0.1/24 has host bits set"),
        ({"vm_first": "10.67.0.1"}, "vm_first: 10.67.0.1 is not in vm_cidr"),
        ({"vm_first": "10.66.0.251"}, "vm_first: 10.66.0.251 comes after vm_last"),
        ({"disks_dir": "/nowhere"}, "disks_dir: /nowhere is no directory: mount it"),
        ({"engine": "/nowhere/kube"}, "engine: /nowhere/kube is no program"),
        ({"servers": {"one": "10.0.0.9"}}, "servers: one is there with another address"),
    ],
)
def test_a_fault_names_its_field(tmp_path: Path, change: dict[str, object], words: str) -> None:
    assert [fault for fault in faults(config_at(tmp_path, **change)) if fault.startswith(words)]


def test_too_little_room_for_etcd_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "LEAST_FREE_BYTES", 2**70)
    (fault,) = faults(config_at(tmp_path))
    assert "state_dir" in fault
    assert "make room there" in fault


def test_addresses_of_guests_that_were_not_named() -> None:
    found = configs.guest_addresses("10.66.0.0/24", "", "", "")
    assert (found.first, found.last, found.gateway) == ("10.66.0.10", "10.66.0.253", "10.66.0.254")
    for cidr, words in (("10.66.0.0/30", "has 4 addresses"), ("10.66.0.5/24", "host bits")):
        with pytest.raises(ControlPlaneError, match=words):
            configs.guest_addresses(cidr, "", "", "")


def test_a_declared_restore_is_told_to_the_controllers(tmp_path: Path) -> None:
    config = config_at(tmp_path)
    plane = config.plane
    assert controllers_config(config, "127.0.0.1").restored_id == ""
    plane.path.mkdir()
    config_file.save(declared_file(plane), Declared(id="abc", nodes=["n1", "n2"], off=["n2"]))
    told = controllers_config(config, "127.0.0.1")
    assert (told.restored_id, told.restored_nodes, told.restored_off) == (
        "abc",
        ("n1", "n2"),
        ("n2",),
    )
    config_file.save(plane.controllers_file, told)
    assert config_file.load(plane.controllers_file, ControllersConfig) == told


def test_a_machine_that_is_a_server_does_not_become_one_again(tmp_path: Path) -> None:
    config_file.save(tmp_path / "server.toml", config_at(tmp_path))
    with pytest.raises(ControlPlaneError, match="is server one already"):
        joining.require_new(tmp_path)
    (tmp_path / "server.toml").write_text('name = "on')
    with pytest.raises(ControlPlaneError, match="mend it"):
        joining.require_new(tmp_path)


async def test_the_unit_is_one(tmp_path: Path) -> None:
    file = tmp_path / "drover-server.service"
    text = service.unit(tmp_path / "server.toml", config_at(tmp_path), sys.executable)
    assert f"-m drover.server.main --config {tmp_path}/server.toml" in text
    analyze = shutil.which("systemd-analyze")
    if analyze:  # it finds unknown words and programs that are not there
        file.write_text(text)
        argv = (analyze, "verify", "--man=no", str(file))
        child = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE)
        _, said = await child.communicate()
        assert (child.returncode, said) == (0, b"")
