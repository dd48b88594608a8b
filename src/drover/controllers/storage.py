"""Where disks and images live: the port ``Storage`` and its real implementation over qemu-img.

Names of files come from uids, so a disk made anew under an old name never meets old content. A file is written under
another name first and renamed when it is whole: what has its final name is complete. qemu-img runs as a child with
bounds on time and output, at a low priority, and never guesses a format: guests write into raw images, and one that
writes a qcow2 header there could otherwise make us read any file of this host.

The second implementation is ``MemoryStorage`` in ``sim.storage``; one contract suite holds both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from drover.api.machine import UEFI_VARS_SUFFIX

Progress = Callable[[int], None]  # percent

MI = 2**20
CREATE_S = 30.0
INFO_S = 30.0
COPY_S = 3600.0
MOST_OUTPUT_BYTES = 1 * MI
SPARE_BYTES = 64 * MI  # left free on the file system of disks

_PERCENT = re.compile(rb"\((\d+)\.\d+/100%\)")


class StorageError(Exception):
    """The work failed and may succeed when tried again; ``str()`` says what users should know."""


class NoSpace(StorageError):
    """The file system is full, or would be."""


class BadImage(StorageError):
    """The content is no image that drover serves. Trying again does not help."""


@dataclass(frozen=True)
class ImageInfo:
    """``virtual_bytes`` is what a guest sees, ``stored_bytes`` what it takes."""

    format: str
    virtual_bytes: int
    stored_bytes: int = 0
    cdrom: bool = False


class Storage(Protocol):
    """Disks and images by uid. Every write is all or nothing and may be repeated."""

    async def create_disk(self, uid: str, size_bytes: int) -> str:
        """A blank disk; returns its path in the directory of disks. Raises StorageError kinds."""
        ...

    async def copy_disk(
        self, uid: str, image: str, size_bytes: int | None, progress: Progress
    ) -> tuple[str, int]:
        """A disk with the content of an image (a path in the directory of images): path and virtual size.
        ``size_bytes`` None: as large as the image. Raises BadImage when it is smaller."""
        ...

    async def remove_disk(self, uid: str) -> None:
        """With the EFI variables that a VM kept beside it. Idempotent."""
        ...

    async def import_image(
        self, uid: str, source: Path, progress: Progress
    ) -> tuple[str, ImageInfo]:
        """Take a fetched file in as an image: path in the directory of images, and what it is.
        ``source`` stays. Raises BadImage."""
        ...

    async def remove_image(self, uid: str) -> None:
        """Idempotent."""
        ...

    def scratch(self, uid: str) -> Path:
        """Where a fetched file may be put before ``import_image``."""
        ...

    def discard(self, uid: str) -> None:
        """Remove what is at ``scratch``. Idempotent."""
        ...


class FileStorage:
    """Files in two directories, of which nodes mount the one of disks (and read the one of images)."""

    def __init__(self, disks: Path, images: Path, qemu_img: str = "qemu-img") -> None:
        self._disks = disks
        self._images = images
        self._qemu_img = qemu_img

    def scratch(self, uid: str) -> Path:
        return self._images / f".fetch-{uid}"

    def discard(self, uid: str) -> None:
        _remove(self.scratch(uid))

    async def create_disk(self, uid: str, size_bytes: int) -> str:
        name = f"{uid}.qcow2"
        if not (self._disks / name).exists():
            part = self._part(self._disks, uid)
            await self._run(
                "create", "-q", "-f", "qcow2", str(part), str(size_bytes), limit_s=CREATE_S
            )
            _publish(part, self._disks / name)
        return name

    async def copy_disk(
        self, uid: str, image: str, size_bytes: int | None, progress: Progress
    ) -> tuple[str, int]:
        source = self._images / image
        info = await self._info(source, "qcow2")
        wanted = info.virtual_bytes if size_bytes is None else size_bytes
        if wanted < info.virtual_bytes:
            raise BadImage(
                f"the disk of {wanted} bytes is smaller than its image, which needs {info.virtual_bytes}"
            )
        name = f"{uid}.qcow2"
        if not (self._disks / name).exists():
            self._need_space(self._disks, info.stored_bytes)
            part = self._part(self._disks, uid)
            await self._convert(source, "qcow2", part, progress)
            if wanted > info.virtual_bytes:
                resize = ("resize", "-q", "-f", "qcow2", str(part), str(wanted))
                await self._run(*resize, limit_s=CREATE_S)
            _publish(part, self._disks / name)
        return name, wanted

    async def remove_disk(self, uid: str) -> None:
        variables = uid + UEFI_VARS_SUFFIX
        _remove(self._part(self._disks, uid), *self._disks.glob(f".part-{variables}*"))
        _remove(self._disks / variables, self._disks / f"{uid}.qcow2")

    async def import_image(
        self, uid: str, source: Path, progress: Progress
    ) -> tuple[str, ImageInfo]:
        image_format, cdrom = _recognise(source)
        info = await self._info(source, image_format)
        self._need_space(self._images, info.stored_bytes)
        part, name = self._part(self._images, uid), f"{uid}.qcow2"
        await self._convert(source, image_format, part, progress)
        _publish(part, self._images / name)
        stored = (self._images / name).stat().st_size
        return name, ImageInfo(image_format, info.virtual_bytes, stored, cdrom)

    async def remove_image(self, uid: str) -> None:
        _remove(self.scratch(uid), self._part(self._images, uid), self._images / f"{uid}.qcow2")

    @staticmethod
    def _part(directory: Path, uid: str) -> Path:
        return directory / f".part-{uid}"

    async def _convert(
        self, source: Path, source_format: str, part: Path, progress: Progress
    ) -> None:
        _remove(part)
        # The default cache mode of the target is unsafe, without a flush at the end.
        argv = (
            "convert",
            "-p",
            "-t",
            "writeback",
            "-f",
            source_format,
            "-O",
            "qcow2",
            str(source),
            str(part),
        )
        await self._run(*argv, limit_s=COPY_S, progress=progress)

    async def _info(self, path: Path, image_format: str) -> ImageInfo:
        try:
            text = await self._run(
                "info", "--output=json", "-f", image_format, str(path), limit_s=INFO_S
            )
        except NoSpace:
            raise
        except StorageError as error:
            raise BadImage(f"no usable {image_format} image: {error}") from error
        facts: dict[str, Any] = json.loads(text)
        details = (facts.get("format-specific") or {}).get("data") or {}
        if facts.get("backing-filename") or facts.get("full-backing-filename"):
            raise BadImage("the image has a backing file; flatten it with qemu-img convert first")
        if details.get("data-file"):
            raise BadImage(
                "the image has an external data file; flatten it with qemu-img convert first"
            )
        if facts.get("encrypted") or details.get("encrypt"):
            raise BadImage("the image is encrypted, which drover does not serve")
        return ImageInfo(image_format, int(facts["virtual-size"]), int(facts.get("actual-size", 0)))

    @staticmethod
    def _need_space(directory: Path, needed_bytes: int) -> None:
        free = os.statvfs(directory)
        if free.f_bavail * free.f_frsize < needed_bytes + SPARE_BYTES:
            raise NoSpace(f"{needed_bytes // MI} MiB are needed and the storage is full")

    async def _run(self, *argv: str, limit_s: float, progress: Progress | None = None) -> str:
        """One qemu-img, killed when it takes too long or when we are cancelled."""
        child = await asyncio.create_subprocess_exec(
            "nice", "-n", "10", self._qemu_img, *argv,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(limit_s):
                output, errors = await _read(child, progress)
                code = await child.wait()
        except TimeoutError as error:
            raise StorageError(f"qemu-img {argv[0]} took longer than {limit_s:.0f} s") from error
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if code:
            text = errors.decode(errors="replace").strip().removeprefix("qemu-img: ")
            raise NoSpace(text) if "No space left" in text else StorageError(text or f"code {code}")
        return output.decode()


async def _read(
    child: asyncio.subprocess.Process, progress: Progress | None
) -> tuple[bytes, bytes]:
    """Both streams to their end; of a progress meter only the last word is kept."""
    assert child.stdout is not None
    assert child.stderr is not None
    output = b""
    while chunk := await child.stdout.read(65536):
        if progress is not None:
            for match in _PERCENT.finditer(chunk):
                progress(int(match.group(1)))
        elif len(output) < MOST_OUTPUT_BYTES:
            output += chunk
    return output, await child.stderr.read(65536)


def _recognise(path: Path) -> tuple[str, bool]:
    """Format and whether it is a CD, by content. Raises BadImage."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(2048)
        file.seek(32769)
        iso = file.read(5) == b"CD001"
        file.seek(1080)
        ext = file.read(2) == b"\x53\xef"
    if head[:4] == b"QFI\xfb":
        return "qcow2", False
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise BadImage(f"the file is {name}; drover serves qcow2 and raw images")
    bootable = head[510:512] == b"\x55\xaa" or ext or iso
    if size % 512 or not bootable:
        raise BadImage(
            "the file is no disk image: neither qcow2 nor raw with a partition table or file system"
        )
    return "raw", iso


_FOREIGN = {
    b"KDMV": "a VMDK image", b"# Disk DescriptorFile": "a VMDK image", b"vhdxfile": "a VHDX image",
    b"conectix": "a VHD image", b"<<< ": "a VDI image", b"\x1f\x8b": "compressed with gzip",
    b"\xfd7zXZ": "compressed with xz", b"\x28\xb5\x2f\xfd": "compressed with zstd", b"BZh": "compressed with bzip2",
    b"PK\x03\x04": "a ZIP archive", b"LUKS": "encrypted (LUKS)",
}  # fmt: skip


def _publish(part: Path, final: Path) -> None:
    """Give the finished file its name, durably."""
    _sync(part, os.O_RDONLY)
    part.replace(final)
    _sync(final.parent, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    number = os.open(path, flags)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
