"""The skeleton of the command line: help, errors, exit codes. No lab runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from drover.cli import main as cli_main
from drover.cli.main import COMMANDS, main

SOURCE = Path(cli_main.__file__).parents[2]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_lists_the_commands_that_are_there(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in ("up", "status", "down", "reset", "lab", "k", "version"):
        assert f"\n  {name} " in out


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from drover.cli.main import main; main(['--help']);"
        "heavy = {'aiohttp', 'cryptography', 'yaml', 'asyncio'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SOURCE)},
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_there_is_explains_itself_with_examples(capsys, name):
    if name == "k":
        return  # its help is kubectl's
    if not cli_main._there(COMMANDS[name]):
        pytest.skip(f"{name} is not built yet")
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert "Example" in out


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (["up", "--home", "/h", "--nodes", "2"], ["--home", "/h", "up", "--nodes", "2"]),
        (["status", "--home=/h", "--debug"], ["--home=/h", "--debug", "status"]),
        (["--home", "/h", "k", "get", "--home", "x"], ["--home", "/h", "k", "get", "--home", "x"]),
        (["ssh", "vm", "--", "ls", "--debug"], ["ssh", "vm", "--", "ls", "--debug"]),
        (["up", "--home"], ["up", "--home"]),
    ],
)
def test_global_options_are_understood_after_the_command(given, understood):
    assert cli_main.hoisted(given) == understood


def test_unknown_command_is_wrong_usage(capsys):
    code, _, err = run(capsys, "frobnicate")
    assert code == 2
    assert "No such command 'frobnicate'" in err


@pytest.mark.parametrize(
    "arguments", [("status",), ("k", "get", "nodes"), ("lab", "freeze", "virtlab-pt-1")]
)
def test_without_a_lab_the_error_names_the_way_out(capsys, tmp_path, monkeypatch, arguments):
    engine = tmp_path / "kube"
    engine.write_text("#!/bin/sh\n")
    engine.chmod(0o755)
    monkeypatch.setenv("DROVER_ENGINE", str(engine))
    code, _, err = run(capsys, "--home", str(tmp_path / "none"), *arguments)
    assert code == 1
    assert err.startswith("Error: ")
    assert "drover up" in err
    assert not (tmp_path / "none").exists()


def test_without_an_engine_the_error_names_the_way_out(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("DROVER_ENGINE", raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    code, _, err = run(capsys, "--home", str(tmp_path / "none"), "up")
    assert code == 1
    assert "DROVER_ENGINE" in err


def test_down_and_reset_without_a_lab_are_harmless(capsys, tmp_path):
    home = str(tmp_path / "none")
    assert run(capsys, "--home", home, "down")[:2] == (0, "The lab was not running.\n")
    assert run(capsys, "--home", home, "reset", "--yes")[:2] == (0, f"There is no lab in {home}.\n")
    assert not (tmp_path / "none").exists()


def test_reset_keeps_strangers_files(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    code, _, err = run(capsys, "--home", str(tmp_path), "reset", "--yes")
    assert code == 1
    assert "files of others: thesis.tex" in err
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_bug_of_ours_is_named_as_such_and_traced_only_on_demand(capsys, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(cli_main.cli, "main", broken)
    code, _, err = run(capsys, "status")
    assert code == 70
    assert "This is a bug of drover" in err
    assert "Traceback" not in err
    assert "Traceback" in run(capsys, "--debug", "status")[2]


@pytest.mark.parametrize("nodes", ["0", "101", "-1"])
def test_numbers_of_nodes_that_are_not_possible(capsys, tmp_path, monkeypatch, nodes):
    monkeypatch.setenv("DROVER_ENGINE", "/bin/true")
    code, _, err = run(capsys, "--home", str(tmp_path / "h"), "up", "--nodes", nodes)
    assert code == 1
    assert "a lab has 1 to 100 nodes" in err
