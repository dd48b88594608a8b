"""Help and doctor install nothing; once set up, ./drover starts at once and without a network."""

from __future__ import annotations

import json
import resource

import pytest
from tests.bootstrap.script import ROOT, Script, environment_of


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["help"], ["up", "--help"], ["--home", "/x", "k", "get", "-h"]]
)
def test_help_installs_nothing(script: Script, arguments: list[str]) -> None:
    done = script.drover(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Usage: ./drover" in done.stdout
    assert "Nothing is installed yet" in done.stdout
    assert not script.cache.exists()


def test_doctor_installs_nothing_and_lists_the_needs(script: Script) -> None:
    done = script.drover("doctor")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert {"processor", "system", "root", "disk", "memory", "tun", "namespaces"} <= set(names)
    assert not script.cache.exists()


def test_doctor_speaks_json(script: Script) -> None:
    script.program("id", "echo 1000")
    done = script.drover("doctor", "-o", "json")
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    assert rows["root"]["state"] == "missing"
    assert "sudo" in rows["root"]["remedy"]
    assert rows["processor"]["remedy"] == ""
    assert done.returncode == 1


def test_version_installs_nothing(script: Script) -> None:
    done = script.drover("version")
    assert done.stdout.startswith("drover ")
    assert not script.cache.exists()


def processor_time_s() -> float:
    """Of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_warm_start_is_quick_and_hands_everything_on(script: Script) -> None:
    script.set_up_by_hand()
    before = processor_time_s()
    done = script.drover("--home", "/elsewhere", "evict", "linux-vm", "--wait")
    assert processor_time_s() - before < 0.5  # not wall time: the machine may be busy
    assert done.returncode == 0, done.stderr
    assert "ran -m drover.cli.main --home /elsewhere evict linux-vm --wait\n" in done.stdout
    assert done.stderr == ""
    given = environment_of(done.stdout)
    assert given["DROVER_CACHE"] == str(script.cache)
    assert given["DROVER_ENGINE"] == "/bin/true"
    assert given["DROVER_IMAGE"].startswith(str(script.cache))
    assert given["DROVER_FIRMWARE"].startswith(str(script.cache))
    assert given["PYTHONPATH"] == str(ROOT / "src")


def test_a_warm_start_needs_no_network(script: Script) -> None:
    script.set_up_by_hand()
    done = script.drover("up", before="true")  # in a network namespace with nothing in it
    assert "ran -m drover.cli.main up\n" in done.stdout, done.stderr


def test_help_of_a_command_comes_from_the_command_once_set_up(script: Script) -> None:
    script.set_up_by_hand()
    assert "ran -m drover.cli.main up --help\n" in script.drover("up", "--help").stdout


def test_the_users_python_path_stays(script: Script) -> None:
    script.set_up_by_hand()
    script.environment["PYTHONPATH"] = "/mine"
    assert environment_of(script.drover("up").stdout)["PYTHONPATH"] == f"{ROOT}/src:/mine"


def test_a_changed_input_makes_another_build(script: Script) -> None:
    checkout = script.copy_of_inputs()
    code = f'root={checkout}; . "$root/tools/bootstrap/stages.sh"; locate; echo "$engine $image"'
    before = script.told(code).split()
    source = checkout / "engine/main.go"
    source.write_text(source.read_text() + "\n")
    after = script.told(code).split()
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_upstream_binaries_serve_as_the_engine(script: Script) -> None:
    script.set_up_by_hand()
    del script.environment["DROVER_ENGINE"]
    names = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"]
    for name in names:
        script.program(name, f'echo {name} "$@"')
    script.environment["KUBEBUILDER_ASSETS"] = str(script.programs)
    engine = environment_of(script.drover("up").stdout)["DROVER_ENGINE"]
    assert script.run(engine, "scheduler", "--v=1").stdout == "kube-scheduler --v=1\n"
    (script.programs / "kube-scheduler").unlink()
    done = script.drover("up")
    assert done.returncode == 2
    assert "holds no kube-scheduler" in done.stderr
