"""What is committed names no registry and no place on the machine that made it."""

from __future__ import annotations

import re
import subprocess

import pytest
from tests.bootstrap.script import ROOT

LOCKS = [
    "requirements.txt",
    "tools/bootstrap/uv.txt",
    "tools/bootstrap/go.txt",
    "tools/bootstrap/clients.txt",
]
SHELL = [
    *("drover", "test", ".ci/run", "engine/build"),
    *("tools/bootstrap/common.sh", "tools/bootstrap/needs.sh", "tools/bootstrap/stages.sh"),
    "tools/bootstrap/firmware.sh",
    "tools/bootstrap/prometheus.sh",
    "tools/bootstrap/browser.sh",
    "tools/bootstrap/chart.sh",
    "engine/versions/build",
    "tools/bootstrap/clients.sh",
    "tools/bootstrap/container.sh",
    "tools/bootstrap/guest.sh",
    *("tools/debian/image", "tools/debian/prepare", "tools/debian/customize"),
    *(
        "tools/bootstrap/uninstall.sh",
        "tools/bootstrap/kube-from-assets",
    ),
    "tools/bootstrap/relock",
]


def tracked_files() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_names_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    requirements = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert requirements
    for line in requirements:
        assert re.match(r"[a-z0-9.-]+==\S+( ; .*)? \\$", line), line
    assert text.count("--hash=sha256:") >= len(requirements)
    assert "://" not in text
    assert "index" not in text


def test_the_lock_holds_what_is_asked_for() -> None:
    lock = (ROOT / "requirements.txt").read_text()
    for line in (ROOT / "requirements.in").read_text().splitlines():
        name = re.match(r"[A-Za-z0-9_.-]+", line)
        if name:
            pinned = re.sub(r"[._-]+", "-", name[0]).lower()
            assert re.search(rf"^{re.escape(pinned)}==", lock, re.MULTILINE), pinned


def test_no_registry_host_and_no_machine_path_is_committed() -> None:
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "proxy.golang" + ".org"]
    hosts += ["deb.debian" + ".org", "registry.npmjs" + ".org"]
    banned = [*hosts, "/work" + "/main", "/work" + "/shared", "/tmp/" + "brief", "/opt" + "/drv-"]
    for name in tracked_files():
        text = (ROOT / name).read_bytes()
        for word in banned:
            assert word.encode() not in text, f"{name} names {word}"


@pytest.mark.parametrize("name", SHELL)
def test_shell_pieces_parse(name: str) -> None:
    done = subprocess.run(
        ["bash", "-n", ROOT / name], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_entrances_may_be_run() -> None:
    for name in (
        *("drover", "test", ".ci/run", "engine/build", "tools/image/build"),
        *(
            "tools/debian/image",
            "tools/debian/build",
            "tools/debian/prepare",
            "tools/debian/customize",
        ),
    ):
        assert (ROOT / name).stat().st_mode & 0o111, name
