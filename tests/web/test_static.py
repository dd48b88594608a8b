"""The page's files: those of others are what was taken, ours keep to the policy that the server sends."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from drover.cli.main import cli
from drover.web.server import STATIC

ROOT = Path(__file__).resolve().parents[2]
OURS = sorted(path for path in STATIC.glob("*.*"))


def test_what_others_wrote_is_what_was_taken() -> None:
    said = subprocess.run(
        [sys.executable, ROOT / "tools/vendor_web", "--check"], capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    licences = {path.suffix[1:] for path in (STATIC / "vendor").glob("LICENSE.*")}
    assert {"htm", "preact", "uplot", "xterm", "xterm-fit"} <= licences


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_ours_keep_to_the_policy(path: Path) -> None:
    text = path.read_text()
    for word in (
        "<script>",
        "<style",
        ' style="',
        "javascript:",
        "eval(",
        "new Function",
        "innerHTML",
        "http://",
    ):
        if not (word == "http://" and path.suffix == ".svg"):
            assert word not in text, word


@pytest.mark.parametrize(
    "path", [path for path in OURS if path.suffix == ".js"], ids=lambda path: path.name
)
def test_what_a_module_imports_is_there(path: Path) -> None:
    for name in re.findall(r"""(?:from|import\()\s*"(\./[^"]+)""", path.read_text()):
        assert (STATIC / name).is_file(), name


def test_it_is_not_served_in_clear_beyond_this_machine() -> None:
    said = CliRunner().invoke(cli, ["web", "--kubeconfig", "x", "--address", "192.0.2.1"])
    assert said.exit_code == 2, said.output
    assert "--tls-cert" in said.output
