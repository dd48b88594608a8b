"""The port Storage: one suite for qemu-img on files and for the memory of the simulation."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drover.base.clock import RealClock
from drover.controllers.storage import BadImage, FileStorage, ImageInfo, NoSpace, Storage
from drover.sim.storage import MemoryStorage

MI = 2**20


@dataclass
class Rig:
    storage: Storage
    directory: Path

    def fetched(self, uid: str, size: int = MI) -> Path:
        """A raw image with a partition table where a fetch would have put it."""
        path = self.storage.scratch(uid)
        if isinstance(self.storage, MemoryStorage):
            self.storage.fetched[path] = ImageInfo("raw", size)
        else:
            path.write_bytes(b"\0" * 510 + b"\x55\xaa" + b"\0" * (size - 512))
        return path


@pytest.fixture(params=["files", "memory"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    if request.param == "memory":
        yield Rig(MemoryStorage(RealClock()), tmp_path)
        return
    for name in ("disks", "images"):
        (tmp_path / name).mkdir()
    yield Rig(FileStorage(tmp_path / "disks", tmp_path / "images"), tmp_path)


async def test_a_blank_disk_is_made_once(rig: Rig) -> None:
    assert await rig.storage.create_disk("u1", 8 * MI) == "u1.qcow2"
    assert await rig.storage.create_disk("u1", 8 * MI) == "u1.qcow2"
    await rig.storage.remove_disk("u1")
    await rig.storage.remove_disk("u1")


async def test_what_a_vm_kept_beside_its_disk_goes_with_it(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path, tmp_path)
    await storage.create_disk("u1", 8 * MI)
    for name in ("u1.efivars", ".part-u1.efivars", ".part-u1.efivars-x7", "u11.efivars"):
        (tmp_path / name).touch()
    await storage.remove_disk("u1")
    assert [path.name for path in tmp_path.iterdir()] == ["u11.efivars"]


async def test_an_image_becomes_a_disk_of_its_size_or_larger(rig: Rig) -> None:
    seen: list[int] = []
    path, info = await rig.storage.import_image("i1", rig.fetched("i1"), seen.append)
    assert (info.format, info.virtual_bytes) == ("raw", MI)
    assert seen[-1] == 100
    assert await rig.storage.copy_disk("d1", path, None, seen.append) == ("d1.qcow2", MI)
    assert await rig.storage.copy_disk("d2", path, 4 * MI, seen.append) == ("d2.qcow2", 4 * MI)
    with pytest.raises(BadImage, match="smaller"):
        await rig.storage.copy_disk("d3", path, MI // 2, seen.append)
    await rig.storage.remove_image("i1")
    await rig.storage.remove_image("i1")


async def test_what_is_no_image_is_refused(rig: Rig) -> None:
    path = rig.storage.scratch("i1")
    if not isinstance(rig.storage, MemoryStorage):
        path.write_text("<html>404</html>")
    with pytest.raises(BadImage):
        await rig.storage.import_image("i1", path, lambda percent: None)


@pytest.fixture
def files(tmp_path: Path) -> FileStorage:
    for name in ("disks", "images"):
        (tmp_path / name).mkdir()
    return FileStorage(tmp_path / "disks", tmp_path / "images")


def qemu_img(*argv: str) -> None:
    subprocess.run(["qemu-img", *argv], check=True, capture_output=True)


async def test_a_backing_file_is_refused(files: FileStorage, tmp_path: Path) -> None:
    """Else an image could name any file of this host as its content."""
    secret, image = tmp_path / "secret", files.scratch("i1")
    secret.write_bytes(b"s" * MI)
    qemu_img("create", "-f", "qcow2", "-b", str(secret), "-F", "raw", str(image))
    with pytest.raises(BadImage, match="backing file"):
        await files.import_image("i1", image, lambda percent: None)
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={secret}", str(image), "1M")
    with pytest.raises(BadImage, match="external data file"):
        await files.import_image("i1", image, lambda percent: None)


@pytest.mark.parametrize("other", ["vmdk", "vhdx", "vpc"])
async def test_foreign_formats_are_named(files: FileStorage, other: str) -> None:
    image = files.scratch("i1")
    qemu_img("create", "-f", other, str(image), "4M")
    with pytest.raises(BadImage, match="serves qcow2 and raw"):
        await files.import_image("i1", image, lambda percent: None)


async def test_a_broken_qcow2_is_refused(files: FileStorage) -> None:
    image = files.scratch("i1")
    image.write_bytes(struct.pack(">4sI", b"QFI\xfb", 3) + b"\xff" * 4096)
    with pytest.raises(BadImage, match="no usable qcow2"):
        await files.import_image("i1", image, lambda percent: None)


async def test_a_raw_image_is_never_probed(files: FileStorage, tmp_path: Path) -> None:
    """A disk whose guest wrote a qcow2 header into its second sector stays raw."""
    image = files.scratch("i1")
    image.write_bytes(b"\0" * 510 + b"\x55\xaa" + b"QFI\xfb" + b"\0" * (MI - 516))
    _, info = await files.import_image("i1", image, lambda percent: None)
    assert info.format == "raw"


async def test_a_full_file_system_is_told(
    files: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drover.controllers.storage.SPARE_BYTES", 2**62)
    image = files.scratch("i1")
    image.write_bytes(b"\0" * 510 + b"\x55\xaa")
    with pytest.raises(NoSpace):
        await files.import_image("i1", image, lambda percent: None)


async def test_a_cancelled_copy_leaves_no_child(files: FileStorage, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    storage = FileStorage(tmp_path / "disks", tmp_path / "images", str(slow))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await storage.create_disk("u1", MI)
    left = subprocess.run(["pgrep", "-P", str(os.getpid()), "sleep"], capture_output=True)
    assert left.stdout == b""
