"""Whole labs on a real control plane: up, down, broken in every way, beside each other. Nothing may be left behind."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import eventually
from tests.support.look import look

from drover.lab import faults, links, processes
from drover.lab.errors import LabDown, LabError
from drover.lab.home import Home
from drover.lab.lab import CONTROL_PLANE_PARTS, Lab, UpOptions
from drover.lab.topology import machine_link
from drover.server import parts
from drover.server.errors import ControlPlaneError
from drover.server.parts import find_engine

SOURCE = Path(processes.__file__).parents[2]


def _engine() -> Path | None:
    try:
        return find_engine(os.environ)
    except ControlPlaneError:
        return None


pytestmark = [
    pytest.mark.e2e,
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
    pytest.mark.skipif(_engine() is None, reason="there is no engine: run through ./test"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Where the homes of this module are."""
    return tmp_path_factory.mktemp("labs")


@pytest.fixture(scope="module")
def running(place) -> Iterator[Lab]:
    """One lab with two nodes for all tests that only break and mend parts."""
    lab = Lab(Home.at(place / "shared"))
    up(lab, 2)
    yield lab
    lab.down(silent)
    assert_nothing_left(lab)


def silent(_what: str, _state: str) -> None:
    pass


def up(lab: Lab, nodes: int | None = None) -> None:
    binary = _engine()
    assert binary is not None
    lab.up(UpOptions(binary, nodes), silent)


def drover(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "drover.cli.main", "--home", str(lab.home.path), *arguments]
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def ready_nodes(lab: Lab) -> set[str]:
    try:
        nodes = look(lab.home.kubeconfig, "nodes")["items"]
    except AssertionError:
        return set()  # the API does not answer
    return {
        node["metadata"]["name"]
        for node in nodes
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
    }


def states(lab: Lab) -> dict[str, str]:
    return {row.name: row.state for row in lab.status()}


def assert_nothing_left(lab: Lab) -> None:
    assert processes.find(lab.lab_id) == {}
    assert not links.exists(machine_link(lab.lab_id))
    assert str(lab.home.path) not in Path("/proc/self/mountinfo").read_text()
    lost = subprocess.run(
        ["lsns", "-n", "-o", "COMMAND"], capture_output=True, text=True, check=True
    )
    assert str(lab.home.path) not in lost.stdout


def test_up_gives_ready_nodes_and_a_kubectl(running):
    assert ready_nodes(running) == {"virtlab-pt-1", "virtlab-pt-2"}
    names = {*CONTROL_PLANE_PARTS, "virtlab-pt-1", "virtlab-pt-2"}
    eventually(lambda: states(running) == dict.fromkeys(names, "Running"))
    assert drover(running, "status").returncode == 0
    assert (running.home.path / "kubeconfig").stat().st_mode & 0o777 == 0o600


def test_up_again_changes_nothing(running):
    before = processes.inits(running.lab_id)
    up(running)
    assert processes.inits(running.lab_id) == before


def test_a_removed_cable_of_the_machine_is_plugged_again_by_up(running):
    before = processes.inits(running.lab_id)
    subprocess.run(["ip", "link", "delete", machine_link(running.lab_id)], check=True)
    up(running)
    assert processes.inits(running.lab_id) == before
    assert len(ready_nodes(running)) == 2


def test_nothing_listens_on_the_machine(running):
    shown = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True)
    own = running.settings().topology
    others = {line.split()[3].rpartition(":")[0] for line in shown.stdout.splitlines()}
    assert own.control_plane not in others
    listening = [
        line
        for line in shown.stdout.splitlines()
        if line.split()[3].endswith((":6443", ":2379", ":10250"))
    ]
    assert listening == []


def test_strangers_are_refused_but_health_is_open(running):
    own = running.settings().topology

    def code(path: str) -> str:
        url = f"{own.api_server}{path}"
        command = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", url]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    assert code("/readyz") == "200"
    assert code("/api/v1/nodes") == "401"
    assert code("/version") == "401"


def test_a_node_may_not_do_more_than_a_node(running):
    pki = running.home.node("virtlab-pt-1") / "pki"
    as_node = (f"--client-certificate={pki}/client.crt", f"--client-key={pki}/client.key")
    config = {
        **json.loads(running.home.kubeconfig.read_text()),
        "users": [{"name": "admin", "user": {}}],
    }
    bare = running.home.path / "bare.kubeconfig"
    bare.write_text(json.dumps(config))

    def allowed(verb: str, what: str) -> str:
        return drover(
            running, "k", f"--kubeconfig={bare}", *as_node, "auth", "can-i", verb, what
        ).stdout.strip()

    assert allowed("patch", "nodes/virtlab-pt-1") == "yes"
    assert allowed("create", "deployments.apps") == "no"
    assert allowed("delete", "namespaces") == "no"


@pytest.mark.parametrize("part", CONTROL_PLANE_PARTS)
def test_a_killed_part_of_the_control_plane_comes_back(running, part):
    # One that was killed before may have taken it along: without etcd, some end by themselves.
    before = eventually(lambda: processes.control_plane_parts(running.lab_id).get(part))
    faults.kill_control_plane_part(running, part)
    eventually(
        lambda: processes.control_plane_parts(running.lab_id).get(part) not in (None, before)
    )
    eventually(lambda: len(ready_nodes(running)) == 2)


def test_a_powered_off_node_is_off_and_comes_back(running):
    faults.power_off(running, "virtlab-pt-2")
    assert states(running)["virtlab-pt-2"] == "Off"
    assert "virtlab-pt-2" not in processes.find(running.lab_id)
    eventually(lambda: ready_nodes(running) == {"virtlab-pt-1"})
    assert faults.power_on(running, "virtlab-pt-2").startswith("virtlab-pt-2 is now on")
    eventually(lambda: len(ready_nodes(running)) == 2)


def test_an_isolated_node_goes_on_alone_and_rejoins(running):
    faults.isolate(running, "virtlab-pt-2")
    assert states(running)["virtlab-pt-2"] == "Isolated"
    assert processes.agents(running.lab_id, "virtlab-pt-2")
    eventually(lambda: ready_nodes(running) == {"virtlab-pt-1"})
    up(running)  # does not wait for what cannot be
    faults.rejoin(running, "virtlab-pt-2")
    eventually(lambda: len(ready_nodes(running)) == 2)


def test_a_frozen_agent_stops_renewing_and_thaws(running):
    faults.freeze(running, "virtlab-pt-2")
    assert states(running)["virtlab-pt-2"] == "Frozen"
    eventually(lambda: ready_nodes(running) == {"virtlab-pt-1"})
    faults.thaw(running, "virtlab-pt-2")
    eventually(lambda: len(ready_nodes(running)) == 2)


def test_a_killed_agent_is_started_again(running):
    (before,) = processes.agents(running.lab_id, "virtlab-pt-1")
    faults.kill_agent(running, "virtlab-pt-1")
    eventually(lambda: processes.agents(running.lab_id, "virtlab-pt-1") not in ([], [before]))


def test_up_with_newer_code_starts_agents_and_controllers_anew(running):
    def living() -> dict[str, object]:
        agents = {n: processes.agents(running.lab_id, n) for n in ready_nodes(running)}
        return {**processes.control_plane_parts(running.lab_id), **agents}

    before, inits = living(), processes.inits(running.lab_id)
    said = json.loads(running.home.code.read_text())
    running.home.code.write_text(json.dumps({**said, "digest": "of older code"}))
    up(running)
    after = living()
    renewed = {"controllers", "page", "virtlab-pt-1", "virtlab-pt-2"}
    assert {name for name, pids in after.items() if pids != before.get(name)} == renewed
    assert processes.inits(running.lab_id) == inits
    after.pop(
        "page"
    )  # nobody depends on it: one that comes up while its port or its door is taken is started again
    up(running)
    assert after.items() <= living().items()
    running.home.code.write_text(json.dumps({"source": "/elsewhere", "digest": "of older code"}))
    up(running)  # only says so
    assert after.items() <= living().items()
    running.home.code.write_text(json.dumps(said))


def test_faults_name_what_they_do_not_know(running):
    with pytest.raises(LabError, match="no node 'nope': there are virtlab-pt-1, virtlab-pt-2"):
        faults.power_off(running, "nope")
    with pytest.raises(LabError, match="no part of the control plane called nope"):
        faults.kill_control_plane_part(running, "nope")


def test_fewer_nodes_are_refused(running):
    with pytest.raises(
        LabError, match=r"this lab has 2 nodes, --nodes 1 would remove some: `drover reset`"
    ):
        up(running, 1)


def test_two_ups_at_once_do_not_mix(running):
    with running.home.locked("up"):
        done = drover(running, "up")
    assert done.returncode == 1
    assert "is at work on" in done.stderr


@pytest.fixture(scope="module")
def mortal(place, running) -> Iterator[Lab]:
    """A second lab, beside the first one, which must see nothing of what happens to it."""
    before = processes.inits(running.lab_id)
    lab = Lab(Home.at(place / "mortal"))
    yield lab
    lab.reset(silent)
    assert not lab.home.path.exists()
    assert_nothing_left(lab)
    assert processes.inits(running.lab_id) == before
    assert len(ready_nodes(running)) == 2


def test_an_up_killed_half_way_is_mended_by_the_next(mortal, running):
    _kill_up_half_way(mortal)
    up(mortal, 1)
    assert mortal.settings().index != running.settings().index
    assert ready_nodes(mortal) == {"virtlab-pt-1"}


@pytest.mark.parametrize("victims", ["everything", "the switch"])
def test_up_after_kill_9_finds_all_objects_again(mortal, victims):
    if not processes.find(mortal.lab_id):
        up(mortal, 1)
    assert drover(mortal, "k", "create", "configmap", victims.replace(" ", "-")).returncode == 0
    parts = list(processes.find(mortal.lab_id)) if victims == "everything" else [processes.SWITCH]
    processes.send(processes.members(mortal.lab_id, parts), signal.SIGKILL)
    up(mortal)
    assert ready_nodes(mortal) == {"virtlab-pt-1"}
    assert drover(mortal, "k", "get", "configmap", victims.replace(" ", "-")).returncode == 0


def test_down_leaves_nothing(mortal):
    if not processes.find(mortal.lab_id):
        up(mortal, 1)
    done = drover(mortal, "down")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "The lab is down.")
    assert_nothing_left(mortal)
    with pytest.raises(LabDown, match=r"is not running: start it with `drover up`"):
        mortal.require_running()
    assert drover(mortal, "k", "get", "nodes").returncode == 1


def _kill_up_half_way(lab: Lab) -> None:
    command = [
        sys.executable,
        "-m",
        "drover.cli.main",
        "--home",
        str(lab.home.path),
        "up",
        "--nodes",
        "1",
    ]
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as child:
        eventually(lambda: processes.CONTROL_PLANE in processes.inits(lab.lab_id))
        child.kill()


@pytest.mark.parametrize("options", ["ro", "size=2m"])
def test_a_home_that_takes_no_files_is_an_error_and_leaves_nothing(tmp_path, options):
    """In a mount namespace of its own, so that the mount ends with the command."""
    home = tmp_path / "m" / "h"
    home.parent.mkdir()
    lab = Lab(Home.at(home))
    command = f"{sys.executable} -m drover.cli.main --home {home} up"
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    script = f"mount -t tmpfs -o {options} tmpfs {home.parent} && exec {command}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert ("Read-only file system" if options == "ro" else "MiB free, a lab needs") in done.stderr
    assert "Traceback" not in done.stderr
    assert_nothing_left(lab)


def test_an_engine_that_does_not_start_is_an_error_with_its_last_words(tmp_path):
    binary = tmp_path / "kube"
    binary.write_text('#!/bin/sh\necho "no $1 today" >&2\nexit 1\n')
    binary.chmod(0o755)
    lab = Lab(Home.at(tmp_path / "h"))
    with pytest.raises(LabError, match=r"(etcd|apiserver) does not start: no \1 today"):
        lab.up(UpOptions(binary, 1), silent)
    assert_nothing_left(lab)


def test_controllers_that_do_not_start_are_an_error_with_their_last_words(place, monkeypatch):
    lab = Lab(Home.at(place / "without"))
    whole = parts.control_plane_parts

    def broken(*given: Any, **more: Any) -> list[parts.Part]:
        words = ("/bin/sh", "-c", 'echo "no controllers today" >&2; exit 1')
        return [
            dataclasses.replace(part, argv=words) if part.name == "controllers" else part
            for part in whole(*given, **more)
        ]

    monkeypatch.setattr(parts, "control_plane_parts", broken)
    try:
        with pytest.raises(LabError, match="controllers does not start: no controllers today"):
            up(lab, 1)
    finally:
        lab.reset(silent)
    assert_nothing_left(lab)


@pytest.fixture(autouse=True, scope="module")
def _own_register(place) -> Iterator[None]:
    """Indices are claimed in a register of this module; subnets in use on the machine are seen anyway."""
    before = os.environ.get("DROVER_CACHE")
    os.environ["DROVER_CACHE"] = str(place / "cache")
    yield
    if before is None:
        del os.environ["DROVER_CACHE"]
    else:
        os.environ["DROVER_CACHE"] = before
    shutil.rmtree(place, ignore_errors=True)
