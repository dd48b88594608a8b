"""What the comparison lets pass, and what it does not."""

from __future__ import annotations

import pytest
from tests.kubectl.transcript import normalised


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("linux-vm   Running   virtlab-pt-1   10.66.10.14   79m", "linux-vm  Running  NODE  ADDRESS  AGE"),
        ("9m26s 1h 3d4h 5s", "AGE AGE AGE AGE"),
        ("evict-linux-vm-6gzv6 created", "evict-linux-vm-XXXXX created"),
        ("at 2026-11-24T17:16:19Z by c4b806a8-a4ca-49b9-843a-755f985f087a", "at TIME by UID"),
        ("100%  192Mi  50%  1", "100%  192Mi  50%  1"),
        ("v1alpha2  linux-vm-root", "v1alpha2  linux-vm-root"),
    ],
)  # fmt: skip
def test_normalised(text, same):
    assert normalised(text) == same
