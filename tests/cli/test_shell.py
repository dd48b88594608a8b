"""Completion in a real bash, manual pages of every command, and the plugin of kubectl."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from drover.cli import man
from drover.cli.main import cli

CHECKOUT = Path(__file__).resolve().parents[2]
COMMANDS = dict(man.tree(cli))


@pytest.mark.parametrize("path", list(COMMANDS), ids=lambda path: " ".join(path) or "drover")
def test_every_command_has_help_and_a_page(path: tuple[str, ...]) -> None:
    one = COMMANDS[path]
    assert one.help
    if path:
        assert "Example" in (one.epilog or "")
    text = man.page(path, one)
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"):
        assert f".SH {section}\n" in text
    known = (".TH ", ".SH ", ".PP", ".TP", ".B ", ".BR ", ".nf", ".fi")
    stray = [line for line in text.splitlines() if line[:1] in ".'" and not line.startswith(known)]
    assert stray == []


@pytest.mark.parametrize("path", [p for p in COMMANDS if isinstance(COMMANDS[p], click.Group)])
def test_no_command_is_cut_off_in_the_list_of_its_group(path: tuple[str, ...]) -> None:
    said = CliRunner().invoke(cli, [*path, "--help"], terminal_width=80).output
    assert [line for line in said.splitlines()[1:] if line.endswith("...")] == []


def test_pages_are_written(tmp_path: Path) -> None:
    found = CliRunner().invoke(cli, ["man", str(tmp_path / "man1")])
    assert found.exit_code == 0, found.output
    names = {file.name for file in (tmp_path / "man1").iterdir()}
    assert {"drover.1", "drover-evict.1", "drover-whatif-lose.1"} <= names
    assert len(names) == len(COMMANDS)
    text = (tmp_path / "man1" / "drover-evict.1").read_text()
    assert "drover evict linux\\-vm" in text
    (tmp_path / "file").write_text("")
    refused = CliRunner().invoke(cli, ["man", str(tmp_path / "file" / "x")])
    assert refused.exit_code == 1
    assert "cannot write to" in refused.output


def completions(words: str, directory: Path) -> list[str]:
    """What a real bash offers after these words."""
    program = directory / "drover"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m drover.cli.main "$@"\n')
    program.chmod(0o755)
    script = """
        source <(drover completion bash)
        read -ra COMP_WORDS <<< "$1"; [[ $1 != *" " ]] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE=$1
        _drover_completion drover; printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = f"{directory}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT / "src")}
    argv = ["bash", "--norc", "-c", script, "bash", words]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    assert {"why", "whatif"} <= set(completions("drover wh", tmp_path))
    assert completions("drover whatif lo", tmp_path) == ["lose"]
    assert "--namespace" in completions("drover console --na", tmp_path)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script(shell: str) -> None:
    found = CliRunner().invoke(cli, ["completion", shell])
    assert found.exit_code == 0
    assert "_DROVER_COMPLETE" in found.output


def test_another_shell_is_refused() -> None:
    found = CliRunner().invoke(cli, ["completion", "tcsh"])
    assert found.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in found.output


def test_the_plugin_is_drover_under_another_name(tmp_path: Path) -> None:
    link = tmp_path / "kubectl-drover"
    link.symlink_to(CHECKOUT / "kubectl-drover")
    done = subprocess.run([link, "status", "--help"], capture_output=True, text=True, check=True)
    assert isinstance(cli, click.Group)
    assert "kubectl drover status -o json" in done.stdout


def test_what_becomes_kubectl_begins_at_once() -> None:
    """`drover k` is typed all day: what it needs does not bring the libraries of servers along."""
    needs = "import drover.cli.main, drover.cli.k, drover.server.parts, drover.lab.home"
    words = f"{needs}; import sys; print(sorted({{'aiohttp', 'cryptography', 'numpy', 'yaml'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
