"""Hosts that join a cluster by their agent: machines of their own, told nothing but what an operator types."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.lab import CHECKOUT, RunningLab, Said, command, eventually

from drover.lab import cgroups, links, processes
from drover.lab.processes import SWITCH, Program


@dataclass(frozen=True)
class Host:
    """``lab`` is the cluster it may join; nothing of its files is told to it but the directory of disks."""

    lab: RunningLab
    name: str
    pid: int
    directory: Path

    def join(self, server: str, token: str, ca_hash: str) -> Said:
        """``drover agent join``, on this host."""
        words = ("--token", token, "--ca-hash", ca_hash, "--name", self.name)
        places = ("--disks-dir", str(self.lab.home.disks), "--state-dir", f"{self.directory}/state")
        join = ("agent", "join", server, *words, *places, "--directory", f"{self.directory}/etc")
        argv = ["nsenter", "-t", str(self.pid), "-n", *self.lab.argv(*join)]
        environment = {**self.lab.environment, "DROVER_HOME": "/nowhere"}
        return command(argv, environment, limit_s=120)


@contextlib.contextmanager
def a_host(lab: RunningLab, name: str, number: int, directory: Path) -> Iterator[Host]:
    """Its first process waits for the configuration, as its service would be started after the join."""
    home = lab.home
    (directory / "state").mkdir(parents=True)
    file = directory / "etc" / "agent.toml"
    waiting = ["/bin/sh", "-c", 'until [ -e "$0" ]; do sleep 0.1; done; exec "$@"', str(file)]
    agent = [sys.executable, "-m", "drover.agent.main", "--config", str(file)]
    first = [sys.executable, "-m", "drover.agent.nodeinit", f"{processes.NODE_RUN}/nodeinit.sock"]
    program = Program(
        name,
        (*first, *waiting, *agent),
        directory / "host.log",
        hostname=name,
        tmpfs=("/run",),
        directories=(processes.NODE_RUN,),
        env={"PYTHONPATH": str(CHECKOUT / "src")},
    )
    switch = processes.inits(home.lab_id)[SWITCH]
    with processes.launch(home.lab_id, program) as pid:
        links.plug_node(switch, pid, name, number, lab.lab.settings().topology)
    try:
        yield Host(lab, name, pid, directory)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{pid}").exists(), 10)
        assert cgroups.remove(f"drover-{name}") == []
        lab.k("delete", "node", name, "--ignore-not-found")
        lab.k("delete", "lease", name, "-n", "kube-node-lease", "--ignore-not-found")


def token_of(lab: RunningLab, *options: str) -> tuple[str, str, str]:
    """Server, token and hash, from the words that an operator copies."""
    said = lab.drover(*options, "token", "create", "--ttl", "10m", "--description", "a test")
    assert said.code == 0, said.err
    found = re.search(r"join (\S+) \\\s+--token (\S+) --ca-hash (\S+)", said.out)
    assert found, said.out
    return found.group(1), found.group(2), found.group(3)


def wait_ready(lab: RunningLab, node: str) -> None:
    eventually(lambda: lab.get("node", node), 60)  # kubectl waits for nothing that is not there yet
    said = lab.k("wait", f"node/{node}", "--for=condition=Ready", "--timeout=60s")
    assert said.code == 0, said.err
