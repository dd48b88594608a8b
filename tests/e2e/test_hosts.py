"""A host that joins the session's lab by token alone: certificates, node, a guest that moves onto it and back."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.vms import make, operate
from tests.support.lab import CHECKOUT, RunningLab, Said, eventually

from drover.lab import links, processes
from drover.lab.processes import SWITCH, Program

pytestmark = pytest.mark.e2e

HOST, NUMBER = "host-9", 9
JOIN_S = 10.0  # of the join itself, on an idle machine


@dataclass(frozen=True)
class Host:
    """A machine of its own: nothing of the lab's files is told to it."""

    lab: RunningLab
    pid: int
    directory: Path

    def join(self, server: str, token: str, ca_hash: str) -> Said:
        words = ("--token", token, "--ca-hash", ca_hash, "--name", HOST)
        places = ("--disks-dir", str(self.lab.home.disks), "--state-dir", f"{self.directory}/state")
        command = ("agent", "join", server, *words, *places, "--directory", f"{self.directory}/etc")
        argv = ["nsenter", "-t", str(self.pid), "-n", *self.lab.argv(*command)]
        environment = {**self.lab.environment, "DROVER_HOME": "/nowhere"}
        done = subprocess.run(
            argv,
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def host(lab: RunningLab, tmp_path: Path) -> Iterator[Host]:
    """Its first process waits for the configuration, as its service would be started after the join."""
    home = lab.home
    (tmp_path / "state").mkdir()
    file = tmp_path / "etc" / "agent.toml"
    waiting = ["/bin/sh", "-c", 'until [ -e "$0" ]; do sleep 0.1; done; exec "$@"', str(file)]
    agent = [sys.executable, "-m", "drover.agent.main", "--config", str(file)]
    first = [sys.executable, "-m", "drover.agent.nodeinit", f"{processes.NODE_RUN}/nodeinit.sock"]
    program = Program(
        HOST,
        (*first, *waiting, *agent),
        tmp_path / "host.log",
        hostname=HOST,
        tmpfs=("/run",),
        directories=(processes.NODE_RUN,),
        env={"PYTHONPATH": str(CHECKOUT / "src")},
    )
    switch = processes.inits(home.lab_id)[SWITCH]
    with processes.launch(home.lab_id, program) as pid:
        links.plug_node(switch, pid, HOST, NUMBER, lab.lab.settings().topology)
    try:
        yield Host(lab, pid, tmp_path)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{pid}").exists(), 10)
        lab.k("delete", "node", HOST, "--ignore-not-found")
        lab.k("delete", "lease", HOST, "-n", "kube-node-lease", "--ignore-not-found")


def token_of(lab: RunningLab) -> tuple[str, str, str]:
    """Server, token and hash, from the words that an operator copies."""
    said = lab.drover("token", "create", "--ttl", "10m", "--description", "a test")
    assert said.code == 0, said.err
    found = re.search(r"join (\S+) \\\s+--token (\S+) --ca-hash (\S+)", said.out)
    assert found, said.out
    return found.group(1), found.group(2), found.group(3)


def test_a_host_joins_by_token_and_takes_a_guest(lab: RunningLab, host: Host) -> None:
    server, token, ca_hash = token_of(lab)
    wrong = host.join(server, token, "sha256:" + "0" * 64)
    assert (wrong.code, "somebody stands between" in wrong.err) == (1, True), wrong.err
    began = time.monotonic()
    said = host.join(server, token, ca_hash)
    assert said.code == 0, said.out + said.err
    print(f"joined after {time.monotonic() - began:.1f} s")
    assert token.partition(".")[2] not in lab.drover("token", "list").out
    assert HOST in lab.drover("token", "list").out
    again = host.join(server, token, ca_hash)
    assert (again.code, f"has joined as {HOST}" in again.err) == (1, True), again.err
    lab_wait(lab)
    vm = make(lab, "joins")
    try:
        home = vm.wait_booted()["nodeName"]
        boot = vm.boot_id()
        for node in (HOST, home):
            selector = {"nodeSelector": {"kubernetes.io/hostname": node}}
            status = operate(lab, f"joins-{node}", vm.name, "Migrate", migrate=selector)
            assert status["phase"] == "Completed", status
            assert vm.wait("Running")["nodeName"] == node
        assert vm.boot_id() == boot
        vm.assert_runs_once()
    finally:
        vm.delete(wait=True)


def lab_wait(lab: RunningLab) -> None:
    said = lab.k("wait", f"node/{HOST}", "--for=condition=Ready", "--timeout=60s")
    assert said.code == 0, said.err + (lab.home.path / "log").as_posix()
