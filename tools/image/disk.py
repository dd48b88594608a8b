"""Files into file systems into a disk, all in plain files at offsets.

Layout: MBR with SYSLINUX's code; a FAT partition with kernel and initrd; an ext4 partition, the
last one, which the guest stretches to the end of its disk at boot.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

MIB = 2**20
BOOT_START, BOOT_MIB = 1, 40
ROOT_START, ROOT_MIB = BOOT_START + BOOT_MIB, 150
UUID = "d20e4b1e-0000-4000-8000-6c696e757800"
# What an emulated boot can do without: self tests and trace events, 0.1 to 0.5 s each. Not nokaslr:
# a warm reset then writes over the code that QEMU has translated, which is slow.
# no_timer_check: a busy host makes the timer look broken.
COMMAND_LINE = (
    "console=ttyS0 quiet mitigations=off no_timer_check cryptomgr.notests "
    "initcall_blacklist=init_kprobe_trace,crypto_kdf108_init"
)
SYSLINUX_CFG = f"""\
DEFAULT linux
PROMPT 0
TIMEOUT 0
LABEL linux
  LINUX /vmlinuz
  INITRD /initrd
  APPEND {COMMAND_LINE}
"""


def _run(*command: str | Path, stdin: bytes | None = None) -> bytes:
    return subprocess.run(command, check=True, input=stdin, capture_output=True).stdout


def _cpio_entry(number: int, name: str, mode: int, data: bytes = b"", device: int = 0) -> bytes:
    """One entry of the newc format; written here so that a device node needs no mknod."""
    fields = (
        number,
        mode,
        0,
        0,
        1,
        0,
        len(data),
        0,
        0,
        device >> 8,
        device & 255,
        len(name) + 1,
        0,
    )
    head = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def make_initrd(tool: Path, modules: list[tuple[str, bytes]], initrd: Path) -> None:
    listed = "".join(f"/{name}\n" for name, _ in modules).encode()
    entries = [
        ("dev", stat.S_IFDIR | 0o755, b"", 0),
        ("dev/console", stat.S_IFCHR | 0o600, b"", 0x501),
        ("init", stat.S_IFREG | 0o755, tool.read_bytes(), 0),
        ("modules", stat.S_IFREG | 0o644, listed, 0),
        *((name, stat.S_IFREG | 0o644, data, 0) for name, data in modules),
        ("TRAILER!!!", 0, b"", 0),
    ]
    archive = b"".join(_cpio_entry(i + 1, *entry) for i, entry in enumerate(entries))
    initrd.write_bytes(_run("lz4", "-l", "-9", "-c", stdin=archive))  # -l: what the kernel reads


def set_times(folder: Path, when: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (when, when), follow_symlinks=False)


def make_disk(boot: Path, rootfs: Path, mbr: Path, raw: Path) -> None:
    with raw.open("wb") as f:
        f.truncate(ROOT_START * MIB)  # so far only what mkfs.vfat is to fill
    boot_sector = str(BOOT_START * MIB // 512)
    at = ["--offset", boot_sector, "-h", boot_sector]
    _run("mkfs.vfat", "-F", "16", "-n", "BOOT", "-i", "64726f76", *at, raw)
    os.truncate(raw, (ROOT_START + ROOT_MIB) * MIB)
    table = (
        "label: dos\nlabel-id: 0x64726f76\n"
        f"start={BOOT_START}MiB, size={BOOT_MIB}MiB, type=6, bootable\n"
        f"start={ROOT_START}MiB, size={ROOT_MIB}MiB, type=83\n"
    )
    _run("sfdisk", "--quiet", raw, stdin=table.encode())
    (boot / "syslinux.cfg").write_text(SYSLINUX_CFG)
    files = [boot / name for name in ("vmlinuz", "initrd", "syslinux.cfg")]
    _run("mcopy", "-m", "-i", f"{raw}@@{BOOT_START}M", *files, "::")
    _run("syslinux", "--install", "--offset", str(BOOT_START * MIB), raw)
    with raw.open("r+b") as f:
        f.write(mbr.read_bytes()[:440])
    options = (
        f"root_owner=0:0,offset={ROOT_START * MIB},hash_seed={UUID},lazy_itable_init=0,nodiscard"
    )
    mke2fs = ["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-i", "16384", "-m", "0", "-L", "groot"]
    mke2fs += ["-U", UUID, "-J", "size=8", "-d", str(rootfs), "-E", options]
    _run(*mke2fs, raw, f"{ROOT_MIB}M")
