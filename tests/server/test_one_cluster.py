"""A server beside which another cluster of the same hosts lives does not serve."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.server.test_config import config_at

from drover.base import config_file
from drover.server import main
from drover.server.config import Declared, ServerConfig, declared_file
from drover.server.errors import ControlPlaneError
from drover.server.etcd import Member, Seen
from drover.server.one_cluster import Left, Others, left, require_one

ONE, TWO, THREE = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def seen(cluster: str, *addresses: str) -> Seen:
    members = [Member(at, f"at-{at}", at, False) for at in addresses]
    return Seen(cluster, members)


def others(*serving: str, **at: Seen) -> Others:
    """Etcds that answer, each by its number, and the addresses at which an API does."""
    etcds = {f"10.0.0.{number[1:]}": found for number, found in at.items()}

    def look(address: str) -> Seen:
        if address not in etcds:
            raise ControlPlaneError("no answer")
        return etcds[address]

    return Others(look, lambda address: address in serving)


def restored(config: ServerConfig, **servers: str) -> None:
    config.plane.path.mkdir(exist_ok=True)
    config_file.save(declared_file(config.plane), Declared(id="x", servers=servers))


def test_servers_of_one_cluster_and_those_that_are_off_are_no_obstacle(tmp_path: Path) -> None:
    ours = seen("a", ONE, TWO, THREE)
    require_one(config_at(tmp_path), ours, others(TWO, n2=ours))


def test_one_that_was_lost_is_left_by_the_one_that_was_restored_alone(tmp_path: Path) -> None:
    """Also while the other one's API is away."""
    there = others(n2=seen("new", TWO), n3=seen("old", ONE, TWO, THREE))
    with pytest.raises(Left, match=r"at-10\.0\.0\.2 at 10\.0\.0\.2 was restored without"):
        require_one(config_at(tmp_path), seen("old", ONE, TWO, THREE), there)


def test_the_restored_one_stays_down_only_while_one_of_before_serves(tmp_path: Path) -> None:
    """It came back while this one was off. This one has never heard of it but by its restore."""
    config, before, after = config_at(tmp_path), seen("old", ONE, TWO), seen("new", ONE)
    restored(config, two=TWO)
    with pytest.raises(ControlPlaneError, match=r"^two at .*runs another cluster") as refused:
        require_one(config, after, others(TWO, n2=before))
    assert not isinstance(refused.value, Left)
    require_one(config, after, others(n2=before))  # it stays down itself
    require_one(config, after, others(TWO, n2=seen("new", ONE, TWO)))  # it has joined anew


def test_one_that_was_not_restored_among_those_that_were(tmp_path: Path) -> None:
    """By their names and addresses they are one another's members still."""
    config, all_of_them = config_at(tmp_path), (ONE, TWO, THREE)
    restored(config, two=TWO, three=THREE)
    there = {"n2": seen("new", *all_of_them), "n3": seen("old", *all_of_them)}
    with pytest.raises(ControlPlaneError, match=r"^three at .*runs another cluster"):
        require_one(config, seen("new", *all_of_them), others(TWO, THREE, **there))
    require_one(config, seen("new", *all_of_them), others(TWO, **there))


def test_hosts_are_told_of_those_that_a_restore_has_left(tmp_path: Path) -> None:
    config = config_at(tmp_path)
    assert left(config, seen("a", ONE).members) == []
    restored(config, two=TWO, three=THREE)
    assert left(config, seen("a", ONE, THREE).members) == ["two"]


@pytest.mark.parametrize("joins", [False, True])
def test_the_api_waits_for_it_at_each_start(tmp_path: Path, joins: bool) -> None:
    config = config_at(tmp_path, joins=joins)
    plane = config.plane
    plane.run.mkdir(parents=True)
    plane.one_cluster.touch()
    main.write_files(config, main._now())
    assert not plane.one_cluster.exists()
    parts = {one.name: one for one in main.parts_of(config, tmp_path / "server.toml")}
    assert parts["apiserver"].after == str(plane.one_cluster)
    assert "drover.server.one_cluster" in parts["one-cluster"].argv
    assert parts["one-cluster"].once
    assert not parts["etcd"].after
