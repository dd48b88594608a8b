"""A second QEMU is fetched from the mirror that apt uses, beside the installed one; without it all goes on."""

from __future__ import annotations

import pytest
from tests.bootstrap.script import Script

BUILD = 'locate; mkdir -p "$cache"; build_firmware >&2; cat "$firmware/why" 2>/dev/null || ls "$firmware"'
BOOKWORM = 'system_version() { echo debian12; }; firmware_folder() { echo "$cache/fw"; }; '
# Stand-ins: a mirror by another name, and packages that hold one program.
APT = """
case "$*" in
    indextargets*) echo "http://mirror.test/debian/ /keys/its.gpg" ;;
    *\\ update) grep -q "http://mirror.test/debian/ bookworm-backports main" "$(
        printf '%s\\n' "$@" | sed -n 's/^Dir::Etc::SourceList=//p')" ;;
    *install*) touch "$(printf '%s\\n' "$@" | sed -n 's/^Dir::Cache::Archives=//p')/qemu.deb" ;;
esac
"""
DPKG = 'mkdir -p "$3/usr/bin"; cp "/bin/true" "$3/usr/bin/qemu-system-x86_64"'


def test_the_packages_come_from_the_users_mirror(script: Script) -> None:
    script.program("apt-get", APT)
    script.program("dpkg-deb", DPKG)
    assert "qemu-system-x86_64" in script.told(BOOKWORM + BUILD)
    assert script.told(BOOKWORM + "locate; firmware_ready; echo $?") == "0"
    script.told(BOOKWORM + 'locate; "$firmware/qemu-system-x86_64" --version')


@pytest.mark.parametrize(
    ("failing", "why"),
    [
        ('[ "$1" = indextargets ] || exit 100', "apt has no source of bookworm"),
        (f'case "$*" in *update*) exit 100 ;; *) {APT.strip()} ;; esac', "cannot be fetched"),
    ],
)
def test_what_cannot_be_had_is_noted_and_nothing_fails(
    script: Script, failing: str, why: str
) -> None:
    script.program("apt-get", failing)
    assert why in script.told(BOOKWORM + BUILD)
    assert script.told(BOOKWORM + "locate; firmware_ready; echo $?") == "0"
    assert not (script.cache / "build/firmware").exists()


def test_a_bundle_that_does_not_run_is_not_offered(script: Script) -> None:
    script.program("apt-get", APT)
    script.program("dpkg-deb", DPKG.replace("/bin/true", "/bin/false"))
    assert "does not run here" in script.told(BOOKWORM + BUILD)


def test_a_system_whose_own_qemu_is_new_enough_needs_no_other(script: Script) -> None:
    newer = BOOKWORM.replace("echo debian12", "echo debian13")
    assert "debian13 is the newest" in script.told(newer + BUILD)
