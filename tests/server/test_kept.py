"""What a server never makes anew: the cluster's keys, and the data of etcd."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
from tests.server.test_config import config_at

from drover.base import config_file
from drover.server import credentials, main
from drover.server.config import Declared, declared_file
from drover.server.errors import ControlPlaneError
from drover.server.parts import Plane

NOW = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)
YEAR = datetime.timedelta(days=365)


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    """Of a server that has begun, before its next start."""
    config = config_at(tmp_path)
    main.write_files(config, NOW)
    (config.plane.etcd / "member").mkdir()
    config.plane.begun.touch()
    return config.plane


def shared(plane: Plane) -> dict[str, bytes]:
    there = [name for name in credentials.SHARED_FILES if (plane.pki / name).exists()]
    return {name: (plane.pki / name).read_bytes() for name in there}


@pytest.mark.parametrize("clock", [-6 * YEAR, -datetime.timedelta(days=1), 9.99 * YEAR, 11 * YEAR])
def test_no_clock_however_wrong_makes_new_authorities(
    plane: Plane, tmp_path: Path, clock: datetime.timedelta
) -> None:
    before = shared(plane)
    assert len(before) == len(credentials.SHARED_FILES)
    main.write_files(config_at(tmp_path), NOW + clock)
    assert shared(plane) == before


def test_a_clock_that_is_behind_is_told(plane: Plane) -> None:
    with pytest.raises(ControlPlaneError, match=r"ca\.crt is not valid before.*clock right"):
        credentials.require_shared(plane.pki, NOW - YEAR)


@pytest.mark.parametrize("name", credentials.SHARED_FILES)
def test_a_key_that_is_gone_is_asked_for(plane: Plane, name: str) -> None:
    (plane.pki / name).unlink()
    left = shared(plane)
    with pytest.raises(ControlPlaneError, match=f"lacks {name}.*put them back"):
        credentials.require_shared(plane.pki, NOW)
    assert shared(plane) == left


@pytest.mark.parametrize("content", [b"", b"half", None])
@pytest.mark.parametrize("kind", ["crt", "key"])
def test_an_authority_that_cannot_be_read_stays(
    plane: Plane, kind: str, content: bytes | None
) -> None:
    """None: a sound one that is not of the pair."""
    other = (plane.pki / f"etcd-ca.{kind}").read_bytes()
    (plane.pki / f"ca.{kind}").write_bytes(other if content is None else content)
    before = shared(plane)
    with pytest.raises(ControlPlaneError, match=r"ca\.crt, \.key: .*put them back"):
        credentials.require_shared(plane.pki, NOW)
    assert shared(plane) == before


def test_a_disk_that_reads_nothing_makes_no_authority(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shared(plane)
    monkeypatch.setattr(Path, "read_bytes", _broken)
    with pytest.raises(ControlPlaneError, match="Input/output"):
        credentials.ensure_shared(plane.pki, NOW)
    monkeypatch.undo()
    assert shared(plane) == before


def _broken(path: Path) -> bytes:
    raise OSError(5, os.strerror(5), str(path))


def test_a_server_that_has_begun_does_not_begin_with_an_empty_etcd(plane: Plane) -> None:
    main.require_data(plane)
    (plane.etcd / "member").rmdir()
    with pytest.raises(ControlPlaneError, match=r"data of etcd is gone.*server remove one"):
        main.require_data(plane)
    plane.begun.unlink()
    main.require_data(plane)  # its first start


def test_nor_does_a_new_one_whose_restore_broke_off(plane: Plane) -> None:
    (plane.etcd / "member").rmdir()
    plane.begun.unlink()
    config_file.save(declared_file(plane), Declared(id="of-a-backup"))
    with pytest.raises(ControlPlaneError, match="a restore that broke off"):
        main.require_data(plane)
