"""Prometheus is unpacked beside the machine's packages; without it all goes on."""

from __future__ import annotations

from tests.bootstrap.script import Script

BUILD = 'locate; mkdir -p "$cache"; build_prometheus >&2; folder=$(prometheus_folder); '
SHOW = 'cat "$folder/why" 2>/dev/null || ls "$folder"; prometheus_ready; echo $?'
UNPACK = (
    'mkdir -p "$3/usr/bin"; for one in prometheus promtool; do cp /bin/true "$3/usr/bin/$one"; done'
)


def test_it_is_unpacked_and_not_installed(script: Script) -> None:
    script.program(
        "apt-get", 'case "$*" in *download*) touch prometheus_1_amd64.deb ;; *) exit 9 ;; esac'
    )
    script.program("dpkg-deb", UNPACK)
    assert script.told(BUILD + SHOW).split() == ["prometheus", "promtool", "0"]


def test_where_apt_has_none_it_is_noted(script: Script) -> None:
    script.program("apt-get", "exit 100")
    assert script.told(BUILD + SHOW).splitlines() == [
        "apt has no package prometheus that runs here",
        "0",
    ]
