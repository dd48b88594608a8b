"""The boot sector in the tree is the one that its source makes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.agent.qemu import guest


@pytest.mark.skipif(not shutil.which("as") or not shutil.which("ld"), reason="needs binutils")
def test_machine_code_matches_its_source(tmp_path: Path) -> None:
    source = Path(__file__).with_name("guest.s")
    objects, binary = tmp_path / "guest.o", tmp_path / "guest.bin"
    subprocess.run(["as", "--32", source, "-o", objects], check=True)
    link = ["ld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00", objects]
    subprocess.run([*link, "-o", binary], check=True)
    assert binary.read_bytes() == guest.boot_sector()


def test_counters_are_read_from_a_noisy_line() -> None:
    serial = b"SeaBIOS\r\nBooting from Hard Disk..00000001\n.\r\n00000002\n0000001f\n000000"
    assert guest.counters(serial) == [1, 2, 31]
