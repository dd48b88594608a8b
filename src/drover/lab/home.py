"""The one directory that holds all state of a lab: where its files are, its settings, its lock.

Also the *register* of this user's labs (beside the caches): which home uses which pair of subnets, so that a second lab
never takes the addresses of one that is merely down. An entry whose home is gone counts for nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drover.lab.errors import LabBusy, LabError
from drover.lab.topology import MOST_LABS, Topology, lab_id, node_name
from drover.server.parts import Plane

_LEAST_FREE_BYTES = 512 * 2**20  # etcd's log, an image, some disks
# All that a lab makes in its home; `reset` removes this and nothing else.
_OURS = {
    ".lock", "builtin", "controllers.json", "disks", "etcd", "etcd.before", "etcd.part", "images", "kube-cache",
    "known_hosts", "kubeconfig", "kubeconfig.part", "lab.json", "lab.part", "log", "nodes", "pki", "restored.json",
    "run",
}  # fmt: skip
_TOO_LONG = 200  # characters of a home path: kernel and socket limits, with room for our own names


@dataclass(frozen=True)
class Settings:
    """What a lab remembers between two ``up``: its index (addresses) and its number of nodes."""

    index: int
    nodes: int

    @property
    def topology(self) -> Topology:
        return Topology(self.index)

    @property
    def node_names(self) -> list[str]:
        return [node_name(number) for number in range(1, self.nodes + 1)]


@dataclass(frozen=True)
class Home:
    """Paths under one absolute directory."""

    path: Path

    @classmethod
    def at(cls, path: str | Path) -> Home:
        return cls(Path(os.path.abspath(os.path.expanduser(path))))

    @property
    def lab_id(self) -> str:
        return lab_id(self.path)

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def etcd(self) -> Path:
        return self.path / "etcd"

    @property
    def disks(self) -> Path:
        return self.path / "disks"

    @property
    def images(self) -> Path:
        return self.path / "images"

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def kube_cache(self) -> Path:
        return self.path / "kube-cache"

    @property
    def settings_file(self) -> Path:
        return self.path / "lab.json"

    @property
    def manifests_applied(self) -> Path:
        """There while the API server knows our kinds; controllers and agents are started after it."""
        return self.run / "manifests-applied"

    @property
    def bundles(self) -> Path:
        """A link to each directory with a further QEMU; nodes mount them."""
        return self.run / "qemus"

    @property
    def code(self) -> Path:
        """Which code runs."""
        return self.run / "code.json"

    def node(self, name: str) -> Path:
        return self.path / "nodes" / name

    def plane(self, settings: Settings) -> Plane:
        """The lab's control plane, whose files are here."""
        return Plane("drover", settings.topology.control_plane, self.path)

    def settings(self) -> Settings | None:
        """What the last ``up`` stored; None before the first."""
        try:
            stored = json.loads(self.settings_file.read_bytes())
            return Settings(index=int(stored["index"]), nodes=int(stored["nodes"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(
                f"{self.settings_file} is damaged ({error}): restore it, or give the lab up with "
                f"`drover reset`"
            ) from error

    def store(self, settings: Settings) -> None:
        part = self.settings_file.with_suffix(".part")
        part.write_text(json.dumps({"index": settings.index, "nodes": settings.nodes}) + "\n")
        part.replace(self.settings_file)

    def strangers(self) -> list[str]:
        """Names in the home that are not of our making."""
        return sorted(entry.name for entry in self.path.iterdir() if entry.name not in _OURS)

    def require_empty(self) -> None:
        """A new lab takes no directory that is used for something else. Raises LabError."""
        if found := self.strangers():
            raise LabError(
                f"--home {self.path} holds other files ({', '.join(found[:3])}, ...): name an empty or a new directory"
            )

    def remove_contents(self) -> list[str]:
        """Remove what is ours, and the directory if it is empty then. Returns the names of what is left."""
        for name in sorted(_OURS - {".lock"}):
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        left = self.strangers()
        if not left:
            (self.path / ".lock").unlink()
            self.path.rmdir()
        return left

    def check_place(self) -> None:
        """Raises LabError when a home cannot be there."""
        if len(str(self.path)) > _TOO_LONG:
            raise LabError(
                f"the path of --home has {len(str(self.path))} characters, {_TOO_LONG} are "
                f"possible: choose a shorter one"
            )
        if self.path.is_relative_to("/run") or self.path.is_relative_to("/proc"):
            raise LabError(
                f"--home {self.path} is under a directory that every node has of its own: "
                f"choose one on a disk"
            )

    def prepare(self) -> None:
        """Make the directories. Raises LabError when there is no room for what goes into them."""
        for directory in (self.path, self.pki, self.logs, self.run, self.etcd):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for directory in (self.disks, self.images):
            directory.mkdir(exist_ok=True)
        free = shutil.disk_usage(self.path).free
        if free < _LEAST_FREE_BYTES:
            raise LabError(
                f"{self.path} has {free // 2**20} MiB free, a lab needs {_LEAST_FREE_BYTES // 2**20} MiB to begin "
                f"with: make room, or choose another --home"
            )

    @contextlib.contextmanager
    def locked(self, purpose: str) -> Iterator[None]:
        """Only one command at a time works on a home. Raises LabBusy, naming the other."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another drover command"
                raise LabBusy(
                    f"{holder} is at work on {self.path}: wait for it to end, or choose another "
                    f"--home"
                ) from None
            file.truncate(0)
            file.write(f"`drover {purpose}` (process {os.getpid()})")
            file.flush()
            yield


def default_home() -> str:
    return os.environ.get("DROVER_HOME") or "~/.drover"


def cache_dir() -> Path:
    """Where what is built once is kept; the register of labs too."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("DROVER_CACHE") or f"{cache}/drover").expanduser()


def claim_index(home: Home, taken: set[int]) -> int:
    """The first index that neither this machine (``taken``) nor another home's lab uses."""
    with _register() as entries:
        for text, owner in list(entries.items()):
            if owner == str(home.path) or not (Path(owner) / "lab.json").exists():
                del entries[text]
        for index in range(MOST_LABS):
            if index not in taken and str(index) not in entries:
                entries[str(index)] = str(home.path)
                return index
    raise LabError(
        f"all {MOST_LABS} pairs of subnets are in use on this machine: remove a lab with "
        f"`drover --home DIR reset`"
    )


def release_index(home: Home) -> None:
    """Forget the home's claim."""
    with _register() as entries:
        for text in [text for text, owner in entries.items() if owner == str(home.path)]:
            del entries[text]


@contextlib.contextmanager
def _register() -> Iterator[dict[str, str]]:
    path = cache_dir() / "labs.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        try:
            entries = json.loads(file.read() or "{}")
        except ValueError:
            entries = {}
        yield entries
        file.seek(0)
        file.truncate(0)
        json.dump(entries, file)
