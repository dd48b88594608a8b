"""Epochs only rise, and what the disk did not take is not known."""

from __future__ import annotations

import pytest

from drover.agent.epochs import Epochs
from drover.agent.ports import HostError
from drover.api.kinds.vml import RESTORE_LEAP
from drover.api.wire import Object
from drover.sim.parts import MemoryJournal


class FullDisk(MemoryJournal):
    full = False

    def put(self, copy: str, mark: str, value: str = "") -> None:
        if self.full:
            raise HostError("no space left on device")
        super().put(copy, mark, value)


def lease(epoch: int) -> Object:
    return {"metadata": {"name": "a", "namespace": "default"}, "spec": {"epoch": epoch}}


def test_what_the_disk_refused_is_refused_at_the_next_look_too() -> None:
    journal = FullDisk()
    epochs = Epochs(journal)
    epochs.note(lease(1))
    journal.full = True
    for _ in range(2):
        with pytest.raises(HostError):
            epochs.note(lease(2))
    journal.full = False
    epochs.note(lease(2))
    assert Epochs(journal).stale(lease(1))


def test_one_settlement_stands_above_all_that_was_found_forgotten() -> None:
    journal = MemoryJournal()
    Epochs(journal).note(lease(7))
    for _ in range(4):
        Epochs(journal).rewound()  # each time by an agent that was started anew
    epochs = Epochs(journal)
    assert epochs.stale(lease(8))
    assert not epochs.stale(lease(5 + RESTORE_LEAP))


def test_after_a_settlement_a_further_restore_counts_anew() -> None:
    epochs = Epochs(MemoryJournal())
    epochs.note(lease(7))
    epochs.rewound()
    epochs.note(lease(7 + RESTORE_LEAP))
    epochs.rewound()
    assert epochs.stale(lease(7 + RESTORE_LEAP))


@pytest.mark.parametrize("mark", ["", "3", "x y", " "])
def test_a_mark_that_says_nothing_is_no_note(mark: str) -> None:
    journal = MemoryJournal()
    Epochs(journal).note_mark(mark)
    assert not Epochs(journal).stale(lease(0))


def test_the_mark_of_an_arrival_is_as_good_as_a_note() -> None:
    journal = MemoryJournal()
    Epochs(journal).note_mark(Epochs(MemoryJournal()).mark(lease(3)))
    assert Epochs(journal).stale(lease(2))
    assert not Epochs(journal).stale(lease(3))
