"""A seed is read back by other people's FAT code, and is the same on both ends of a move."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from drover.agent import fat
from drover.agent.ports import MachineSpec
from drover.agent.seeds import NoCloudSeeds

SPEC = MachineSpec(
    "ns/web", "uid-1", 1, 2**27, "52:54:00:00:00:01", "10.66.10.10", "10.66.10.254", 24
)
pytestmark = pytest.mark.skipif(shutil.which("mtype") is None, reason="mtools is not installed")


def read(image: Path, name: str) -> bytes:
    done = subprocess.run(["mtype", "-i", str(image), f"::{name}"], capture_output=True, check=True)
    return done.stdout


async def test_mtools_reads_every_file(tmp_path: Path) -> None:
    user_data = b"#!/bin/sh\n" + b"x" * 5000
    disk = await NoCloudSeeds(tmp_path).write("copy", SPEC, user_data)
    assert disk.read_only
    assert read(Path(disk.path), "user-data") == user_data
    assert b"local-hostname: web\n" in read(Path(disk.path), "meta-data")
    label = subprocess.run(["mlabel", "-s", "-i", disk.path, "::"], capture_output=True, check=True)
    assert b"CIDATA" in label.stdout


async def test_both_ends_make_the_same_bytes(tmp_path: Path) -> None:
    here = await NoCloudSeeds(tmp_path / "a").write("one", SPEC, b"data")
    there = await NoCloudSeeds(tmp_path / "b").write("two", SPEC, b"data")
    assert Path(here.path).read_bytes() == Path(there.path).read_bytes()


async def test_an_empty_file_and_many_sectors(tmp_path: Path) -> None:
    image = tmp_path / "image"
    files = {"empty": b"", "a-rather-long-file-name.txt": bytes(range(256)) * 40}
    image.write_bytes(fat.volume("cidata", 1, files))
    assert read(image, "a-rather-long-file-name.txt") == files["a-rather-long-file-name.txt"]
    assert read(image, "empty") == b""


def test_too_much_is_refused() -> None:
    with pytest.raises(fat.TooLarge):
        fat.volume("cidata", 1, {"user-data": bytes(2 * 2**20)})
