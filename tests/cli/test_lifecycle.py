"""The command lines of start, stop, restart, evict and migrate: what is refused and asked before a lab is touched."""

from __future__ import annotations

import click
import pytest

from drover.cli import lifecycle
from drover.cli.main import main
from drover.cli.targets import Target, target


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(list(arguments))
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600), ("0.5s", 0.5)]
)
def test_times(text, value):
    assert lifecycle.seconds(text) == value


@pytest.mark.parametrize("text", ["", "x", "m", "5 minutes", "s5"])
def test_what_is_no_time(text):
    with pytest.raises(click.BadParameter, match="write for example 90s or 5m"):
        lifecycle.seconds(text)


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "evict", "migrate"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "which VM?"),
        (("linux-vm", "--all"), "not several of them"),
        (("linux-vm", "-l", "a=b"), "not several of them"),
        (("--all", "-l", "a=b"), "exclude each other"),
        (("linux-vm", "--timeout", "soon"), "is no time"),
    ],
)
def test_wrong_usage_is_two(capsys, verb, arguments, words):
    code, said = run(capsys, verb, *arguments)
    assert code == 2
    assert words in said


@pytest.mark.parametrize("arguments", [("evict", "vm", "-y"), ("console", "vm"), ("ssh", "vm")])
def test_a_home_without_a_lab_is_one_with_the_way_out(capsys, tmp_path, arguments):
    code, said = run(capsys, "--home", str(tmp_path), *arguments)
    assert code == 1
    assert "drover up" in said


@pytest.mark.parametrize(
    ("answer", "yes"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False)]
)
def test_the_question(monkeypatch, capsys, answer, yes):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert lifecycle._confirmed("evict", ("default", "linux-vm")) is yes
    asked = 'Are you sure you want to execute command "evict" for virtual machine "default/linux-vm"? [y/N]'
    assert asked in capsys.readouterr().out


def test_the_question_can_be_answered_by_the_environment(monkeypatch):
    monkeypatch.setenv(lifecycle.CONFIRM_ENV, "yes")
    seen = []
    monkeypatch.setattr(lifecycle, "_run", lambda session, wish: seen.append(wish) or 0)
    assert main(["evict", "linux-vm"]) == 0
    assert seen[0].yes is True


@pytest.mark.parametrize(
    ("text", "meant"), [("vm", Target("here", "vm")), ("vm.there", Target("there", "vm"))]
)
def test_names_with_and_without_namespace(text, meant):
    assert target(text, "here") == meant
