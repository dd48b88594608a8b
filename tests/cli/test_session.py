"""Which cluster a command speaks to."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.server.test_config import config_at

from drover.base import config_file
from drover.cli import session as sessions
from drover.cli.session import DEFAULT_HOME, Session
from drover.lab.errors import LabDown


def test_a_kubeconfig_without_a_lab_leads_to_another_cluster(tmp_path: Path) -> None:
    session = Session(str(tmp_path), debug=False)
    with pytest.raises(LabDown):
        session.require_running()
    (tmp_path / "kubeconfig").write_text("{}")
    session.require_running()
    assert session.elsewhere


def test_on_a_server_it_is_the_servers_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "server.toml"
    monkeypatch.setattr(sessions, "SERVER_FILE", file)
    assert Session(DEFAULT_HOME, debug=False).home.path == tmp_path / ".drover"
    config_file.save(file, config_at(tmp_path))
    assert Session(DEFAULT_HOME, debug=False).home.path == tmp_path / "state"
    named = Session(str(tmp_path / "lab"), debug=False)
    assert named.home.path == tmp_path / "lab"
    (tmp_path / ".drover").mkdir()  # there is a lab
    assert Session(DEFAULT_HOME, debug=False).home.path == tmp_path / ".drover"


@click.command()
def asks() -> None:
    sessions.require_yes("Go on?")
    click.echo("done")


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [("y\n", 0, "done"), ("n\n", 1, "Aborted"), ("", 1, "--yes goes on without asking")],
)
def test_a_question_that_nobody_answers_names_the_way_out(
    typed: str, code: int, words: str
) -> None:
    done = CliRunner().invoke(asks, input=typed)
    assert (done.exit_code, words in done.output) == (code, True)


def test_a_question_is_left_by_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("click.termui.visible_prompt_func", pressed)
    with pytest.raises(click.Abort):
        sessions.ask("Go on?")
