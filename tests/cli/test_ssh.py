"""The command line that `drover ssh` becomes."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from drover.cli import ssh
from drover.cli.main import main
from drover.cli.ssh import ssh_argv
from drover.cli.targets import Target

GIVEN = {"username": "root", "port": "22", "identity_file": ""}


def argv(*words: str, **given: str) -> list[str]:
    return ssh_argv("10.66.10.10", "a-uid", Path("/h/known"), words, **{**GIVEN, **given})


def test_plain():
    made = argv()
    assert made[:5] == ["ssh", "-p", "22", "-l", "root"]
    assert made[-1] == "10.66.10.10"
    assert "HostKeyAlias=a-uid" in made
    assert "UserKnownHostsFile=/h/known" in made
    assert "StrictHostKeyChecking=accept-new" in made


def test_command_user_and_key():
    made = argv("uptime", "-p", username="me", identity_file="/k")
    assert made[-3:] == ["10.66.10.10", "uptime", "-p"]
    assert made[made.index("-l") + 1] == "me"
    assert made[made.index("-i") + 1] == "/k"


def test_a_command_twice_is_wrong_usage(capsys):
    assert main(["ssh", "vm", "-c", "ls", "--", "ls"]) == 2
    assert "once" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["", "/nonexistent"])
def test_without_ssh_it_says_what_to_install(monkeypatch, capsys, path):
    monkeypatch.setenv("PATH", path)
    assert main(["ssh", "vm"]) == 1
    assert "openssh-client" in capsys.readouterr().err


def test_a_guest_that_starts_is_told_from_one_that_refuses_the_key():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert ssh._answers("127.0.0.1", port)
    assert not ssh._answers("127.0.0.1", port)
    said = ssh.no_answer(Target("default", "vm"), port)
    assert f"answers on port {port}" in said
    assert "`drover console vm -n default`" in said
