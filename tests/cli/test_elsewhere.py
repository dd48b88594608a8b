"""Another cluster than the lab: ``--kubeconfig`` before the command, or the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.cli.main import main
from drover.cli.session import Session


def test_a_cluster_that_is_named_needs_no_lab(tmp_path: Path) -> None:
    session = Session(str(tmp_path / "no-lab"), False, str(tmp_path / "config"))
    assert session.kubeconfig() == tmp_path / "config"
    assert session.parts() == []


@pytest.mark.parametrize("command", [["token", "list"], ["why", "x"], ["fence", "list"]])
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_file_that_is_not_there_is_named(
    command: list[str],
    by: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = str(tmp_path / "config")
    monkeypatch.setenv("DROVER_HOME", str(tmp_path / "home"))
    if by == "environment":
        monkeypatch.setenv("DROVER_KUBECONFIG", file)
        assert main(command) == 1
    else:
        assert main(["--kubeconfig", file, *command]) == 1
    assert f"cannot read {file}" in capsys.readouterr().err
