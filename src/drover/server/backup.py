"""Backup and restore of a control plane's etcd, of a lab or of servers.

A backup is one file (tar): the snapshot, what it says of itself, and the keys that the servers of the cluster share,
without which the snapshot of a cluster that is lost altogether would be of no use. So it is private.

A restore takes the cluster back to the past while its hosts are in the present. It puts a new etcd beside the old data,
whose versions all lie above any of the time after the backup, and *declares* itself, so that the controllers decide
nothing before every node has said what it runs (``controllers.restoring``, safety rule 10). The declaration is called
after the snapshot's content, the same on each server: what was done of it is remembered in etcd, where the snapshot
cannot know of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from drover.base import config_file
from drover.runtime.pki import write_private
from drover.server import credentials, etcd
from drover.server.config import Declared, declared_file
from drover.server.errors import ControlPlaneError
from drover.server.etcd import Etcd
from drover.server.parts import Plane

_SNAPSHOT, _ABOUT = "etcd.db", "about.json"
_ID_DIGITS = 16


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup says of itself."""

    made: str  # when, RFC 3339
    servers: dict[str, str]  # all servers: address by name
    nodes: list[str]  # that there were
    revision: int
    keys: int


@dataclass(frozen=True)
class Backup:
    """An unpacked one."""

    about: About
    snapshot: Path

    @property
    def id(self) -> str:
        with self.snapshot.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:_ID_DIGITS]


def save(plane: Plane, tool: Etcd, nodes: Sequence[str], now: str, target: Path) -> About:
    """Write ``target``, whole or not at all. Raises ControlPlaneError, OSError."""
    snapshot = plane.run / _SNAPSHOT
    part = target.with_name(target.name + ".part")
    try:
        snapshot.unlink(missing_ok=True)
        held = tool.save(snapshot)
        said = About(
            made=now,
            servers={one.name: one.address for one in tool.seen().members if one.name},
            nodes=sorted(nodes),
            revision=int(held["revision"]),
            keys=int(held["totalKey"]),
        )
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            content = msgspec.json.encode(said)
            entry = tarfile.TarInfo(_ABOUT)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
            for name in credentials.SHARED_FILES:
                tar.add(plane.pki / name, f"pki/{name}")
            tar.add(snapshot, _SNAPSHOT)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        snapshot.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
    return said


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[Callable[[str], IO[bytes]]]:
    """Gives its parts by name. Raises ControlPlaneError for what is no whole backup."""

    def part(name: str) -> IO[bytes]:
        content = tar.extractfile(name)
        if content is None:
            raise KeyError(name)
        return content

    try:
        with tarfile.open(source) as tar:
            yield part
    except (OSError, tarfile.TarError, KeyError, msgspec.MsgspecError) as error:
        raise ControlPlaneError(
            f"{source} is no whole backup ({error}): `drover backup FILE` makes one"
        ) from error


def about(source: Path) -> About:
    """Raises ControlPlaneError."""
    with _opened(source) as part:
        return msgspec.json.decode(part(_ABOUT).read(), type=About)


def unpack(source: Path, directory: Path) -> Backup:
    """Raises ControlPlaneError."""
    target = directory / _SNAPSHOT
    with _opened(source) as part, target.open("wb") as file:
        said = msgspec.json.decode(part(_ABOUT).read(), type=About)
        shutil.copyfileobj(part(_SNAPSHOT), file)
    return Backup(said, target)


def take_keys(source: Path, pki: Path) -> None:
    """The cluster's authorities and keys, for the first server of a cluster that is lost. Raises ControlPlaneError."""
    with _opened(source) as part:
        for name in credentials.SHARED_FILES:
            write_private(pki / name, part(f"pki/{name}").read())


@dataclass(frozen=True)
class Wanted:
    """How to restore. ``servers`` are those that begin anew; ``nodes`` all that there may be beside those that the
    backup knows; ``off`` those of them that are off for sure."""

    servers: dict[str, str]
    nodes: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


def others(plane: Plane, about: About) -> dict[str, str]:
    """All other servers that there were, as far as is known here: address by name."""
    known = {**plane.peers, **about.servers}
    own = (plane.name, plane.address)
    return {name: at for name, at in known.items() if name != own[0] and at != own[1]}


def restore(plane: Plane, engine: Path, backup: Backup, wanted: Wanted) -> Declared:
    """Put a new etcd in place of the present one, which stays beside it as ``etcd.before``. The control plane must not
    run. Can be repeated. Raises ControlPlaneError."""
    if plane.name not in wanted.servers:
        raise ControlPlaneError(
            f"the backup is of the servers {', '.join(sorted(wanted.servers))}, and this one is {plane.name}: "
            "restore on those, or with --alone on this one, and have the others join it anew"
        )
    etcd.snapshot_status(engine, backup.snapshot)
    fresh = plane.path / "etcd.part"
    shutil.rmtree(fresh, ignore_errors=True)
    etcd.restore(engine, plane, backup.snapshot, wanted.servers, fresh, f"drover-{backup.id}")
    declared = Declared(
        id=backup.id,
        nodes=sorted({*backup.about.nodes, *wanted.nodes}),
        off=sorted(wanted.off),
        servers=others(plane, backup.about),
    )
    # The declaration first: it does no harm to the present etcd, and without it the past must not begin.
    config_file.save(declared_file(plane), declared)
    before = plane.path / "etcd.before"
    if plane.etcd.exists():
        shutil.rmtree(before, ignore_errors=True)
        plane.etcd.rename(before)
    fresh.rename(plane.etcd)
    plane.left.unlink(missing_ok=True)
    return declared
