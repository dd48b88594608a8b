"""One release meets the next. What agents and controllers exchange, and what an agent leaves for its successor on disk,
is read here as the release before wrote it (``kept_0_1.json``), and as a later one might: with fields and marks that
this one does not know. An agent that is rolled back meets the latter.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drover.agent.agent import incarnation_of
from drover.agent.config import QEMU_USER, AgentConfig
from drover.agent.epochs import Epochs
from drover.agent.journal import DiskJournal
from drover.agent.launching import share_of, spec_of
from drover.agent.ports import MachineSpec
from drover.agent.qemu.files import CopyFiles
from drover.agent.remembered import Remembered
from drover.api import firmware, names
from drover.api import machine as machines
from drover.api.fencing import Evidence
from drover.api.kinds import node as nodes
from drover.base import config_file
from drover.base.ids import RealIds

KEPT: dict[str, Any] = json.loads(Path(__file__).with_name("kept_0_1.json").read_text())
RUNS = "1b1b6b1e-4f0e-4a57-9a5b-0d6c2d1f0b22"


def later(value: Any) -> Any:
    """As a later release might write it: every object has a field more."""
    if isinstance(value, dict):
        return {**{key: later(inner) for key, inner in value.items()}, "later": {"than": ["us"]}}
    return [later(inner) for inner in value] if isinstance(value, list) else value


def same(value: Any) -> Any:
    return value


releases = pytest.mark.parametrize("release", [same, later], ids=["before", "after"])


def journal_of(directory: Path) -> DiskJournal:
    journal = DiskJournal(directory)
    for copy, marks in KEPT["journal"].items():
        for mark, value in marks.items():
            journal.put(copy, mark, value)
        journal.put(copy, "a-later-mark", "whatever")
    return journal


def test_a_journal_keeps_its_meaning(tmp_path: Path) -> None:
    """The same life goes on, by the same deadline, and no lower epoch is believed."""
    journal = journal_of(tmp_path / "journal")
    boot = KEPT["journal"]["node"]["boot"]
    assert incarnation_of(journal, RealIds(), boot) == KEPT["journal"]["node"]["incarnation"]
    remembered = Remembered.load(journal.get("node", "armed") or "")
    assert remembered is not None
    timing = remembered.timing
    assert (timing.timeout_s, timing.io_s, len(remembered.roster.members)) == (8.0, 2.0, 2)
    assert json.loads(journal.get("node", "promises") or "") == {"node-3": "nf-node-3-1"}
    epochs = Epochs(journal)
    owner = {"uid": KEPT["machine"]["vm_uid"]}
    lease = {"metadata": {"name": "x", "ownerReferences": [owner]}, "spec": {"epoch": 6}}
    assert epochs.stale(lease)
    assert journal.get(RUNS, "resuming") is not None
    assert set(journal.copies()) == set(KEPT["journal"])


@releases
def test_what_an_agent_remembers_of_its_life(release: Any) -> None:
    said = json.loads(KEPT["journal"]["node"]["armed"])
    remembered = Remembered.load(json.dumps(release(said)))
    assert remembered is not None
    assert remembered.life == said["life"]


@releases
def test_a_running_qemu_is_adopted_by_its_spec(release: Any, tmp_path: Path) -> None:
    """One whose spec cannot be read is killed: nobody could talk to it."""
    files = CopyFiles(tmp_path / "run", tmp_path / "log")
    files.run_dir.mkdir()
    files.spec.write_text(json.dumps(release(KEPT["spec"])))
    spec = files.load_spec()
    assert {**KEPT["spec"], "display": False, "uefi_vars": ""} == {
        **asdict(spec),
        "disks": [asdict(disk) for disk in spec.disks],
    }


def test_the_release_before_finds_a_qemu_of_ours(tmp_path: Path) -> None:
    """By the monitor's place; and whatever it misses in the spec would make it kill the QEMU."""
    files = CopyFiles(tmp_path / "run", tmp_path / "log")
    files.make(msgspec.convert(KEPT["spec"], MachineSpec))
    assert set(KEPT["spec"]) <= set(json.loads(files.spec.read_bytes()))
    assert files.monitor == files.run_dir / "qmp"


@releases
def test_a_pod_tells_an_agent_what_to_run(release: Any) -> None:
    text = json.dumps(release(KEPT["machine"]))
    meta = {"annotations": {names.MACHINE_ANNOTATION: text}}
    spec = spec_of({"metadata": meta})
    assert spec is not None
    assert (spec.vm, spec.cores, spec.display) == ("default/linux-vm", 1, False)
    share = share_of({"metadata": meta}, spec)  # and no word of resources
    assert (share.cpu_milli, share.memory_bytes > spec.memory_bytes) == (1000, True)
    assert machines.decode(text)["machine_type"] == "pc-q35-7.2"  # the controllers read it, too


@releases
def test_a_node_tells_the_controllers_of_its_life(release: Any) -> None:
    """Evidence that cannot be read proves nothing: a node would not be fenced, and its name could be taken."""
    kept = KEPT["evidence"]
    said = {**kept, "armed": release(kept["armed"])}
    evidence = Evidence.load(json.dumps({**said, "later": 1} if release is later else said))
    assert (evidence.seq, evidence.armed and evidence.armed.age_s) == (41, 7.0)
    assert evidence.armed is not None
    assert evidence.armed.late_s == 3.0  # it did not say it, and meant this
    assert evidence.promises == kept["promises"]


@releases
def test_a_node_tells_what_it_runs_and_offers(release: Any) -> None:
    annotations = {
        names.MACHINES_ANNOTATION: json.dumps(release(KEPT["machines"])),
        names.FIRMWARE_ANNOTATION: json.dumps(release(KEPT["offers"])),
    }
    lease = {"metadata": {"name": "node-1", "annotations": annotations}}
    (told,) = nodes.copies(lease) or ()
    assert (told.vm, told.pod, told.epoch) == ("default/linux-vm", RUNS, 7)
    (offer,) = firmware.offers_of(lease)
    assert offer.machine_types == ("pc-q35-7.2",)


def test_a_configuration_of_before_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "agent.json"
    file.write_text(json.dumps(KEPT["config"]))
    config = config_file.load(file, AgentConfig)
    assert (config.qemu_user, config.cgroup) == (QEMU_USER, "")
