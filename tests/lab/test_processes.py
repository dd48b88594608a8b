"""Launching in namespaces, the supervisor as PID 1, ending it all. Real processes, no engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drover.lab import links, processes
from drover.lab.errors import LabError
from drover.lab.processes import Program
from drover.lab.topology import Topology
from drover.server import supervisor
from drover.server.parts import Part

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
SOURCE = str(Path(supervisor.__file__).parents[2])


@pytest.fixture
def lab() -> Iterator[str]:
    name = f"p{os.getpid()}"
    yield name
    for part in list(processes.find(name)):
        processes.kill_part(name, part)


def eventually(check: Callable[[], object], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not check():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def sleeper(part: str, tmp_path: Path) -> Program:
    return Program(
        part, ("drover-test", "infinity"), tmp_path / "log", program="/bin/sleep", hostname="inside"
    )


def start(lab: str, program: Program) -> int:
    with processes.launch(lab, program) as pid:
        pass
    return pid


def supervise(lab: str, tmp_path: Path, *parts: Part) -> int:
    (tmp_path / "log").mkdir()
    file = tmp_path / "parts.json"
    file.write_text(supervisor.encode(list(parts), tmp_path / "log"))
    argv = (sys.executable, "-m", "drover.server.supervisor", str(file))
    env = {"PYTHONPATH": SOURCE}
    return start(
        lab, Program("sup", argv, tmp_path / "log" / "sup.log", env=env, machine_netns=True)
    )


def shell(name: str, script: str, **more: object) -> Part:
    return Part(name, ("/bin/sh", "-c", script), **more)  # type: ignore[arg-type]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_process_runs_in_namespaces_of_its_own(lab, tmp_path):
    pid = start(lab, sleeper("one", tmp_path))
    eventually(lambda: processes.inits(lab) == {"one": pid})
    for kind in ("net", "pid", "mnt", "uts"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    assert processes.kill_part(lab, "one")
    assert processes.find(lab) == {}
    assert not processes.kill_part(lab, "one")


def test_nothing_is_left_when_the_starter_dies_before_go(lab, tmp_path):
    script = f"""
import os, sys
from pathlib import Path
from drover.lab import processes
program = processes.Program("one", ("drover-test", "infinity"), Path({str(tmp_path / "log")!r}), program="/bin/sleep")
with processes.launch({lab!r}, program) as pid:
    print(pid, flush=True)
    os.kill(os.getpid(), 9)
"""
    env = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    assert processes.wait_gone([int(done.stdout)]) == []


def test_nothing_is_left_when_cabling_fails(lab, tmp_path):
    pids = []

    def begin() -> None:
        with processes.launch(lab, sleeper("one", tmp_path)) as pid:
            pids.append(pid)
            links.run_ip(pid, "link set nonsense up")

    with pytest.raises(LabError, match="link cannot be made"):
        begin()
    assert processes.wait_gone(pids) == []


def test_namespaces_that_cannot_be_furnished_are_an_error_with_its_cause(lab, tmp_path):
    program = Program(
        "one",
        ("drover-test", "infinity"),
        tmp_path / "log",
        program="/bin/sleep",
        tmpfs=("/no/place",),
    )
    with pytest.raises(LabError, match=r"one cannot start: .*mount /no/place: No such file"):
        start(lab, program)
    assert processes.find(lab) == {}


def test_a_program_that_cannot_be_started_says_so_in_its_log(lab, tmp_path):
    pid = start(lab, Program("one", ("/no/such/program",), tmp_path / "log"))
    processes.wait_gone([pid])
    assert "cannot start /no/such/program" in (tmp_path / "log").read_text()


def test_a_cable_is_plugged_again_while_the_old_network_lingers(lab, tmp_path):
    switch = start(lab, sleeper("switch", tmp_path))
    links.make_switch(switch)
    links.unplug_node(switch, "one")  # there is none yet
    old, new = (start(lab, sleeper(name, tmp_path)) for name in ("old", "new"))
    links.plug_node(switch, old, "one", 1, Topology(151))
    with pytest.raises(LabError, match="File exists"):
        links.plug_node(switch, new, "one", 1, Topology(151))
    links.unplug_node(switch, "one")
    links.plug_node(switch, new, "one", 1, Topology(151))
    assert links.node_cable_up(switch, "one")


def test_mounts_of_a_node_are_not_seen_outside(lab, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    program = Program(
        "one",
        ("drover-test", "infinity"),
        tmp_path / "log",
        program="/bin/sleep",
        tmpfs=(str(place),),
        directories=(f"{place}/inner",),
    )
    start(lab, program)
    eventually(lambda: "one" in processes.inits(lab))
    pid = processes.inits(lab)["one"]
    eventually(lambda: Path(f"/proc/{pid}/root{place}/inner").exists())
    assert list(place.iterdir()) == []
    assert str(place) not in Path("/proc/self/mountinfo").read_text()


def test_a_stranger_with_another_mark_is_not_ours(lab, tmp_path):
    start(lab, sleeper("one", tmp_path))
    eventually(lambda: "one" in processes.inits(lab))
    assert processes.find(lab[:-1]) == {}
    assert processes.find("other") == {}


def test_a_crashed_part_is_started_again_and_the_others_are_left_alone(lab, tmp_path):
    supervise(
        lab, tmp_path, shell("bad", "echo up; exit 3"), shell("good", "echo up; exec sleep 1000")
    )
    log = tmp_path / "log"
    eventually(lambda: len(lines(log / "bad.log")) >= 3 and lines(log / "good.log"))
    assert lines(log / "good.log") == ["up"]
    assert any("bad ended with code 3" in line for line in lines(log / "sup.log"))


def test_a_part_waits_for_its_file(lab, tmp_path):
    go = tmp_path / "go"
    supervise(
        lab,
        tmp_path,
        shell("early", "exec sleep 1000"),
        shell("late", "echo up; exec sleep 1000", after=str(go)),
    )
    log = tmp_path / "log"
    eventually(lambda: (log / "early.log").exists())
    time.sleep(0.4)
    assert not (log / "late.log").exists()
    go.touch()
    eventually(lambda: lines(log / "late.log") == ["up"])


def test_sigterm_lets_the_orderly_part_finish_and_ends_all(lab, tmp_path):
    orderly = "trap 'echo closed; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    first = supervise(lab, tmp_path, shell("a", orderly, orderly=True), shell("b", orderly))
    log = tmp_path / "log"
    eventually(lambda: lines(log / "a.log") == ["up"] and lines(log / "b.log") == ["up"])
    os.kill(first, signal.SIGTERM)
    assert processes.wait_gone([first]) == []
    assert lines(log / "a.log") == ["up", "closed"]
    assert lines(log / "b.log") == ["up"]
    assert processes.find(lab) == {}


def test_sigkill_of_the_supervisor_takes_every_part_with_it(lab, tmp_path):
    first = supervise(lab, tmp_path, shell("a", "setsid sleep 1000 & exec sleep 1000"))
    eventually(lambda: len(processes.find(lab).get("sup", [])) == 3)
    pids = processes.find(lab)["sup"]
    os.kill(first, signal.SIGKILL)
    assert processes.wait_gone(pids) == []


def test_orphans_are_reaped(lab, tmp_path):
    supervise(lab, tmp_path, shell("a", "(sleep 0.1 &) ; echo up; exec sleep 1000"))
    eventually(lambda: lines(tmp_path / "log" / "a.log") == ["up"])
    eventually(lambda: len(processes.find(lab)["sup"]) == 2)
    first = processes.inits(lab)["sup"]
    children = Path(f"/proc/{first}/task/{first}/children")
    eventually(lambda: len(children.read_text().split()) == 1)


def test_a_part_on_the_machine_sees_the_machines_network(lab, tmp_path):
    show = "readlink /proc/self/ns/net; exec sleep 1000"
    supervise(lab, tmp_path, shell("in", show), shell("out", show, on_machine=True))
    log = tmp_path / "log"
    eventually(lambda: lines(log / "in.log") and lines(log / "out.log"))
    assert lines(log / "out.log") == [os.readlink("/proc/self/ns/net")]
    assert lines(log / "in.log") != lines(log / "out.log")


def test_parts_have_no_signals_blocked(lab, tmp_path):
    """A Go program that inherits a blocked SIGTERM cannot be stopped in order."""
    supervise(lab, tmp_path, shell("a", "grep SigBlk /proc/self/status; exec sleep 1000"))
    eventually(lambda: lines(tmp_path / "log" / "a.log") == ["SigBlk:\t0000000000000000"])


def test_logs_are_bounded_and_go_on(tmp_path):
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        supervisor.bound_log(log, 1000)
        assert log.stat().st_size == 100
        supervisor.bound_log(log, 99)
        writer.write(b"new")
    assert log.read_bytes() == b"new"
    assert (tmp_path / "a.log.1").read_bytes() == b"x" * 100


def test_work_that_has_succeeded_is_not_begun_again(lab, tmp_path):
    log = tmp_path / "begun"
    supervise(lab, tmp_path, shell("work", f"echo x >> {log}; [ $(wc -l < {log}) = 2 ]", once=True))
    eventually(lambda: len(lines(log)) == 2)  # it failed once
    time.sleep(1.0)  # longer than until the next start would be
    assert len(lines(log)) == 2


def test_parts_survive_their_file(tmp_path):
    parts = [Part("a", ("x", "y"), after="f", on_machine=True), Part("b", ("z",), orderly=True)]
    assert supervisor.decode(supervisor.encode(parts, tmp_path).encode()) == (parts, tmp_path)


SUPERVISE = """
import sys
from pathlib import Path
from drover.server import supervisor
parts, logs = supervisor.decode(Path(sys.argv[1]).read_bytes())
times = Path(sys.argv[2])
answers = iter([OSError("no room"), ["a", "b"]])
def renew():
    if len(times.read_text().splitlines() if times.exists() else ()) < 3:
        raise OSError("not all of them are up")
    said = next(answers, [])
    if isinstance(said, OSError):
        raise said
    return said
supervisor._RENEW_LOOK_S = supervisor._RENEW_AGAIN_S = 0.2
supervisor._IDLE_TICK_S = 0.1
supervisor.Supervisor(parts, logs, renew, 1.0).run()
"""


def test_parts_are_started_anew_one_at_a_time(lab, tmp_path):
    """And after a renewal that failed it is tried again."""
    log, times = tmp_path / "log", tmp_path / "times"
    log.mkdir()
    life = (
        "trap 'echo {0} down >>{1}; exit 0' TERM; echo {0} up >>{1}; while :; do sleep 0.02; done"
    )
    parts = [shell(name, life.format(name, times)) for name in ("a", "b")]
    parts.append(shell("once", f"echo once up >>{times}", once=True))
    file = tmp_path / "parts.json"
    file.write_text(supervisor.encode(parts, log))
    argv = (sys.executable, "-c", SUPERVISE, str(file), str(times))
    first = start(lab, Program("sup", argv, log / "sup.log", env={"PYTHONPATH": SOURCE}))
    eventually(lambda: lines(times)[-1:] == ["b up"] and "b down" in lines(times))
    assert lines(times)[3:] == ["a down", "a up", "b down", "b up"]
    assert any("not renewed: no room" in line for line in lines(log / "sup.log"))
    os.kill(first, signal.SIGTERM)
    assert processes.wait_gone([first]) == []
