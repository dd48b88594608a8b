"""One booted VM in a namespace of its own, shared by the transcripts of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.lab import RunningLab

NAMESPACE = "golden"
LINUX_VM = (Path(__file__).parents[2] / "examples/linux-vm.yaml").read_text()


class Kubectl:
    """kubectl in one namespace of the lab, as a transcript."""

    def __init__(self, lab: RunningLab) -> None:
        self.lab = lab

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """``$ k ARGUMENTS`` and what it printed, errors included. The exit code must be as told."""
        said = self.lab.k("-n", NAMESPACE, *arguments, stdin=stdin)
        assert said.code == code, said.out + said.err
        return f"$ k {' '.join(arguments)}\n{said.out}{said.err}"

    def value(self, what: str, path: str) -> str:
        said = self.lab.k("-n", NAMESPACE, "get", what, "-o", f"jsonpath={path}")
        return said.out if said.code == 0 else ""


@pytest.fixture(scope="module")
def k(lab: RunningLab) -> Iterator[Kubectl]:
    """The namespace with linux-vm Running in it."""
    assert lab.k("create", "namespace", NAMESPACE).code == 0
    made = Kubectl(lab)
    try:
        made("apply", "-f", "-", stdin=LINUX_VM)
        lab.wait_running("linux-vm", NAMESPACE)
        yield made
    finally:
        lab.k("delete", "namespace", NAMESPACE, "--timeout=120s")
