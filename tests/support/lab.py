"""One lab for a whole test session: three nodes, real QEMU, torn down at the end whatever happened.

Tests that want the fixture ``lab`` carry the marker ``e2e``; they are skipped without root, an engine or the built-in
image. ``drover`` and ``k`` run the commands as a user would and hand back what these said; ``k`` begins where
``./drover k`` has become kubectl. ``get`` asks the API itself: most looks are of those who wait. Tests share the lab,
so each makes its own VMs, in a namespace of its own where names matter, and removes them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.look import kinds, look

from drover.cli.session import builtin_image
from drover.lab import lab as labs
from drover.lab import processes
from drover.lab.home import Home
from drover.server.errors import ControlPlaneError
from drover.server.parts import find_engine

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND_LIMIT_S = 240.0


@dataclasses.dataclass(frozen=True)
class Said:
    """A finished command."""

    code: int
    out: str
    err: str


def command(
    argv: Sequence[str],
    environment: Mapping[str, str],
    stdin: str = "",
    limit_s: float = COMMAND_LIMIT_S,
    executable: Path | None = None,
) -> Said:
    """Run it from the checkout, to its end."""
    done = subprocess.run(
        argv,
        executable=executable,
        cwd=CHECKOUT,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@dataclasses.dataclass(frozen=True)
class RunningLab:
    """A lab that is up."""

    home: Home

    @property
    def lab(self) -> labs.Lab:
        return labs.Lab(self.home)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(CHECKOUT / "src"),
            "DROVER_HOME": str(self.home.path),
            "DROVER_PROGRAM": f"{sys.executable} -m drover.cli.main",
            "NO_COLOR": "1",
        }

    def argv(self, *arguments: str) -> list[str]:
        """The command line of ``./drover ARGUMENTS`` without the start script."""
        return [sys.executable, "-m", "drover.cli.main", *arguments]

    def drover(self, *arguments: str, stdin: str = "", limit_s: float = COMMAND_LIMIT_S) -> Said:
        return command(self.argv(*arguments), self.environment, stdin, limit_s)

    def k(self, *arguments: str, stdin: str = "", limit_s: float = COMMAND_LIMIT_S) -> Said:
        where = {"KUBECONFIG": str(self.home.kubeconfig), "KUBECACHEDIR": str(self.home.kube_cache)}
        argv = ["kubectl", "kubectl", *arguments]
        return command(argv, {**self.environment, **where}, stdin, limit_s, find_engine(os.environ))

    def get(self, *what: str) -> Any:
        """An object or a list, named as kubectl's ``get`` would have it; None when there is none."""
        if what[0] in kinds():
            return look(self.home.kubeconfig, *what)
        said = self.k("get", *what, "-o", "json")
        if said.code != 0 and "NotFound" in said.err:
            return None
        assert said.code == 0, said.err
        return json.loads(said.out)

    def apply(self, manifest: str) -> None:
        said = self.k("apply", "-f", "-", stdin=manifest)
        assert said.code == 0, said.err

    def wait_running(self, vm: str, namespace: str = "default", limit_s: int = 120) -> None:
        said = self.k(
            *("wait", f"vm/{vm}", "-n", namespace, f"--timeout={limit_s}s"),
            "--for=jsonpath={.status.phase}=Running",
        )
        assert said.code == 0, said.err


def eventually(check: Callable[[], Any], limit_s: float = 60.0, every_s: float = 0.2) -> Any:
    """The first true answer of ``check``. Fails after the limit."""
    deadline = time.monotonic() + limit_s
    while True:
        if found := check():
            return found
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(every_s)


def require_engine(what: str) -> Path:
    """Skips the test where there can be no control plane in namespaces of its own."""
    if os.geteuid() != 0:
        pytest.skip(f"{what} needs root")
    try:
        return find_engine(os.environ)
    except ControlPlaneError:
        pytest.skip("there is no engine: run through ./test")


@contextlib.contextmanager
def a_home(prefix: str) -> Iterator[RunningLab]:
    """For a lab of the caller's own; what was started there is removed at the end whatever happened."""
    if builtin_image() is None:
        pytest.skip("there is no guest image: run through ./test")
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    running = RunningLab(Home.at(directory / "home"))
    try:
        yield running
    finally:
        said = running.drover("reset", "--yes")
        left = processes.find(running.lab.lab_id)
        shutil.rmtree(directory, ignore_errors=True)
    assert (said.code, left) == (0, {}), said.err


@contextlib.contextmanager
def a_lab(*options: str) -> Iterator[RunningLab]:
    """A lab of the caller's own, removed at the end whatever happened. Skips the test where there can be none."""
    require_engine("a lab")
    with a_home("drover-lab-") as running:
        said = running.drover("up", *options)
        assert said.code == 0, said.out + said.err
        yield running


@pytest.fixture(scope="session")
def lab() -> Iterator[RunningLab]:
    """The lab of this session."""
    with a_lab() as running:
        yield running
