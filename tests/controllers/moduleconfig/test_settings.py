"""What a ModuleConfig says, and what is told of values that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controllers.world import World, play

from drover.api import conditions as cond
from drover.api.kinds.vm import LiveMigrationPolicy
from drover.api.scheme import EVENT, MODULECONFIG
from drover.controllers.current import CurrentSettings
from drover.controllers.moduleconfig.controller import wire
from drover.controllers.settings import PREFIX, UNLIMITED, Settings, read


def config(settings: Any = None, **notes: str) -> Any:
    annotations = {PREFIX + name.replace("_", "-"): text for name, text in notes.items()}
    spec = {} if settings is None else {"settings": settings}
    return {"metadata": {"name": "virtualization", "annotations": annotations}, "spec": spec}


def limits(**values: Any) -> Any:
    return {"liveMigration": {"limits": values}}


def test_nothing_needs_to_be_set() -> None:
    plain = Settings()
    assert read(None) == read(config()) == read(config({})) == plain
    assert (plain.outbound_per_node, plain.inbound_per_node, plain.sync_per_node) == (1, 1, 1)
    assert plain.bandwidth_bytes_per_s == 640 * 2**20
    assert (plain.completion_timeout_s_per_gib, plain.progress_timeout_s) == (800, 150)
    assert (plain.eviction_hold_s, plain.firmware_updates, plain.firmware_version) == (25, True, "")


def test_the_cluster_limit_follows_the_nodes_until_it_is_set() -> None:
    assert [Settings().cluster_most(nodes) for nodes in (0, 1, 2, 3, 40)] == [2, 2, 2, 3, 40]
    assert read(config(limits(cluster=1))).cluster_most(40) == 1


TYPED = [
    (limits(cluster=4), "cluster_limit", 4),
    (limits(outboundPerNode=2), "outbound_per_node", 2),
    (limits(inboundPerNode=3), "inbound_per_node", 3),
    (limits(syncPerNode=4), "sync_per_node", 4),
    ({"liveMigration": {"bandwidthPerMigration": "1280Mi"}}, "bandwidth_bytes_per_s", 1280 * 2**20),
    ({"liveMigration": {"completionTimeoutPerGiB": 9}}, "completion_timeout_s_per_gib", 9),
    ({"liveMigration": {"progressTimeout": 8}}, "progress_timeout_s", 8),
    ({"evictionHold": 0}, "eviction_hold_s", 0),
    ({"firmware": {"version": "10.0"}}, "firmware_version", "10.0"),
    ({"firmware": {"updates": False}}, "firmware_updates", False),
]


@pytest.mark.parametrize(("settings", "name", "value"), TYPED)
def test_typed(settings: Any, name: str, value: Any) -> None:
    found = read(config(settings))
    assert getattr(found, name) == value
    assert found.problems == ()


ANNOTATED = [
    ("parallel-per-cluster-migration-limit", "disabled", "cluster_limit", UNLIMITED),
    ("parallel-outbound-migrations-per-node", "2", "outbound_per_node", 2),
    ("outbound-migration-limit", "disabled", "outbound_per_node", UNLIMITED),
    ("parallel-inbound-migrations-per-node", "3", "inbound_per_node", 3),
    ("inbound-migration-limit", "disabled", "inbound_per_node", UNLIMITED),
    ("parallel-sync-migrations-per-node", "4", "sync_per_node", 4),
    ("parallel-per-node-migration-limit", "disabled", "sync_per_node", UNLIMITED),
    ("bandwidth-per-migration", "64Mi", "bandwidth_bytes_per_s", 64 * 2**20),
    ("completion-timeout-per-gib", "1200", "completion_timeout_s_per_gib", 1200),
    ("progress-timeout", "20", "progress_timeout_s", 20),
    ("disable-firmware-update", "true", "firmware_updates", False),
    ("disable-firmware-update", "", "firmware_updates", False),
    ("system-migration-policy", "AlwaysForced", "migration_policy",
     LiveMigrationPolicy.ALWAYS_FORCED),
]  # fmt: skip


@pytest.mark.parametrize(("note", "text", "name", "value"), ANNOTATED)
def test_annotated(note: str, text: str, name: str, value: Any) -> None:
    found = read(config(**{note: text}))
    assert getattr(found, name) == value
    assert found.problems == ()


NUMBERS = [note for note, _, _, value in ANNOTATED if value != UNLIMITED and type(value) is int]


@pytest.mark.parametrize("note", NUMBERS)
@pytest.mark.parametrize("text", ["0", "-1", "", "many", "1.5", "1e9999", "9" * 5000, "٣", " 2"])
def test_a_bad_annotation_leaves_the_default_and_is_told(note: str, text: str) -> None:
    found = read(config(**{note: text}))
    [problem] = found.problems
    assert str(problem).startswith(f"annotation {PREFIX}{note}: must be a ")
    assert "the default stays" in str(problem)
    assert {**vars(found), "problems": ()} == vars(Settings())


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        (limits(cluster=0), "spec.settings.liveMigration.limits.cluster"),
        (limits(outboundPerNode="two"), "spec.settings.liveMigration.limits.outboundPerNode"),
        (limits(inboundPerNode=-1), "spec.settings.liveMigration.limits.inboundPerNode"),
        (limits(syncPerNode=True), "spec.settings.liveMigration.limits.syncPerNode"),
        (limits(syncPerNode=[1]), "spec.settings.liveMigration.limits.syncPerNode"),
        ({"liveMigration": {"bandwidthPerMigration": 1}}, "bandwidthPerMigration"),
        ({"evictionHold": 26}, "spec.settings.evictionHold"),
        ({"firmware": {"updates": "no"}}, "spec.settings.firmware.updates"),
        ({"firmware": {"version": 7}}, "spec.settings.firmware.version"),
    ],
)
def test_bad_typed_values_where_another_schema_let_them_pass(settings: Any, where: str) -> None:
    found = read(config(settings))
    assert where in str(found.problems[0])
    assert {**vars(found), "problems": ()} == vars(Settings())


@pytest.mark.parametrize("settings", [{"liveMigration": "x"}, {"liveMigration": {"limits": []}}])
def test_another_shape_is_no_crash(settings: Any) -> None:
    assert read(config(settings)) == Settings()


def test_a_typed_value_wins_and_says_so() -> None:
    found = read(config(limits(outboundPerNode=3), outbound_migration_limit="disabled"))
    assert found.outbound_per_node == 3
    assert "is not used, since spec.settings.liveMigration.limits.outboundPerNode is set" in str(
        found.problems[0]
    )


def test_unknown_and_unsupported_annotations_are_named() -> None:
    found = read(config(bandwith_per_migration="1Gi", disable_tls="true"))
    assert [problem.where.removeprefix(f"annotation {PREFIX}") for problem in found.problems] == [
        "bandwith-per-migration",
        "disable-tls",
    ]


def test_the_object_shows_what_is_not_used() -> None:
    async def story(world: World) -> None:
        current = CurrentSettings(world.manager)
        assert current.now() == Settings()
        bad = {PREFIX + "parallel-outbound-migrations-per-node": "0"}
        await world.create(MODULECONFIG, "virtualization", {}, annotations=bad)
        await world.settle()
        shown = await world.get(MODULECONFIG, "virtualization")
        applied = cond.get_condition(shown, "SettingsApplied") or {}
        assert (applied["status"], applied["reason"]) == ("False", "InvalidSettings")
        assert "parallel-outbound-migrations-per-node" in shown["status"]["message"]
        assert current.now().outbound_per_node == 1
        events, _ = await world.admin.list(EVENT)
        assert [e["type"] for e in events if e["reason"] == "InvalidSettings"] == ["Warning"]
        good = {PREFIX + "parallel-outbound-migrations-per-node": "2"}
        await world.patch(MODULECONFIG, "virtualization", {"metadata": {"annotations": good}})
        await world.settle()
        shown = await world.get(MODULECONFIG, "virtualization")
        assert cond.is_true(shown, "SettingsApplied")
        assert shown["status"]["message"] == ""
        assert current.now().outbound_per_node == 2

    play(story, lambda world: wire(world.manager))


def test_the_settings_of_others_are_left_alone() -> None:
    async def story(world: World) -> None:
        await world.create(MODULECONFIG, "descheduler", {"enabled": True})
        await world.settle()
        assert "status" not in await world.get(MODULECONFIG, "descheduler")

    play(story, lambda world: wire(world.manager))
