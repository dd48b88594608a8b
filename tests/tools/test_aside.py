"""What is played aside is reported as if it were not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120  # whoever goes last may have to wait for a busy machine
ON_CI = ("CI", "BUILD_NUMBER")  # what pytest looks for

pytestmark = pytest.mark.timeout(2 * LIMIT_S)
SETTINGS = """
[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = ["--import-mode=importlib", "-ra"]
asyncio_default_fixture_loop_scope = "function"
timeout = 20
markers = ["engine: a control plane"]
"""
NEAR = """
import os, pathlib, pytest

@pytest.fixture(scope="session", autouse=True)
def lab():
    yield
    pathlib.Path("down").touch()

def test_near():
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
"""
FAR = """
import os, pathlib, pytest, time

def test_gives_way():
    assert os.sched_getscheduler(0) == os.SCHED_IDLE

@pytest.mark.engine
def test_not_aside():
    assert os.sched_getscheduler(0) == os.SCHED_OTHER

@pytest.mark.timeout(0.5)
def test_waits_until_the_lab_is_down():
    while not pathlib.Path("down").exists():
        time.sleep(0.05)
"""
FAILING = """
import os, pytest

def test_a():
    assert 1 == 2
def test_b():
    pytest.skip("why")
def test_c():
    os._exit(7)
def test_d():
    pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(SETTINGS)
    write(tmp_path, "web", NEAR)
    return tmp_path


def write(project: Path, room: str, text: str) -> None:
    file = project / "tests" / room / f"test_{room}.py"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def begin(project: Path) -> subprocess.Popen[str]:
    # A summary of pytest on CI is longer: the one here is the same everywhere.
    inherited = {name: value for name, value in os.environ.items() if name not in ON_CI}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "tests.support.aside", "-p", "no:cacheprovider"],
        cwd=project, env={**inherited, "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def played(project: Path) -> tuple[int, str]:
    run = begin(project)
    said, _ = run.communicate(timeout=LIMIT_S)
    return run.returncode, said


def test_one_run_and_one_summary(project: Path) -> None:
    """And what the session shares is taken down before anybody waits for those aside."""
    write(project, "sim", FAR)
    code, said = played(project)
    assert (code, "4 passed in" in said) == (0, True), said
    assert said.index("tests/web/test_web.py") < said.index("tests/sim/test_sim.py ..")


def test_a_failure_is_a_failure_and_so_is_what_was_never_played(project: Path) -> None:
    write(project, "sim", FAILING)
    code, said = played(project)
    assert (code, "3 failed, 1 passed, 1 skipped in" in said) == (1, True), said
    assert "assert 1 == 2" in said
    assert "SKIPPED [1] tests/sim/test_sim.py:7: why" in said
    assert said.count("has ended (7) without it") == 2


def test_what_cannot_be_collected_fails_the_run(project: Path) -> None:
    write(
        project,
        "sim",
        "import os\nassert not os.environ.get('DROVER_TESTS_ASIDE')\ndef test_a(): pass\n",
    )
    code, said = played(project)
    assert (code, "1 failed, 1 passed" in said) == (1, True), said
    assert "AssertionError" in said


def test_an_interrupted_run_leaves_nobody_behind(project: Path) -> None:
    write(project, "sim", "import os, pathlib, time\ndef test_a():\n"
          "    pathlib.Path('pid').write_text(str(os.getpid()))\n    time.sleep(15)\n")  # fmt: skip
    run = begin(project)
    while not (project / "pid").exists() or not (project / "pid").read_text():
        assert run.poll() is None
        time.sleep(0.05)
    aside = os.pidfd_open(int((project / "pid").read_text()))
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=LIMIT_S)
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    with pytest.raises(ProcessLookupError):
        signal.pidfd_send_signal(aside, 0)
    os.close(aside)
