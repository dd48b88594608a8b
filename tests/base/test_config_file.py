"""Configuration files say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from drover.base.config_file import BadConfig, load, save


class Small(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    count: int = 3


def test_gives_back_what_was_saved(tmp_path: Path) -> None:
    save(tmp_path / "c.json", Small(name="a", count=5))
    assert load(tmp_path / "c.json", Small) == Small(name="a", count=5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"nam": "a"}', "nam"),
        ('{"count": 1}', "name"),
        ('{"name": 7}', "name"),
        ("{", "truncated"),
    ],
)
def test_names_the_fault(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "c.json"
    file.write_text(text)
    with pytest.raises(BadConfig, match=told) as refused:
        load(file, Small)
    assert str(file) in str(refused.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="No such file"):
        load(tmp_path / "none.json", Small)
