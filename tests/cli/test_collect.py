"""A bundle of what is there: tails, what cannot be had, and what stays out when nobody knows the Secrets."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import click
import pytest
from tests.answers.test_why_objects import a_node, a_vm

from drover.answers.world import World
from drover.cli import collect
from drover.cli.collect import Bundle
from drover.cli.redact import GONE, Redactor
from drover.cli.session import Session


@pytest.fixture
def session(tmp_path: Path) -> Session:
    home = tmp_path / "home"
    (home / "log").mkdir(parents=True)
    (home / "log" / "controllers.log").write_text("old line\n" * 1000 + "the end hunter22\n")
    copy = home / "nodes" / "n1" / "state" / "log" / "uid-1"
    copy.mkdir(parents=True)
    (copy / "serial.log").write_bytes(b"login: \xff hunter22\n")
    (copy / "qemu.log").write_text("qemu: warning\n")
    return Session(str(home), False)


def logs(session: Session, serial: bool, most_bytes: int = 100) -> Bundle:
    bundle = Bundle()
    collect._logs(session, bundle, Redactor(["hunter22"]), most_bytes, serial)
    return bundle


def test_tails_are_whole_lines_without_secrets(session: Session) -> None:
    bundle = logs(session, serial=True)
    text = bundle.files["logs/controllers.log"].decode()
    assert text.startswith("old line\n")
    assert text.endswith(f"the end {GONE}\n")
    assert len(text) < 120
    assert bundle.files["nodes/n1/uid-1/serial.log"].decode() == f"login: \ufffd {GONE}\n"
    assert bundle.lacking == {}


def test_what_guests_print_stays_out_when_nobody_knows_the_secrets(session: Session) -> None:
    bundle = logs(session, serial=False)
    assert sorted(bundle.files) == ["logs/controllers.log", "nodes/n1/uid-1/qemu.log"]
    assert "--serial puts it in" in bundle.lacking["output of guests"]


def test_old_logs_are_counted(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MOST_FILES", 1)
    bundle = logs(session, serial=True)
    assert (len(bundle.files), bundle.lacking) == (1, {"older logs": "2 files"})


def test_objects_without_user_data_and_what_was_not_readable() -> None:
    vm, *others = a_vm("a", "n1")
    vm["spec"]["provisioning"] = {"type": "UserData", "userData": "password: hunter22"}
    bundle, world = Bundle(), World.of([vm, *others, a_node("n1")], 0.0, ["NodeFence"])
    collect._objects(bundle, Redactor([collect._inline(vm)], collect._names(world)), world)
    [told] = json.loads(bundle.files["objects/VirtualMachine.json"])
    assert told["spec"]["provisioning"] == {"type": "UserData", "userData": GONE}
    assert told["metadata"]["name"] == "a"
    assert bundle.lacking == {"objects/NodeFence": "not readable"}
    assert not any(b"hunter22" in data for data in bundle.files.values())


def test_the_file_is_whole_private_and_lists_itself(tmp_path: Path) -> None:
    bundle = Bundle({"a/b.txt": b"hello"}, {"objects": "the API is down"})
    file = tmp_path / "bundle.tar.gz"
    collect._write(file, bundle)
    assert file.stat().st_mode & 0o077 == 0
    with tarfile.open(file) as tar:
        assert tar.getnames() == ["drover-bundle/a/b.txt", "drover-bundle/manifest.json"]
        found: Any = tar.extractfile("drover-bundle/manifest.json")
        manifest = json.load(found)
    assert manifest == {"files": {"a/b.txt": 5}, "lacking": {"objects": "the API is down"}}
    with pytest.raises(click.ClickException, match="cannot write"):
        collect._write(tmp_path / "no" / "x", bundle)
