"""``drover uninstall`` asks first, and takes away what the bootstrap made and nothing else."""

from __future__ import annotations

import shutil
import subprocess

from tests.bootstrap.script import Script, lines_of


def fill(script: Script) -> None:
    script.cache.mkdir()
    (script.cache / "something").touch()
    (script.cache / "packages-added").write_text("alpha\nbeta\n")
    record = script.cache.parent / "apt.log"
    # Simulated first; then beta is needed by a package that is not ours when `needed` exists.
    script.program(
        "apt-get",
        f'echo "$*" >>{record}\n'
        f'if [ "$1" = -s ]; then echo Remv alpha; echo Remv beta\n'
        f"[ ! -e {script.cache.parent}/needed ] || echo Remv theirs; fi",
    )


def test_without_a_terminal_it_wants_to_be_told(script: Script) -> None:
    fill(script)
    done = script.drover("uninstall")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert (script.cache / "something").exists()


def test_it_takes_the_cache_and_its_packages(script: Script) -> None:
    fill(script)
    done = script.drover("uninstall", "--yes")
    assert done.returncode == 0, done.stderr
    assert "alpha beta" in done.stderr
    assert not script.cache.exists()
    assert any("purge alpha beta" in x for x in lines_of(script.cache.parent / "apt.log"))


def test_packages_can_stay(script: Script) -> None:
    fill(script)
    assert script.drover("uninstall", "--yes", "--keep-packages").returncode == 0
    assert not script.cache.exists()
    assert not (script.cache.parent / "apt.log").exists()


def test_packages_that_others_need_stay(script: Script) -> None:
    fill(script)
    (script.cache.parent / "needed").touch()
    done = script.drover("uninstall", "--yes")
    assert "others need them by now: theirs" in done.stderr
    assert not any("purge" in x for x in lines_of(script.cache.parent / "apt.log"))


def test_not_while_a_lab_runs_on_it(script: Script) -> None:
    fill(script)
    engine = script.cache / "engine/0123/kube"
    engine.parent.mkdir(parents=True)
    shutil.copy("/bin/sleep", engine)
    with subprocess.Popen([engine, "60"]) as running:
        try:
            done = script.drover("uninstall", "--yes")
        finally:
            running.kill()
    assert done.returncode == 2
    assert f"process {running.pid}" in done.stderr
    assert "./drover down" in done.stderr
    assert (script.cache / "something").exists()


def test_not_while_a_lab_runs_on_another_engine(script: Script) -> None:
    fill(script)
    lab = {"DROVER_LAB_PART": "0123/agent", "DROVER_CACHE": str(script.cache)}
    with subprocess.Popen(["sleep", "60"], env={**script.environment, **lab}) as running:
        try:
            done = script.drover("uninstall", "--yes")
        finally:
            running.kill()
    assert done.returncode == 2
    assert f"process {running.pid}" in done.stderr
    assert (script.cache / "something").exists()


def test_nothing_there(script: Script) -> None:
    done = script.drover("uninstall")
    assert done.returncode == 0
    assert "nothing is installed" in done.stderr
