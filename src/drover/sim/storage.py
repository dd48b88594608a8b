"""Disks and images of the simulated world: names and sizes, no bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from drover.controllers.storage import BadImage, ImageInfo, NoSpace, StorageError

if TYPE_CHECKING:
    from drover.base.clock import Clock
    from drover.controllers.storage import Progress

MI = 2**20
COPY_S = 2.0  # how long a copy takes


class MemoryStorage:
    """``fetched`` says what a scratch path holds; ``fail`` makes the next write fail."""

    def __init__(self, clock: Clock, space_bytes: int = 2**40) -> None:
        self._clock = clock
        self._space_bytes = space_bytes
        self.disks: dict[str, int] = {}
        self.images: dict[str, ImageInfo] = {}
        self.fetched: dict[Path, ImageInfo] = {}
        self.fail: StorageError | None = None

    def scratch(self, uid: str) -> Path:
        return Path(f"/images/.fetch-{uid}")

    def discard(self, uid: str) -> None:
        self.fetched.pop(self.scratch(uid), None)

    async def create_disk(self, uid: str, size_bytes: int) -> str:
        self._check()
        self.disks.setdefault(f"{uid}.qcow2", size_bytes)
        return f"{uid}.qcow2"

    async def copy_disk(
        self, uid: str, image: str, size_bytes: int | None, progress: Progress
    ) -> tuple[str, int]:
        self._check()
        if image not in self.images:
            raise BadImage(f"no image {image}")
        info = self.images[image]
        wanted = info.virtual_bytes if size_bytes is None else size_bytes
        if wanted < info.virtual_bytes:
            raise BadImage("the disk is smaller than its image")
        await self._work(progress)
        self.disks.setdefault(f"{uid}.qcow2", wanted)
        return f"{uid}.qcow2", wanted

    async def remove_disk(self, uid: str) -> None:
        self.disks.pop(f"{uid}.qcow2", None)

    async def import_image(
        self, uid: str, source: Path, progress: Progress
    ) -> tuple[str, ImageInfo]:
        self._check()
        if source not in self.fetched:
            raise BadImage("the file is no disk image")
        await self._work(progress)
        self.images[f"{uid}.qcow2"] = self.fetched[source]
        return f"{uid}.qcow2", self.fetched[source]

    async def remove_image(self, uid: str) -> None:
        self.images.pop(f"{uid}.qcow2", None)

    async def _work(self, progress: Progress) -> None:
        for percent in (0, 50, 100):
            progress(percent)
            await self._clock.sleep(COPY_S / 3)

    def _check(self) -> None:
        if self.fail is not None:
            error, self.fail = self.fail, None
            raise error
        if sum(self.disks.values()) > self._space_bytes:
            raise NoSpace("the storage is full")
