"""The style check finds what it is for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tidy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tidy", ROOT / "tools" / "tidy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def faults(tidy: ModuleType, text: str, path: str = "src/drover/agent/x.py") -> str:
    return "\n".join(tidy.check_module(Path(path), text))


HEAD = '"""A module."""\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 1\n", "no docstring"),
        (HEAD + "x = 1\n" * 300, "301 lines"),
        (HEAD + "def f():\n" + "    x = 1\n" * 60, "61 lines"),
        (HEAD + "def f(a, b, c, d, e, f, g, h): ...\n", "8 parameters"),
        (HEAD + "import time\nx = time.time()\n", "use the Clock port"),
        (HEAD + "print(1)\n", "use the log"),
        (HEAD + "def f(x):\n" + "".join(f"{'    ' * n}if x:\n" for n in range(1, 7)) + "    " * 7 + "y = 1\n",
         "nesting 6"),
        (HEAD + "def f(x):\n" + "    if x: pass\n" * 12, "complexity 13"),
    ],
)  # fmt: skip
def test_finds(tidy: ModuleType, text: str, fault: str) -> None:
    assert fault in faults(tidy, text)


def test_lets_good_code_be(tidy: ModuleType) -> None:
    chained = "def f(x):\n    if x:\n        pass\n" + "    elif x:\n        pass\n" * 8
    assert faults(tidy, HEAD + chained) == ""
    assert faults(tidy, HEAD + "print(1)\n", "src/drover/cli/x.py") == ""
    assert faults(tidy, HEAD + "\n# Long module: a reason.\n" + "x = 1\n" * 350) == ""


def test_links_and_hosts(tidy: ModuleType) -> None:
    page = ROOT / "README.md"
    assert list(tidy.check_links(page, "[a](nowhere.md)")) == ["link to nowhere.md leads nowhere"]
    assert list(tidy.check_links(page, "[a](https://example.org) [b](tools/tidy.py#x)")) == []
    assert list(tidy.check_links(page, "[a](README.md#two-commands) [b](#known-gaps)")) == []
    (fault,) = tidy.check_links(page, "[a](README.md#two-ways)")
    assert "README.md#two-ways leads nowhere" in fault
    host = "pypi" + ".org"
    assert list(tidy.check_secrets_of_the_machine(f"see {host}")) == [f"names the host {host}"]
