"""The image of the controllers is built where Debian's tools can be had; without it all goes on."""

from __future__ import annotations

import pytest
from tests.bootstrap.script import Script

BUILD = 'locate; mkdir -p "$cache"; build_container >&2; folder=$(container_folder); '
SHOW = 'cat "$folder/why" 2>/dev/null || ls "$folder"; container_ready; echo $?'
MIRROR = """echo 'http://mirror.example/debian /usr/share/keyrings/debian-archive-keyring.gpg'"""


@pytest.mark.parametrize(
    ("apt", "dpkg", "why"),
    [
        ("exit 0", "exit 0", "apt has no source of bookworm main"),
        (f'case "$*" in *indextargets*) {MIRROR} ;; *) exit 100 ;; esac', "exit 0",
         "apt has no buildah and mmdebstrap"),
        (f'case "$*" in *indextargets*) {MIRROR} ;; *download*) touch one.deb ;; esac', "exit 0",
         "mmdebstrap makes no Debian here"),
    ],
)  # fmt: skip
def test_where_it_cannot_be_built_that_is_noted(
    script: Script, apt: str, dpkg: str, why: str
) -> None:
    script.program("apt-get", apt)
    script.program("dpkg-deb", dpkg)
    assert script.told(BUILD + SHOW).splitlines() == [why, "0"]


def test_a_changed_dockerfile_means_a_new_image(script: Script) -> None:
    checkout = script.copy_of_inputs()
    key = 'root="$CHECKOUT"; locate; container_folder'
    script.environment["CHECKOUT"] = str(checkout)
    before = script.told(key)
    (checkout / "deploy" / "Dockerfile").write_text("FROM scratch\n")
    assert script.told(key) != before
