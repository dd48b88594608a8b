"""Each need that the machine does not meet ends the run with its name and the way out."""

from __future__ import annotations

import pytest
from tests.bootstrap.script import LIMIT_S, Script

SMALL_DISK = "echo Filesystem; echo none 9 9 1000000 1% /"


@pytest.mark.parametrize(
    ("name", "program", "text", "way_out"),
    [
        ("processor", "uname", "echo aarch64", "x86-64 machines only"),
        ("root", "id", "echo 1000", "sudo ./drover"),
        ("disk", "df", SMALL_DISK, "DROVER_CACHE"),
        ("namespaces", "unshare", "exit 1", "--privileged"),
    ],
)
def test_an_unmet_need_is_named(
    script: Script, name: str, program: str, text: str, way_out: str
) -> None:
    script.program(program, text)
    done = script.drover("up")
    assert done.returncode == 2
    assert f"need not met: {name}:" in done.stderr
    assert way_out in done.stderr
    assert not script.cache.exists()


@pytest.mark.parametrize(
    ("name", "path", "text", "way_out"),
    [
        ("system", "/etc/os-release", "ID=other\nVERSION_ID=9", "Debian 12 and 13"),
        ("memory", "/proc/meminfo", "MemTotal: 2000000 kB", "give the machine 3 GB"),
        ("tun", "/dev/net/tun", "", "modprobe tun"),
    ],
)
def test_an_unmet_need_that_a_file_tells(
    script: Script, name: str, path: str, text: str, way_out: str
) -> None:
    stand_in = script.cache.parent / "stand-in"
    stand_in.write_text(text)
    done = script.drover("up", before=f"mount --bind {stand_in} {path}")
    assert done.returncode == 2
    assert f"need not met: {name}:" in done.stderr
    assert way_out in done.stderr


def test_missing_packages_without_apt_are_listed(script: Script) -> None:
    script.program("dpkg-query", "exit 1")
    shadow = script.cache.parent / "not-executable"
    shadow.touch()
    hide = f"mount --bind {shadow} $(readlink -f /usr/bin/apt-get)"
    done = script.drover("up", before=hide)
    assert done.returncode == 2
    assert "need not met: packages:" in done.stderr
    assert "qemu-system-x86" in done.stderr


def test_a_go_that_is_too_old_does_not_count(script: Script) -> None:
    script.program("go", "echo go1.25.9")
    assert "programs/go" not in script.told("host_go || true")
    script.program("go", "echo go1.26.0")
    assert "programs/go" in script.told("host_go")
    script.program("go", "echo go1.100.1")
    assert "programs/go" in script.told("host_go")


def test_no_go_and_none_in_the_index(script: Script) -> None:
    code = """
        host_go() { return 1; }
        # An environment whose pip finds nothing.
        /usr/bin/python3() {
            mkdir -p "$3/bin"
            printf '#!/bin/sh\\necho no matching distribution; exit 1\\n' >"$3/bin/pip"
            chmod +x "$3/bin/pip"
        }
        locate; mkdir -p "$cache"
        run_step engine "building the engine" build_engine
    """
    process = script.pieces(code)
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert "need not met: go:" in err
    assert "KUBEBUILDER_ASSETS" in err


def test_a_cache_that_cannot_be_written(script: Script) -> None:
    script.cache.parent.joinpath("cache").write_text("a file in its way")
    done = script.drover("up")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "DROVER_CACHE" in done.stderr
