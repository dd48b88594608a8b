"""The doctor's rows, and the decision between KVM and TCG, with stand-ins for QEMU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from drover.cli import accel, doctor

BOOTS = (
    'case "$*" in *--version*) echo QEMU emulator version 9.9.9;; *) echo Linux version 6;; esac'
)
REFUSES = (
    'case "$*" in *--version*) echo QEMU emulator version 9.9.9;; *) echo no >&2; exit 1;; esac'
)


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of a QEMU of one's own, first in PATH; writes nothing there yet."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin")
    return programs / accel.QEMU


def act(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_a_guest_that_boots_means_kvm(qemu: Path) -> None:
    act(qemu, BOOTS)
    assert accel.probe_kvm(Path("/kernel")).accelerator == "kvm"


def test_a_qemu_that_refuses_means_tcg_and_says_why(qemu: Path) -> None:
    act(qemu, REFUSES)
    known = accel.probe_kvm(Path("/kernel"))
    assert known.accelerator == "tcg"
    assert known.why.endswith(": no")


def test_a_guest_that_hangs_means_tcg(qemu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act(qemu, "exec sleep 60")
    monkeypatch.setattr(accel, "PROBE_LIMIT_S", 0.2)
    assert accel.probe_kvm(Path("/kernel")).accelerator == "tcg"


def test_the_answer_is_kept(tmp_path: Path) -> None:
    record = tmp_path / "accelerator/key.json"
    assert accel.read_record(record) is None
    accel.write_record(record, accel.Verdict("kvm", "booted"))
    assert accel.read_record(record) == accel.Verdict("kvm", "booted")
    record.write_text("{")
    assert accel.read_record(record) is None


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "accelerator").write_text("a file in its way")
    accel.write_record(tmp_path / "accelerator/key.json", accel.Verdict("tcg", "no"))


def test_another_qemu_or_kernel_is_asked_again(tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(b"one")
    first = accel.machine_key("7.2", kernel)
    assert accel.machine_key("7.2", kernel) == first
    assert accel.machine_key("9.0", kernel) != first
    kernel.write_bytes(b"other")
    assert accel.machine_key("7.2", kernel) != first


def test_the_version_is_read_from_qemu(qemu: Path) -> None:
    act(qemu, BOOTS)
    assert accel.qemu_version() == "9.9.9"
    act(qemu, "exit 3")
    assert accel.qemu_version() is None


def test_what_is_not_built_is_missing_and_the_doctor_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROVER_CACHE", str(tmp_path))
    monkeypatch.setenv("DROVER_ENGINE", str(tmp_path / "kube"))
    monkeypatch.setenv("DROVER_IMAGE", str(tmp_path / "image"))
    done = CliRunner().invoke(doctor.command, ["-o", "json"])
    rows = {row["check"]: row for row in json.loads(done.output)}
    assert done.exit_code == 1
    for name in ("engine", "kubectl", "guest image"):
        assert rows[name]["state"] == "missing"
        assert "./drover up" in rows[name]["remedy"]
    table = CliRunner().invoke(doctor.command, []).output
    assert "engine" in table
    assert "the first ./drover up builds it" in table


def test_an_engine_tells_its_version(tmp_path: Path) -> None:
    act(
        tmp_path / "kube",
        'if [ "$1" = version ]; then echo v9.9.9; else echo Client Version: v9; fi',
    )
    at = doctor.Places(cache=tmp_path, engine=str(tmp_path / "kube"), image=tmp_path)
    assert doctor.check_engine(at).found.startswith("v9.9.9 at ")
    assert doctor.check_kubectl(at).found.startswith("v9 as ./drover k")
    act(tmp_path / "kube", "exit 1")
    assert doctor.check_engine(at).state == "missing"
