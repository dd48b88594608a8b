"""Marks outlive the object that wrote them; names that could leave the directory are a bug, not an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drover.agent.journal import DiskJournal
from drover.agent.ports import HostError
from drover.base.checks import InvariantBroken

COPY = "6f6f6b1e-4f0e-4a57-9a5b-0d6c2d1f0a11"


def test_marks_are_read_by_the_next_agent(tmp_path: Path) -> None:
    DiskJournal(tmp_path / "journal").put(COPY, "resuming", "7")
    later = DiskJournal(tmp_path / "journal")
    assert later.get(COPY, "resuming") == "7"
    assert later.get(COPY, "ended") is None
    assert later.copies() == [COPY]


def test_forget_is_idempotent(tmp_path: Path) -> None:
    journal = DiskJournal(tmp_path / "journal")
    journal.put(COPY, "resuming")
    for _ in range(2):
        journal.forget(COPY)
    assert journal.copies() == []
    assert journal.get(COPY, "resuming") is None


def test_file_and_directories_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = DiskJournal(tmp_path / "journal")
    synced: list[str] = []
    real = os.fsync

    def watch(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real(fd)

    monkeypatch.setattr(os, "fsync", watch)
    journal.put(COPY, "resuming")
    assert synced == ["journal", "resuming.part", COPY]


def test_a_mark_is_read_once_from_the_disk(tmp_path: Path) -> None:
    DiskJournal(tmp_path / "journal").put(COPY, "started", "7")
    journal = DiskJournal(tmp_path / "journal")
    assert (journal.get(COPY, "started"), journal.get(COPY, "ended")) == ("7", None)
    os.rename(tmp_path / "journal" / COPY, tmp_path / "away")
    assert (journal.get(COPY, "started"), journal.get(COPY, "ended")) == ("7", None)
    os.rename(tmp_path / "away", tmp_path / "journal" / COPY)
    journal.put(COPY, "ended", "Stopped")
    journal.drop(COPY, "started")
    assert (journal.get(COPY, "started"), journal.get(COPY, "ended")) == (None, "Stopped")


def test_after_a_write_that_failed_the_disk_is_asked(tmp_path: Path) -> None:
    journal = DiskJournal(tmp_path / "journal")
    journal.put(COPY, "copying", "a")
    (tmp_path / "journal" / COPY / "copying.part").mkdir()  # where the new content would go
    with pytest.raises(HostError):
        journal.put(COPY, "copying", "b")
    assert journal.get(COPY, "copying") == "a"


def test_nothing_is_kept_of_a_copy_without_marks(tmp_path: Path) -> None:
    journal = DiskJournal(tmp_path / "journal")
    assert journal.get(COPY, "started") is None
    DiskJournal(tmp_path / "journal").put(COPY, "started", "7")
    assert journal.get(COPY, "started") == "7"


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-x"])
def test_odd_names_break_an_invariant(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvariantBroken):
        DiskJournal(tmp_path / "journal").put(name, "resuming")
