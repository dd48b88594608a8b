"""Invitations and backups as files: whole, private, and refused when they are not whole. etcd is not asked."""

from __future__ import annotations

import datetime
import io
import tarfile
from pathlib import Path
from typing import cast

import msgspec
import pytest
from tests.server.test_config import config_at

from drover.server import backup, credentials, joining
from drover.server.backup import About, Wanted
from drover.server.errors import ControlPlaneError
from drover.server.etcd import Etcd, Member
from drover.server.main import locked

NOW = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)
ABOUT = About(
    made="2026-11-29T00:00:00Z", servers={"one": "10.0.0.1"}, nodes=[], revision=1, keys=2
)


class Etcds:
    """Members that were asked for."""

    def __init__(self, *members: Member) -> None:
        self._members = list(members)

    def members(self) -> list[Member]:
        return self._members


def member(number: int, name: str = "", learner: bool = False) -> Member:
    return Member(str(number), name, f"10.0.0.{number}", learner)


def invited(directory: Path) -> joining.Invitation:
    config = config_at(directory)
    credentials.ensure_shared(config.plane.pki, NOW)
    etcd = cast("Etcd", Etcds(member(1, "one"), member(2, "two"), member(3, "", learner=True)))
    joining.invite(config, directory / "invitation", etcd)
    return joining.read(directory / "invitation")


def test_an_invitation_holds_what_servers_share_and_is_private(tmp_path: Path) -> None:
    found = invited(tmp_path)
    assert (tmp_path / "invitation").stat().st_mode & 0o077 == 0
    assert found.servers == {"one": "10.0.0.1", "two": "10.0.0.2"}
    config = joining.config_of(found, "three", "10.0.0.3", "/state")
    assert (config.joins, config.servers["three"]) == (True, "10.0.0.3")
    assert config.vm_cidr == config_at(tmp_path).vm_cidr


def test_half_an_invitation_is_refused_with_the_way_out(tmp_path: Path) -> None:
    invited(tmp_path)
    whole = (tmp_path / "invitation").read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole.replace(b"ca.key", b"ca.kez")):
        (tmp_path / "half").write_bytes(content)
        with pytest.raises(ControlPlaneError, match=r"no whole invitation|lacks ca\.key"):
            joining.read(tmp_path / "half")


@pytest.mark.parametrize(
    ("there", "added"),
    [
        ([member(1, "one")], False),
        ([member(1, "one"), member(3, "", learner=True)], True),  # by a join that broke off
    ],
)
def test_a_join_that_broke_off_is_gone_on_with(
    tmp_path: Path, there: list[Member], added: bool
) -> None:
    config = config_at(tmp_path, name="three", address="10.0.0.3")
    assert joining.is_member(there, config) is added


@pytest.mark.parametrize("there", [member(1, "three"), Member("3", "else", "10.0.0.3", False)])
def test_name_and_address_of_another_are_refused(tmp_path: Path, there: Member) -> None:
    config = config_at(tmp_path, name="three", address="10.0.0.3")
    with pytest.raises(ControlPlaneError, match=f"there is a server {there.name} at"):
        joining.is_member([there], config)


@pytest.mark.parametrize("name", ["one", "10.0.0.1"])
def test_a_server_does_not_remove_itself_by_whatever_name(tmp_path: Path, name: str) -> None:
    config, others = config_at(tmp_path), [member(1, "one"), member(2, "two")]
    with pytest.raises(ControlPlaneError, match="say it on another server"):
        joining.leaving(others, config, name)
    with pytest.raises(ControlPlaneError, match="ends with its only server"):
        joining.leaving(others[:1], config, name)


def test_who_is_to_be_removed(tmp_path: Path) -> None:
    config, new = config_at(tmp_path), member(3)
    there = [member(1, "one"), member(2, "two"), new]
    assert joining.leaving(there, config, "two") == there[1]
    assert joining.leaving(there, config, "10.0.0.3") == new
    assert joining.leaving(there, config, "server-7") is None
    assert joining.leaving(there, config, "") is None


def test_what_is_no_whole_backup_is_refused(tmp_path: Path) -> None:
    bare = io.BytesIO()
    with tarfile.open(fileobj=bare, mode="w") as tar:
        content = msgspec.json.encode(ABOUT)
        entry = tarfile.TarInfo("about.json")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    whole = bare.getvalue()
    for content in (b"", b"text", whole[:600], whole):
        (tmp_path / "b.tar").write_bytes(content)
        with pytest.raises(ControlPlaneError, match="no whole backup"):
            backup.unpack(tmp_path / "b.tar", tmp_path)


def test_a_server_that_is_not_in_the_backup_is_told_of_both_ways(tmp_path: Path) -> None:
    config = config_at(tmp_path, name="new")
    unpacked = backup.Backup(ABOUT, tmp_path / "etcd.db")
    with pytest.raises(ControlPlaneError, match=r"servers one, and this one is new.*--alone"):
        backup.restore(config.plane, Path("/engine"), unpacked, Wanted(ABOUT.servers))


def test_a_running_server_is_not_worked_on(tmp_path: Path) -> None:
    plane = config_at(tmp_path).plane
    with (
        locked(plane, "stop it first"),
        pytest.raises(ControlPlaneError, match="is running: stop it first"),
        locked(plane, "stop it first"),
    ):
        pass
    with locked(plane, "stop it first"):
        pass


def test_who_restores_knows_of_the_other_servers(tmp_path: Path) -> None:
    """By the backup, and by its own configuration; not of itself under a former name or address."""
    there = {"one": "10.0.0.1", "two": "10.0.0.2", "three": "10.0.0.3"}
    plane = config_at(tmp_path, joins=True, servers={**there, "four": "10.0.0.4"}).plane
    about = msgspec.structs.replace(ABOUT, servers={**there, "uno": "10.0.0.1"})
    assert {*backup.others(plane, about)} == {"two", "three", "four"}
