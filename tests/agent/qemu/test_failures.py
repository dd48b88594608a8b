"""What QEMU's words mean. The words are those of QEMU 7.2."""

from __future__ import annotations

import pytest

from drover.agent.ports import DiskUnavailable, HypervisorError, ImageLocked
from drover.agent.qemu.failures import refused

BLOCKDEV = "qemu-system-x86_64: -blockdev driver=qcow2,file=f,node-name=x: "


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (f"{BLOCKDEV}Could not open '/nope': No such file or directory", DiskUnavailable),
        (f"{BLOCKDEV}Image is not in qcow2 format", DiskUnavailable),
        (f'{BLOCKDEV}Failed to get "write" lock\nIs another process using the image?', ImageLocked),
        ("qemu-system-x86_64: cannot set up guest memory", HypervisorError),
    ],
)
def test_refusals_by_kind(words: str, kind: type[HypervisorError]) -> None:
    error = refused(f"{words}\n")
    assert type(error) is kind
    assert str(error) == words
