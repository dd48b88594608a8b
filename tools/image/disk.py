"""Files into file systems into a disk, all in plain files at offsets.

Layout: MBR with SYSLINUX's code; a FAT partition with kernel, initrd and two boot loaders, SYSLINUX
for BIOS and systemd-boot for EFI; an ext4 partition, the last one, which the guest stretches to the
end of its disk at boot.
"""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
BOOT_START = 1
UUID = "d20e4b1e-0000-4000-8000-6c696e757800"
# What an emulated boot can do without: self tests and trace events, 0.1 to 0.5 s each. Not nokaslr:
# a warm reset then writes over the code that QEMU has translated, which is slow.
# no_timer_check: a busy host makes the timer look broken.
COMMAND_LINE = (
    "console=ttyS0 quiet mitigations=off no_timer_check cryptomgr.notests "
    "initcall_blacklist=init_kprobe_trace,crypto_kdf108_init"
)
SYSLINUX_CFG = """\
DEFAULT linux
PROMPT 0
TIMEOUT 0
LABEL linux
  LINUX /vmlinuz
  INITRD /initrd
  APPEND {command_line}
"""
SYSTEMD_BOOT_ENTRY = """\
title Linux
linux /vmlinuz
initrd /initrd
options {command_line}
"""


@dataclass(frozen=True)
class Layout:
    """``inode_bytes``: one inode for so many bytes of the root file system."""

    boot_mib: int
    root_mib: int
    root_label: str
    command_line: str
    inode_bytes: int = 16384

    @property
    def root_start(self) -> int:
        return BOOT_START + self.boot_mib


BUILT_IN = Layout(40, 150, "groot", COMMAND_LINE)


@dataclass(frozen=True)
class Loaders:
    """Of BIOS, the code in the first sector; of EFI, the program that firmware looks for."""

    mbr: Path
    efi: Path


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


def make_disk(boot: Path, rootfs: Path, loaders: Loaders, raw: Path, layout: Layout) -> None:
    """``boot`` holds vmlinuz and initrd."""
    with raw.open("wb") as f:
        f.truncate(layout.root_start * MIB)  # so far only what mkfs.vfat is to fill
    boot_sector = str(BOOT_START * MIB // 512)
    at = ["--offset", boot_sector, "-h", boot_sector]
    _run("mkfs.vfat", "-F", "16", "-n", "BOOT", "-i", "64726f76", *at, raw)
    os.truncate(raw, (layout.root_start + layout.root_mib) * MIB)
    table = (
        "label: dos\nlabel-id: 0x64726f76\n"
        f"start={BOOT_START}MiB, size={layout.boot_mib}MiB, type=ef, bootable\n"
        f"start={layout.root_start}MiB, size={layout.root_mib}MiB, type=83\n"
    )
    _run("sfdisk", "--quiet", raw, stdin=table.encode())
    _fill_boot(boot, loaders, f"{raw}@@{BOOT_START}M", layout.command_line)
    _run("syslinux", "--install", "--offset", str(BOOT_START * MIB), raw)
    with raw.open("r+b") as f:
        f.write(loaders.mbr.read_bytes()[:440])
    offset = layout.root_start * MIB
    options = f"root_owner=0:0,offset={offset},hash_seed={UUID},lazy_itable_init=0,nodiscard"
    mke2fs = ["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-i", str(layout.inode_bytes), "-m", "0"]
    mke2fs += [
        "-L",
        layout.root_label,
        "-U",
        UUID,
        "-J",
        "size=8",
        "-d",
        str(rootfs),
        "-E",
        options,
    ]
    _run(*mke2fs, raw, f"{layout.root_mib}M")


def _fill_boot(boot: Path, loaders: Loaders, volume: str, command_line: str) -> None:
    texts = {
        "syslinux.cfg": SYSLINUX_CFG.format(command_line=command_line),
        "loader/loader.conf": "timeout 0\nauto-entries no\nauto-firmware no\n",
        "loader/entries/linux.conf": SYSTEMD_BOOT_ENTRY.format(command_line=command_line),
    }
    for name, text in texts.items():
        (boot / name).parent.mkdir(parents=True, exist_ok=True)
        (boot / name).write_text(text)
    program = boot / "EFI/BOOT/BOOTX64.EFI"  # what firmware starts of a disk that it does not know
    program.parent.mkdir(parents=True)
    program.write_bytes(loaders.efi.read_bytes())
    _run("mcopy", "-s", "-m", "-i", volume, *sorted(boot.iterdir()), "::")
