"""Which QEMU a VM gets: the one that is wished for where the node has it, and never one that does not know it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent.qemu.rig import SPEC

from drover.agent.ports import HypervisorError
from drover.agent.qemu import bundles
from drover.agent.qemu.settings import Bundle
from drover.api import firmware

OLD = Bundle("old", version="7.2.22", machine_types=frozenset({"pc-q35-7.2", "pc-q35-2.4"}))
NEW = Bundle("new", version="10.0.2", machine_types=frozenset({"pc-q35-7.2", "pc-q35-10.0"}))
OFFERED = {"": OLD, "7.2.22": OLD, "10.0.2": NEW}


def program(path: Path, version: str, types: str, code: int = 0) -> str:
    """A stand-in for QEMU that says what it is."""
    path.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --version ]; then echo "QEMU emulator version {version} (Debian 1:x)"; exit {code}; fi\n'
        f'echo "Supported machines are:"\nprintf "{types}"\n'
    )
    path.chmod(0o755)
    return str(path)


async def test_each_binary_is_asked_once_and_the_default_comes_first(tmp_path: Path) -> None:
    default = program(tmp_path / "a", "10.0.2", "pc-q35-7.2  PC\\nisapc  PC\\n")
    other = program(tmp_path / "b", "9.2.0", "pc-q35-7.2  PC\\n")
    third = program(tmp_path / "c", "7.2.22", "pc-q35-7.2  PC\\npc-q35-2.4  PC\\n")
    found = await bundles.probe(default, [other, third])
    assert found.problems == ()
    assert [offer.version for offer in found.offers] == ["10.0.2", "7.2.22", "9.2.0"]
    assert found.offers[1].machine_types == ("pc-q35-2.4", "pc-q35-7.2")
    assert found.bundles[""] is found.bundles["10.0.2"]


@pytest.mark.parametrize("broken", ["absent", "fails", "tells nothing"])
async def test_a_binary_that_does_not_tell_is_left_out_by_name(tmp_path: Path, broken: str) -> None:
    default = program(tmp_path / "a", "7.2.22", "pc-q35-7.2  PC\\n")
    path = str(tmp_path / "b")
    if broken == "fails":
        program(tmp_path / "b", "9.2.0", "", code=1)
    if broken == "tells nothing":
        program(tmp_path / "b", "9.2.0", "isapc  PC\\n")
    found = await bundles.probe(default, [path])
    assert [offer.version for offer in found.offers] == ["7.2.22"]
    assert path in found.problems[0]


async def test_a_default_that_cannot_be_asked_is_still_started(tmp_path: Path) -> None:
    found = await bundles.probe(str(tmp_path / "none"))
    assert found.offers == ()
    assert bundles.choose(found.bundles, SPEC).bundle.binary == str(tmp_path / "none")


def test_the_wish_is_granted_where_the_node_has_it() -> None:
    assert bundles.choose(OFFERED, replace(SPEC, firmware="10.0.2")) == bundles.Choice(NEW)
    assert bundles.choose(OFFERED, SPEC) == bundles.Choice(OLD)


def test_a_vm_runs_on_the_default_rather_than_not_at_all() -> None:
    choice = bundles.choose(OFFERED, replace(SPEC, firmware="11.1.0"))
    assert choice.bundle is OLD
    assert "QEMU 11.1.0 is not on this node" in choice.why


def test_a_bundle_without_the_machine_type_is_refused_by_name() -> None:
    wish = replace(SPEC, firmware="10.0.2", machine_type="pc-q35-2.4")
    choice = bundles.choose(OFFERED, wish)
    assert choice.bundle is OLD
    assert "QEMU 10.0.2 has no machine type pc-q35-2.4" in choice.why
    with pytest.raises(HypervisorError, match=r"no machine type pc-q35-1\.0"):
        bundles.choose(OFFERED, replace(SPEC, firmware="10.0.2", machine_type="pc-q35-1.0"))


def test_what_is_published_can_be_read() -> None:
    offers = bundles.Probed(OFFERED).offers
    node = {"metadata": {"annotations": {"drover.dev/firmware": firmware.encode(offers)}}}
    assert firmware.offers_of(node) == offers
    assert firmware.can_run(node, "10.0.2", "pc-q35-7.2")
    assert not firmware.can_run(node, "10.0.2", "pc-q35-2.4")
    assert not firmware.can_run(node, "9.0.0", "pc-q35-7.2")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"version": "1"}]', "no json"])
def test_what_cannot_be_read_offers_nothing(text: str) -> None:
    assert firmware.offers_of({"metadata": {"annotations": {"drover.dev/firmware": text}}}) == ()
