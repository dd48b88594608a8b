"""Three servers and a host, each a machine of its own: they find together, one is lost, nothing else is touched."""

from __future__ import annotations

import json
import os
import re
import shutil
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
from drover.lab import links, processes
from drover.lab.processes import SWITCH, Program
from drover.lab.topology import Topology
from drover.server.parts import find_engine

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

TOPOLOGY = Topology(150)  # on a switch that nobody else is plugged into
SERVERS = ("server-1", "server-2", "server-3")
HOST = "host-1"
NUMBER = {**{name: at for at, name in enumerate(SERVERS, start=1)}, HOST: 9}
ANSWERS_AGAIN_S = 10.0


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

    def start_server(self, name: str) -> None:
        self.power_on(name, sys.executable, "-m", "drover.server.main")

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

    def server(self, name: str, command: str, *arguments: str) -> Said:
        etc = str(self.home(name) / "etc")
        return self.drover(name, "server", command, *arguments, "--directory", etc)

    def k(self, name: str, *arguments: str) -> Said:
        return self.drover(name, "k", *arguments)

    def get(self, name: str, *what: str) -> Any:
        said = self.k(name, "get", *what, "-o", "json")
        return json.loads(said.out) if said.code == 0 else None

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
        yield made
    finally:
        for part in (*NUMBER, SWITCH):
            processes.kill_part(made.lab_id, part)
        left = processes.find(made.lab_id)
        shutil.rmtree(directory, ignore_errors=True)
    assert left == {}


def test_one_of_three_servers_is_lost_and_no_vm_is_touched(site: Site) -> None:
    first_server(site)
    more_servers(site)
    host_joins(site)
    pid = a_vm_runs(site)
    a_server_is_lost(site, pid)
    it_comes_back(site, pid)


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
        enter=("nsenter", "-t", str(site.pids[SERVERS[1]]), "-n", "-m"),
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
    said = site.drover(
        HOST,
        *("agent", "join", found[1], "--token", found[2], "--ca-hash", found[3], "--name", HOST),
        *("--disks-dir", str(site.directory / "shared" / "disks")),
        *("--state-dir", str(home / "state"), "--directory", str(home / "etc")),
    )
    assert said.code == 0, said.err
    waits = ("wait", f"node/{HOST}", "--for=condition=Ready", "--timeout=5s")
    try:
        eventually(lambda: site.k(SERVERS[0], *waits).code == 0, 60)
    except AssertionError as error:
        raise AssertionError((home / "log").read_text()[-3000:]) from error


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
    processes.kill_part(site.lab_id, SERVERS[0])

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
    backup = site.directory / "backup.tar"
    etc = ("--directory", str(site.home(SERVERS[0]) / "etc"))
    said = site.drover(SERVERS[0], "backup", str(backup), *etc)
    assert said.code == 0, said.err
    said = site.drover(SERVERS[0], "restore", str(backup), *etc)
    assert (said.code, "stop it on every server first" in said.err) == (1, True), said.err
    assert site.qemus() == [pid]
