"""Three servers and a host, each a machine of its own: they find together, one is lost, nothing else is touched."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.vms import manifest
from tests.support.lab import CHECKOUT, Said, command, eventually, require_engine

from drover.base.clock import parse_rfc3339
from drover.cli.session import builtin_image
from drover.lab import cgroups, links, processes
from drover.lab.processes import SWITCH, Program
from drover.lab.topology import Topology
from drover.server.parts import find_engine

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

TOPOLOGY = Topology(150)  # on a switch that nobody else is plugged into
SERVERS = ("server-1", "server-2", "server-3")
HOST = "host-1"
NUMBER = {**{name: at for at, name in enumerate(SERVERS, start=1)}, HOST: 9}
ANSWERS_AGAIN_S = 10.0
ROOM = "800m"  # of a server whose disk is to become full


@dataclass
class Site:
    """Machines of one switch. Nothing is shared but the directory of disks."""

    directory: Path
    lab_id: str
    pids: dict[str, int] = field(default_factory=dict)

    def address(self, name: str) -> str:
        return TOPOLOGY.node_address(NUMBER[name])

    def home(self, name: str) -> Path:
        return self.directory / name

    def power_on(self, name: str, *argv: str) -> None:
        """What the machine's first process runs, once its configuration is there."""
        file = self.home(name) / "etc" / ("agent.toml" if name == HOST else "server.toml")
        waiting = ["/bin/sh", "-c", 'until [ -e "$0" ]; do sleep 0.1; done; exec "$@"', str(file)]
        program = Program(
            name,
            (*waiting, *argv, "--config", str(file)),
            self.home(name) / "log",
            hostname=name,
            tmpfs=("/run",),
            directories=(processes.NODE_RUN,),
            env={"PYTHONPATH": str(CHECKOUT / "src")},
        )
        switch = processes.inits(self.lab_id)[SWITCH]
        with processes.launch(self.lab_id, program) as pid:
            links.plug_node(switch, pid, name, NUMBER[name], TOPOLOGY)
        self.pids[name] = pid

    def start_server(self, name: str, room: str = "") -> None:
        """With ``room``, say 400m, its state lies on a file system of that size, and is gone with the machine."""
        small = 'mount -t tmpfs -o size=$0 none /mnt && cp -a "$1/." /mnt && mount --bind /mnt "$1" && shift'
        state = str(self.home(name) / "state")
        before = ("/bin/sh", "-c", f'{small} && exec "$@"', room, state) if room else ()
        self.power_on(name, *before, sys.executable, "-m", "drover.server.main")

    def power_off(self, name: str) -> None:
        processes.kill_part(self.lab_id, name)
        links.unplug_node(processes.inits(self.lab_id)[SWITCH], name)

    def inside(self, name: str) -> tuple[str, ...]:
        """Words before a command that is to see that machine's file systems, too."""
        return ("nsenter", "-t", str(self.pids[name]), "-n", "-m")

    def drover(self, name: str, *arguments: str, enter: tuple[str, ...] = ()) -> Said:
        """On that machine, as its administrator."""
        home = self.home(name)
        enter = enter or ("nsenter", "-t", str(self.pids[name]), "-n")
        argv = [*enter, sys.executable, "-m", "drover.cli.main"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(CHECKOUT / "src"),
            "DROVER_HOME": str(home / "state"),
            "DROVER_PROGRAM": "drover",
            "NO_COLOR": "1",
        }
        return command([*argv, *arguments], environment, limit_s=120)

    def server(self, name: str, command: str, *arguments: str, enter: tuple[str, ...] = ()) -> Said:
        etc = str(self.home(name) / "etc")
        return self.drover(name, "server", command, *arguments, "--directory", etc, enter=enter)

    def back_up(self, name: str) -> Said:
        etc = str(self.home(name) / "etc")
        return self.drover(name, "backup", str(self.directory / "backup.tar"), "--directory", etc)

    def restore(self, name: str, *options: str) -> Said:
        """It needs no network, and has none: the machine may be off."""
        words = (str(self.directory / "backup.tar"), *options)
        etc = str(self.home(name) / "etc")
        return self.drover(name, "restore", *words, "--directory", etc, enter=("unshare", "--net"))

    def k(self, name: str, *arguments: str) -> Said:
        return self.drover(name, "k", *arguments)

    def get(self, name: str, *what: str) -> Any:
        said = self.k(name, "get", *what, "-o", "json")
        return json.loads(said.out) if said.code == 0 else None

    def etcd_logs(self) -> str:
        logs = [self.home(name) / "state" / "log" / "etcd.log" for name in SERVERS]
        return "\n".join(f"{log}:\n{log.read_text()[-3000:]}" for log in logs if log.exists())

    def qemus(self) -> list[int]:
        return [one.pid for one in processes.machines(self.lab_id)]


@pytest.fixture
def site() -> Iterator[Site]:
    require_engine("a namespace")
    directory = Path(tempfile.mkdtemp(prefix="drover-servers-"))
    made = Site(directory, f"s{os.getpid():x}")
    for name in NUMBER:
        (made.home(name) / "state").mkdir(parents=True)
    (directory / "shared" / "disks").mkdir(parents=True)
    sleep = shutil.which("sleep") or "/bin/sleep"
    switch = Program(
        SWITCH, ("drover-switch", "infinity"), directory / "switch.log", ("net",), program=sleep
    )
    try:
        with processes.launch(made.lab_id, switch) as pid:
            links.make_switch(pid)
        eventually(lambda: SWITCH in processes.inits(made.lab_id), 10, 0.02)
        yield made
    finally:
        for part in (*NUMBER, SWITCH):
            processes.kill_part(made.lab_id, part)
        left, groups = processes.find(made.lab_id), cgroups.remove(f"drover-{HOST}")
        shutil.rmtree(directory, ignore_errors=True)
    assert (left, groups) == ({}, [])


def test_one_of_three_servers_is_lost_and_no_vm_is_touched(site: Site) -> None:
    first_server(site)
    more_servers(site)
    host_joins(site)
    pid = a_vm_runs(site)
    a_server_is_lost(site, pid)
    it_comes_back(site, pid)
    the_last_one_is_restored_alone(site, pid)
    those_of_before_stay_down(site)
    one_joins_anew_and_is_removed(site)
    its_disk_is_full(site, pid)


def first_server(site: Site) -> None:
    site.start_server(SERVERS[0])
    words = (
        *("--address", site.address(SERVERS[0]), "--name", SERVERS[0]),
        *("--disks-dir", str(site.directory / "shared" / "disks")),
        *("--vm-cidr", TOPOLOGY.vm_cidr, "--state-dir", str(site.home(SERVERS[0]) / "state")),
    )
    began = time.monotonic()
    said = site.server(SERVERS[0], "init", *words)
    assert said.code == 0, said.err
    again = site.server(SERVERS[0], "init", *words)
    assert (again.code, "is server server-1 already" in again.err) == (1, True), again.err
    serves(site, SERVERS[0])
    print(f"from `server init` to an API with all kinds: {time.monotonic() - began:.1f} s")


def a_full_disk_is_named(site: Site) -> None:
    """The machine's /run is a small file system of its own."""
    shared = str(site.directory / "shared" / "disks")
    words = ("--address", site.address(SERVERS[1]), "--disks-dir", shared, "--vm-cidr")
    said = site.drover(
        SERVERS[1],
        *("server", "init", *words, TOPOLOGY.vm_cidr, "--state-dir", "/run/state"),
        *("--directory", str(site.home(SERVERS[1]) / "etc")),
        enter=site.inside(SERVERS[1]),
    )
    assert (said.code, "MiB free, etcd needs 512 MiB" in said.err) == (1, True), said.err


def serves(site: Site, name: str) -> None:
    """Its parts run, and it has told hosts of itself."""
    log = site.home(name) / "state" / "log" / "prepare.log"

    def told() -> bool:
        found = site.get(name, "configmap", "drover-servers", "-n", "drover-system")
        return found is not None and name in (found.get("data") or {})

    try:
        eventually(told, 240, 0.5)
    except AssertionError as error:
        words = [site.home(name) / "log", log, *log.parent.glob("etcd.log")]
        said = "\n".join(file.read_text()[-1500:] for file in words if file.exists())
        raise AssertionError(f"{name} does not serve:\n{said}") from error


def more_servers(site: Site) -> None:
    invitation = site.directory / "invitation"
    said = site.server(SERVERS[0], "invite", str(invitation))
    assert said.code == 0, said.err
    assert invitation.stat().st_mode & 0o077 == 0
    half = site.directory / "half"
    half.write_bytes(invitation.read_bytes()[:2000])
    for name in SERVERS[1:]:
        site.start_server(name)
    a_full_disk_is_named(site)
    words = ("--address", site.address(SERVERS[1]), "--state-dir")
    said = site.server(SERVERS[1], "join", str(half), *words, "/nowhere")
    assert (said.code, "no whole invitation" in said.err) == (1, True), said.err
    taken = ("--name", SERVERS[0], *words, str(site.directory / "taken"))
    said = site.server(SERVERS[1], "join", str(invitation), *taken)
    assert (said.code, "there is a server server-1" in said.err) == (1, True), said.err
    for name in SERVERS[1:]:
        at = ("--address", site.address(name), "--state-dir", str(site.home(name) / "state"))
        said = site.server(name, "join", str(invitation), "--name", name, *at)
        assert said.code == 0, said.err
    for name in SERVERS[1:]:
        serves(site, name)
    said = site.server(SERVERS[2], "status")
    assert (said.code, said.out.count(" member ")) == (0, 3), said.out + said.err


def host_joins(site: Site) -> None:
    site.power_on(HOST, *nodeinit(), sys.executable, "-m", "drover.agent.main")
    said = site.drover(SERVERS[0], "token", "create", "--ttl", "10m")
    assert said.code == 0, said.err
    found = re.search(r"join (\S+) \\\s+--token (\S+) --ca-hash (\S+)", said.out)
    assert found, said.out
    home = site.home(HOST)
    began = time.monotonic()
    said = site.drover(
        HOST,
        *("agent", "join", found[1], "--token", found[2], "--ca-hash", found[3], "--name", HOST),
        *("--disks-dir", str(site.directory / "shared" / "disks")),
        *("--state-dir", str(home / "state"), "--directory", str(home / "etc")),
    )
    assert said.code == 0, said.err
    joined_s = time.monotonic() - began
    waits = ("wait", f"node/{HOST}", "--for=condition=Ready", "--timeout=5s")
    try:
        eventually(lambda: site.k(SERVERS[0], *waits).code == 0, 60)
    except AssertionError as error:
        raise AssertionError((home / "log").read_text()[-3000:]) from error
    print(
        f"the host joined in {joined_s:.1f} s, its node is Ready after {time.monotonic() - began:.1f} s"
    )


def nodeinit() -> tuple[str, ...]:
    return (sys.executable, "-m", "drover.agent.nodeinit", f"{processes.NODE_RUN}/nodeinit.sock")


def a_vm_runs(site: Site) -> int:
    """The pid of its QEMU."""
    image = builtin_image()
    assert image is not None
    own = site.directory / "shared" / "linux.qcow2"
    shutil.copy(image, own)
    source = {"dataSource": {"type": "HTTP", "http": {"url": own.as_uri()}}}
    cvi = {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "ClusterVirtualImage",
        "metadata": {"name": "drover-linux"},
        "spec": source,
    }
    file = site.directory / "vm.yaml"
    file.write_text(json.dumps(cvi) + "\n---\n" + manifest("guest"))
    said = site.k(SERVERS[1], "apply", "-f", str(file))
    assert said.code == 0, said.err
    running = ("--for=jsonpath={.status.phase}=Running", "--timeout=90s")
    said = site.k(SERVERS[1], "wait", "vm/guest", *running)
    assert said.code == 0, said.err + site.k(SERVERS[1], "get", "vm,pod,cvi,vd", "-A").out
    (pid,) = site.qemus()
    return pid


def a_server_is_lost(site: Site, pid: int) -> None:
    """The one that the host joined with, and that began the cluster."""
    lease = site.get(SERVERS[1], "vml", "guest")["spec"]
    began, at_s = time.monotonic(), time.time()
    site.power_off(SERVERS[0])

    engine, own = str(find_engine(os.environ)), site.home(SERVERS[1]) / "state" / "kubeconfig"
    kubectl = ("nsenter", "-t", str(site.pids[SERVERS[1]]), "-n", engine, "kubectl")

    def writes() -> bool:
        key = f"w{time.monotonic_ns()}"
        words = (f"--kubeconfig={own}", "create", "configmap", key, "--request-timeout=2s")
        return subprocess.run([*kubectl, *words], capture_output=True, check=False).returncode == 0

    eventually(writes, 30, 0.1)
    api_s = time.monotonic() - began
    host_s = eventually(lambda: max(0.0, renewed_s(site) - at_s), 30, 0.2)
    load = Path("/proc/loadavg").read_text().split()[0]
    print(f"API takes writes after {api_s:.1f} s, host renews after {host_s:.1f} s, load {load}")
    assert api_s <= ANSWERS_AGAIN_S
    assert site.qemus() == [pid]
    assert site.get(SERVERS[1], "vml", "guest")["spec"] == lease
    assert site.get(SERVERS[1], "vm", "guest")["status"]["phase"] == "Running"
    said = site.server(SERVERS[1], "status")
    assert (said.code, "silent" in said.out) == (1, True), said.out


def renewed_s(site: Site) -> float:
    """When the host last renewed its Lease, by the clock of this machine."""
    found = site.get(SERVERS[1], "lease", HOST, "-n", "kube-node-lease")
    return parse_rfc3339(found["spec"]["renewTime"]) if found else 0.0


def it_comes_back(site: Site, pid: int) -> None:
    site.start_server(SERVERS[0])
    eventually(lambda: site.server(SERVERS[0], "status").code == 0, 60, 0.5)
    said = site.back_up(SERVERS[0])
    assert said.code == 0, said.err
    said = site.restore(SERVERS[0])
    assert (said.code, "stop it on every server first" in said.err) == (1, True), said.err
    assert site.qemus() == [pid]


def the_last_one_is_restored_alone(site: Site, pid: int) -> None:
    """Two of three are lost: the third takes no writes, but gives a backup, and goes on with it alone."""
    for name in SERVERS[1:]:
        site.power_off(name)
    said = site.server(SERVERS[0], "status")
    assert (said.code, "on more than half of the servers" in said.err) == (1, True), said
    began = time.monotonic()
    said = site.back_up(SERVERS[0])
    assert said.code == 0, said.err
    site.power_off(SERVERS[0])
    said = site.restore(SERVERS[0], "--alone", "--node", HOST)
    assert said.code == 0, said.err
    site.start_server(SERVERS[0], room=ROOM)
    note = ("configmap", "drover-restore", "-n", "drover-system")

    def settled() -> bool:
        found = site.get(SERVERS[0], *note)
        return found is not None and found["data"]["state"] == "Done"

    eventually(settled, 120, 0.5)
    print(
        f"from a backup without quorum to controllers that decide: {time.monotonic() - began:.1f} s"
    )
    said = site.server(SERVERS[0], "status")
    assert (said.code, said.out.count(" member ")) == (0, 1), said
    assert site.qemus() == [pid]
    told = ("configmap", "drover-servers", "-n", "drover-system")
    eventually(lambda: {*site.get(SERVERS[0], *told)["data"]} == {SERVERS[0]}, 20)


def those_of_before_stay_down(site: Site) -> None:
    """The two come back with what they knew, and are more than half by that: their API does not begin."""
    for name in SERVERS[1:]:
        site.start_server(name)
    words = f"{SERVERS[0]} at {site.address(SERVERS[0])} was restored without this server"

    def says_so(name: str) -> bool:
        said = site.server(name, "status")
        return said.code == 1 and words in said.err

    for name in SERVERS[1:]:
        eventually(lambda name=name: says_so(name), 120, 1.0)
        assert site.k(name, "get", "nodes").code == 1
    for name in SERVERS[1:]:
        site.power_off(name)


def one_joins_anew_and_is_removed(site: Site) -> None:
    """While it runs."""
    first, name, invitation = SERVERS[0], SERVERS[2], site.directory / "again"
    for left in ("etc", "state"):
        shutil.rmtree(site.home(name) / left)
    (site.home(name) / "state").mkdir()
    site.start_server(name)
    said = site.server(first, "invite", str(invitation))
    assert said.code == 0, said.err
    at = ("--address", site.address(name), "--state-dir", str(site.home(name) / "state"))
    said = site.server(name, "join", str(invitation), "--name", name, *at)
    assert said.code == 0, said.err
    serves(site, name)
    said = site.server(first, "remove", "server-7")
    assert (said.code, "there is no server server-7" in said.err) == (1, True), said.err
    for own in (first, site.address(first)):
        said = site.server(first, "remove", own)
        assert (said.code, "say it on another server" in said.err) == (1, True), said.err
    said = site.server(first, "remove", name)
    assert said.code == 0, said.err + site.etcd_logs()
    said = site.server(first, "status")
    assert (said.code, said.out.count(" member "), name in said.out) == (0, 1, False), said
    told = site.get(first, "configmap", "drover-servers", "-n", "drover-system")["data"]
    assert {*told} == {first}
    site.power_off(name)


def its_disk_is_full(site: Site, pid: int) -> None:
    """No guest ends, what was acknowledged is kept, and with room it goes on by itself."""
    name, writer = SERVERS[0], Writer(site, SERVERS[0])
    state = Path(f"/proc/{site.pids[name]}/root{site.home(name)}/state")
    filler = state / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(2**20)):
            pass
    words = eventually(writer.refused, 60, 0)
    said = site.server(name, "check", enter=site.inside(name))
    print(f"full after {len(writer.kept)} objects: {words!r}")
    assert (said.code, "make room there" in said.out) == (1, True), said
    assert site.qemus() == [pid]
    filler.unlink()
    began = time.monotonic()
    eventually(lambda: not writer.refused(), 60, 0.2)
    print(f"takes writes {time.monotonic() - began:.1f} s after there is room")
    writer.all_kept()
    etcd_reaches_its_limit(site, writer, state)
    assert site.qemus() == [pid]
    assert site.get(name, "vm", "guest")["status"]["phase"] == "Running"
    said = site.k(name, "delete", "vm", "guest", "--timeout=60s")
    assert said.code == 0, said.err
    assert site.qemus() == []


def etcd_reaches_its_limit(site: Site, writer: Writer, state: Path) -> None:
    """It takes no writes until it is told to let go of old versions."""
    name, file = SERVERS[0], state / "run" / "etcd.yaml"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), "quota-backend-bytes": 2**20}))
    writer.restart_etcd()
    eventually(lambda: "database space exceeded" in writer.refused(), 30, 0.2)
    said = site.server(name, "status")
    assert (said.code, "`drover server compact`" in said.out) == (1, True), said
    file.write_text(before)
    writer.restart_etcd()
    eventually(lambda: site.server(name, "compact").code == 0, 30, 0.5)
    eventually(lambda: not writer.refused(), 30, 0.2)
    writer.all_kept()
    assert site.server(name, "status").code == 0


class Writer:
    """Somebody who makes objects of nearly a megabyte."""

    def __init__(self, site: Site, server: str) -> None:
        self._site, self._server = site, server
        self._stuff = site.directory / "stuff"
        self._stuff.write_bytes(b"x" * 900_000)
        self._number = 0
        self.kept: list[str] = []  # that were acknowledged

    def refused(self) -> str:
        """Why the next one is; empty: it was taken."""
        self._number += 1
        made = f"big-{self._number}"
        words = ("create", "configmap", made, f"--from-file={self._stuff}", "--request-timeout=5s")
        said = self._site.k(self._server, *words)
        if said.code == 0:
            self.kept.append(made)
        return said.err if said.code else ""

    def all_kept(self) -> None:
        found = self._site.get(self._server, "configmaps")["items"]
        there = {one["metadata"]["name"] for one in found}
        assert {*self.kept} <= there

    def restart_etcd(self) -> None:
        for pid in processes.find(self._site.lab_id)[self._server]:
            if b"\0etcd\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
