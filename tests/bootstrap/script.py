"""Runs the bootstrap's shell scripts in a world of their own: an empty cache, chosen programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 20
# Where the machine's own programs are; what a test puts before them shadows them.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Script:
    """A cache, a folder of programs that come first in PATH, and ways to run something there."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.environment = {
            "PATH": f"{self.programs}:{PATH}",
            "HOME": str(folder),
            "DROVER_CACHE": str(self.cache),
            "LC_ALL": "C.UTF-8",
        }

    def program(self, name: str, text: str) -> None:
        """Puts a shell script before the machine's program of that name."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run(self, *command: str | Path, before: str = "") -> subprocess.CompletedProcess[str]:
        """Runs to the end. ``before`` is shell run first, in namespaces of its own."""
        argv = [str(word) for word in command]
        if before:
            argv = ["unshare", "--mount", "--net", "sh", "-ec", f'{before}; exec "$@"', "sh", *argv]
        return subprocess.run(
            argv,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    def drover(self, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
        return self.run(ROOT / "drover", *arguments, before=before)

    def pieces(self, code: str) -> subprocess.Popen[str]:
        """Starts shell code that has the pieces of the bootstrap at hand."""
        load = "\n".join(
            [
                "set -euo pipefail",
                f"root={ROOT}",
                'for piece in common needs stages; do . "$root/tools/bootstrap/$piece.sh"; done',
            ]
        )
        return subprocess.Popen(
            ["bash", "-c", f"{load}\n{code}"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self, code: str) -> str:
        """What shell code prints; it must succeed."""
        process = self.pieces(code)
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, err
        return out.strip()

    def copy_of_inputs(self) -> Path:
        """A checkout of what the keys of the cache are made of, free to be changed."""
        checkout = self.cache.parent / "checkout"
        for name in ("engine", "tools"):
            shutil.copytree(ROOT / name, checkout / name)
        (checkout / "deploy").mkdir()
        for name in ("requirements.txt", "requirements.in", "deploy/Dockerfile"):
            shutil.copy(ROOT / name, checkout / name)
        return checkout

    def set_up_by_hand(self) -> None:
        """A finished set-up, in which Python only says what it was started with."""
        self.environment["DROVER_ENGINE"] = self.environment["DROVER_CHART"] = "/bin/true"
        venv, image, firmware = self.told('locate; echo "$venv $image $firmware"').split()
        Path(image).mkdir(parents=True)
        optional = [f"{stage}_folder" for stage in ("prometheus", "browser", "container")]
        for folder in (Path(firmware), *(Path(self.told(one)) for one in optional)):
            folder.mkdir(parents=True)
            (folder / "why").write_text("there is none here\n")
        python = Path(venv) / "bin/python"
        python.parent.mkdir(parents=True)
        python.write_text('#!/bin/sh\necho "ran $*"\nenv | grep -E "^(DROVER|PYTHON)"\n')
        python.chmod(0o755)
        (Path(venv) / "ready").touch()
        self.program("dpkg-query", f"sed -n 's/$/ installed/p' {ROOT}/tools/bootstrap/packages.txt")


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def environment_of(text: str) -> dict[str, str]:
    """The variables that the stand-in for Python printed."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {pair[0]: pair[1] for pair in pairs}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
