"""A home: its lock, its settings, its place; the register of labs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from drover.lab.errors import LabBusy, LabError
from drover.lab.home import Home, Settings, claim_index, release_index
from drover.lab.topology import Topology, lab_id


@pytest.fixture(autouse=True)
def _own_register(tmp_path, monkeypatch):
    monkeypatch.setenv("DROVER_CACHE", str(tmp_path / "cache"))


def home_at(path: Path, settings: Settings | None = None) -> Home:
    home = Home.at(path)
    home.path.mkdir(parents=True, exist_ok=True)
    if settings:
        home.store(settings)
    return home


def test_only_one_command_works_on_a_home(tmp_path):
    home = Home.at(tmp_path / "h")
    with (
        home.locked("up"),
        pytest.raises(LabBusy, match=r"`drover up` \(process \d+\) is at work"),
        home.locked("down"),
    ):
        pass
    with home.locked("down"):
        pass


def test_settings_are_remembered(tmp_path):
    home = home_at(tmp_path / "h")
    assert home.settings() is None
    home.store(Settings(4, 5))
    assert home.settings() == Settings(4, 5)
    assert Settings(4, 2).node_names == ["virtlab-pt-1", "virtlab-pt-2"]


def test_damaged_settings_are_named_with_the_way_out(tmp_path):
    home = home_at(tmp_path / "h")
    home.settings_file.write_text("{")
    with pytest.raises(LabError, match=r"lab\.json is damaged.*drover reset"):
        home.settings()


def test_a_second_lab_gets_other_addresses_even_while_the_first_is_down(tmp_path):
    first, second = home_at(tmp_path / "1"), home_at(tmp_path / "2")
    first.store(Settings(claim_index(first, set()), 3))
    assert first.settings() == Settings(0, 3)
    assert claim_index(second, set()) == 1


def test_addresses_in_use_on_the_machine_are_passed_over(tmp_path):
    assert claim_index(home_at(tmp_path / "1"), {0, 1, 3}) == 2


def test_a_lab_that_is_gone_frees_its_addresses(tmp_path):
    first = home_at(tmp_path / "1")
    first.store(Settings(claim_index(first, set()), 3))
    shutil.rmtree(first.path)
    assert claim_index(home_at(tmp_path / "2"), set()) == 0


def test_reset_frees_the_addresses(tmp_path):
    first = home_at(tmp_path / "1")
    first.store(Settings(claim_index(first, set()), 3))
    release_index(first)
    assert claim_index(home_at(tmp_path / "2"), set()) == 0


def test_a_damaged_register_does_not_stop_anybody(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "labs.json").write_text("nonsense")
    assert claim_index(home_at(tmp_path / "1"), set()) == 0


@pytest.mark.parametrize(
    ("path", "word"), [("/run/lab", "under a directory"), ("/" + "x" * 250, "choose a shorter")]
)
def test_places_that_do_not_serve(path, word):
    with pytest.raises(LabError, match=word):
        Home.at(path).check_place()


def test_a_directory_with_strangers_files_becomes_no_home(tmp_path):
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "thesis.tex").write_text("")
    with pytest.raises(LabError, match=r"holds other files \(thesis\.tex"):
        Home.at(tmp_path / "h").require_empty()
    home_at(tmp_path / "2").require_empty()


def test_only_what_is_ours_is_removed(tmp_path):
    home = home_at(tmp_path / "h", Settings(0, 3))
    home.disks.mkdir()
    (home.disks / "a.qcow2").touch()
    (home.path / "thesis.tex").write_text("years of work")
    with home.locked("reset"):
        assert home.remove_contents() == ["thesis.tex"]
    assert sorted(path.name for path in home.path.iterdir()) == [".lock", "thesis.tex"]
    (home.path / "thesis.tex").unlink()
    assert home.remove_contents() == []
    assert not home.path.exists()


def test_addresses_follow_from_the_index():
    first, second = Topology(0), Topology(1)
    assert (first.vm_cidr, first.vm_gateway, first.api_server) == (
        "10.66.10.0/24",
        "10.66.10.254",
        "https://10.67.10.1:6443",
    )
    assert (second.node_address(1), second.machine) == ("10.67.11.11", "10.67.11.254")


def test_ids_of_labs_differ_and_fit_an_interface_name():
    assert lab_id(Path("/a")) != lab_id(Path("/b"))
    assert len(f"drv{lab_id(Path('/a'))}") <= 15
