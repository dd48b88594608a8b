"""etcd's own tools, etcdctl and etcdutl, which are subcommands of the engine: members, snapshots, restores.

A new member begins as a *learner*: it copies everything and has no vote, so that one which never starts costs the
others nothing. ``prepare`` promotes it when etcd says that it has caught up.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drover.server.errors import ControlPlaneError
from drover.server.parts import ETCD_PORT, Plane, peer_url

_LIMIT_S = 120.0
_ASK_LIMIT_S = 20.0
_REMOVE_LIMIT_S, _REMOVE_AGAIN_S = 30.0, 1.0
_TOO_FEW = (
    "A server may go only while more than half of all, and of those that stay, are well: bring a lost one back, or "
    "remove that one first; where too few are left for that, `drover restore --alone` on one of them"
)
# More than can have been written since any backup: versions of the time after it never come back.
REVISION_BUMP = 1_000_000_000


@dataclass(frozen=True)
class Member:
    """One etcd, as the others know it. ``name`` is empty until it has started for the first time."""

    id: str
    name: str
    address: str
    learner: bool


@dataclass(frozen=True)
class Seen:
    """A cluster, as one etcd by itself knows it; perhaps not the newest."""

    cluster: str  # its id: another one after a restore
    members: list[Member]


class Etcd:
    """The tools with one server's certificate. ``enter`` are words before each command, to get where etcd listens."""

    def __init__(
        self,
        engine: Path,
        plane: Plane,
        addresses: Sequence[str] = (),
        enter: Sequence[str] = (),
    ) -> None:
        """``addresses``: whom to ask; else this machine's own."""
        self._engine = engine
        self._plane = plane
        self._enter = tuple(enter)
        urls = [f"https://{address}:{ETCD_PORT}" for address in addresses]
        self._endpoints = ",".join(urls or [plane.etcd_url])

    def members(self, limit_s: float = _ASK_LIMIT_S) -> list[Member]:
        """Without more than half of the servers there is no answer: raises ControlPlaneError after ``limit_s``."""
        words = ("member", "list", "--write-out=json")
        found = json.loads(self._ctl(*words, limit_s=limit_s))["members"]
        return [_member(one) for one in found]

    def seen(self, limit_s: float = _ASK_LIMIT_S) -> Seen:
        """By the one that is asked alone, also where too few are left to agree. Raises ControlPlaneError."""
        words = ("member", "list", "--consistency=s", "--write-out=json")
        found = json.loads(self._ctl(*words, limit_s=limit_s))
        members = [_member(one) for one in found["members"]]
        return Seen(format(int(found["header"]["cluster_id"]), "x"), members)

    def add(self, name: str, address: str) -> None:
        """As a learner."""
        self._ctl("member", "add", name, "--learner", f"--peer-urls={peer_url(address)}")

    def promote(self, member: Member) -> None:
        """Raises ControlPlaneError while it has not caught up."""
        self._ctl("member", "promote", member.id)

    def remove(self, member: Member) -> None:
        """Tried for a while: etcd refuses until it knows for 5 s that the others are well, and where the leader goes
        the answer may be lost. Raises ControlPlaneError."""
        end_s = time.monotonic() + _REMOVE_LIMIT_S
        while True:
            try:
                self._ctl("member", "remove", member.id)
                return
            except ControlPlaneError as error:
                if self._gone(member):
                    return
                if time.monotonic() > end_s:
                    raise ControlPlaneError(f"{error}. {_TOO_FEW}") from error
                time.sleep(_REMOVE_AGAIN_S)

    def _gone(self, member: Member) -> bool:
        try:
            return all(one.id != member.id for one in self.members())
        except ControlPlaneError:
            return False

    def full(self) -> bool:
        """Whether it takes no more writes, since its data has reached the most that it may be."""
        return "NOSPACE" in self._ctl("alarm", "list")

    def compact(self) -> None:
        """Let go of all old versions, give their room back, and take writes again. This member alone gives room back;
        it answers nothing meanwhile, some seconds for each GiB."""
        told = json.loads(self._ctl("endpoint", "status", "--write-out=json"))
        revision = int(told[0]["Status"]["header"]["revision"])
        with contextlib.suppress(ControlPlaneError):  # somebody else has compacted as far
            self._ctl("compaction", str(revision), "--physical")
        self._ctl("defrag", limit_s=_LIMIT_S)
        self._ctl("alarm", "disarm")

    def save(self, file: Path) -> dict[str, Any]:
        """A snapshot of all that is there now, from one member; what it holds."""
        self._ctl("snapshot", "save", str(file))
        return snapshot_status(self._engine, file)

    def _ctl(self, *words: str, limit_s: float = _ASK_LIMIT_S) -> str:
        pki = self._plane.pki
        secure = (
            f"--cacert={pki}/etcd-ca.crt",
            f"--cert={pki}/etcd-client.crt",
            f"--key={pki}/etcd-client.key",
        )
        where = (
            f"--endpoints={self._endpoints}",
            "--dial-timeout=3s",
            f"--command-timeout={limit_s:.0f}s",
        )
        return _said([*self._enter, str(self._engine), "etcdctl", *words, *where, *secure])


def snapshot_status(engine: Path, file: Path) -> dict[str, Any]:
    """Hash, revision, number of keys. Raises ControlPlaneError for what is no snapshot."""
    words = ("snapshot", "status", str(file), "--write-out=json")
    found: dict[str, Any] = json.loads(_said([str(engine), "etcdutl", *words]))
    return found


def restore(
    engine: Path, plane: Plane, file: Path, servers: Mapping[str, str], data: Path, token: str
) -> None:
    """Make ``data`` of a snapshot, as a member of a new cluster of these servers, addresses by name. ``token`` tells it
    from the cluster that was: a server that was not restored is no member."""
    cluster = ",".join(f"{name}={peer_url(address)}" for name, address in servers.items())
    words = (
        "snapshot",
        "restore",
        str(file),
        f"--data-dir={data}",
        f"--name={plane.name}",
        f"--initial-cluster={cluster}",
        f"--initial-cluster-token={token}",
        f"--initial-advertise-peer-urls={peer_url(servers[plane.name])}",
        f"--bump-revision={REVISION_BUMP}",
        "--mark-compacted",
    )
    _said([str(engine), "etcdutl", *words])


def _member(found: dict[str, Any]) -> Member:
    url = found["peerURLs"][0]
    return Member(
        id=format(int(found["ID"]), "x"),
        name=found.get("name", ""),
        address=url.removeprefix("https://").rpartition(":")[0],
        learner=bool(found.get("isLearner")),
    )


def _said(argv: list[str]) -> str:
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ControlPlaneError(f"etcd's tool did not end well: {error}") from error
    if done.returncode != 0:
        words = [line for line in done.stderr.strip().splitlines() if line]
        raise ControlPlaneError(f"etcd: {words[-1][-400:] if words else done.returncode}")
    return done.stdout
