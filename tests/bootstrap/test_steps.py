"""A step is run once, tells of itself, and leaves nothing behind when it fails or is stopped."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable

from tests.bootstrap.script import LIMIT_S, Script, alive, lines_of

# A set-up of one stage that counts how often it ran, and goes on when told to.
ONE_STAGE = """
    require_for() { :; }
    announce() { :; }
    build_python() {
        echo built >>"$cache/count"
        while [[ ! -e $cache/go-on ]]; do sleep 0.05; done
        mkdir -p "$venv"
        touch "$venv/ready"
    }
    set_up python
"""


def test_two_at_once_build_once(script: Script) -> None:
    first = script.pieces(ONE_STAGE)
    _until(lambda: bool(lines_of(script.cache / "count")))
    second = script.pieces(ONE_STAGE)
    assert second.stderr is not None
    assert "another drover is setting up" in second.stderr.readline()
    (script.cache / "go-on").touch()
    for process in (first, second):
        process.communicate(timeout=LIMIT_S)
    assert (first.returncode, second.returncode) == (0, 0)
    assert lines_of(script.cache / "count") == ["built"]


def test_the_next_run_knows_how_long_it_took(script: Script) -> None:
    script.cache.mkdir()
    (script.cache / "go-on").touch()
    script.told(ONE_STAGE)
    process = script.pieces('locate; rm "$venv/ready"' + ONE_STAGE)
    err = process.communicate(timeout=LIMIT_S)[1]
    assert re.search(r"installing Python packages \(last time \d+ s\) \.\.\.", err)
    assert lines_of(script.cache / "count") == ["built", "built"]


def test_a_failed_step_shows_the_end_of_its_log(script: Script) -> None:
    failing = """
        require_for() { :; }
        announce() { :; }
        build_python() { echo the reason; false; touch "$cache/never"; }
        set_up python
    """
    process = script.pieces(failing)
    err = process.communicate(timeout=LIMIT_S)[1]
    assert process.returncode == 1
    assert "the reason" in err
    assert "log/python.log" in err
    assert not (script.cache / "never").exists()
    assert not list(script.cache.glob("took/*"))


def test_stopping_the_set_up_stops_its_builds(script: Script) -> None:
    code = """
        require_for() { :; }
        announce() { :; }
        build_engine() { sh -c 'echo $$ >"$0"; sleep 60; :' "$cache/pid"; }
        set_up engine
    """
    process = script.pieces(code)
    pid_file = script.cache / "pid"
    _until(lambda: bool(lines_of(pid_file)))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    pid = int(lines_of(pid_file)[0])
    _until(lambda: not alive(pid))


def test_a_build_shows_only_when_complete(script: Script) -> None:
    """The image's build is stopped half-way; the final place stays empty and the next run works."""
    checkout = script.copy_of_inputs()
    code = f"""
        root={checkout}
        . "$root/tools/bootstrap/stages.sh"
        apt-get() {{ :; }}
        locate
        build_image
        ls "$image"
    """
    build = checkout / "tools/image/build"
    text = '#!/bin/sh\nmkdir -p "$1"; touch "$1/disk"; {}\n'
    build.write_text(text.format("exit 1"))
    process = script.pieces(code)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert not list(script.cache.glob("image/*"))
    build.write_text(text.format('touch "$1/sums"'))
    assert script.told(code).split() == ["disk", "sums"]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
