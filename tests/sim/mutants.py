"""Planted bugs: each takes one rule out of a copy of the source, by replacing text that must be there.

The product has no switch for any of this. ``fails`` names the tests that must fail, and among the
scenarios of the rules no others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.remembered import WORLD, remembered

ROOT = Path(__file__).parents[2]
RULES = "tests/sim/test_scenarios_rules.py"
FAILURES = "tests/sim/test_scenarios_failures.py"
FENCING = "tests/sim/test_scenarios_fencing.py"
PROMISES = "tests/sim/test_scenarios_promises.py"
RESTORE = "tests/sim/test_scenarios_restore.py"
REJOIN = "tests/sim/test_scenarios_rejoin.py"
PROFILES = "tests/sim/test_scenarios_profiles.py"
LEASE = "tests/sim/test_scenarios_lease.py"
DEAF = "tests/sim/test_scenarios_deaf.py"
LEADERS = "tests/sim/test_scenarios_leaders.py"
ACTS = "tests/controllers/fencing/test_act.py"
BELONGINGS = "tests/sim/test_scenarios_belongings.py"
SLOTS = "tests/sim/test_scenarios_slots.py"
DECIDE = "tests/controllers/fencing/test_decide.py"
LIMIT_S = 1800  # of one mutant, against one that hangs: they take half a minute, but go last on a busy machine
REBALANCE = "tests/controllers/rebalance"
PLAYED = (*WORLD, "src/drover/cli", REBALANCE)


@dataclass(frozen=True)
class Edit:
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    name: str
    edits: tuple[Edit, ...]
    fails: str
    suite: str = RULES

    def found_by(self, failed: list[str]) -> bool:
        """By its scenario, with whatever parameters, and no other."""
        return len(set(failed)) == 1 and failed[0].startswith(self.fails)


def _rule(number: int, name: str, *edits: Edit) -> Mutant:
    return Mutant(f"rule {number}: {name}", edits, f"test_rule_{number}_")


_BLIND_WRITE = Edit(
    "agent/vmlease.py",
    "answer = await self._client.replace(scheme.VML, wanted)",
    """answer = await self._client.patch(
                scheme.VML, wanted["metadata"]["name"], wanted["metadata"]["namespace"],
                {"metadata": {"finalizers": wanted["metadata"]["finalizers"]}, "spec": wanted["spec"]},
            )""",
)

MUTANTS = (
    _rule(
        1,
        "an absent lease counts as released",
        Edit("controllers/vm/decide.py", "    if lease is None and power.lease:\n        return _lease",
             "    if False and power.lease:\n        return _lease"),
    ),
    _rule(2, "writes to a lease carry no version", _BLIND_WRITE),
    _rule(
        3,
        "any life of the node runs its leases",
        Edit("agent/vmlease.py", 'elif spec.get("nodeIncarnation") == self._incarnation:', "elif True:"),
    ),
    _rule(
        4,
        "the mark is written after cont",
        Edit("agent/acts.py",
             'context.journal.put(keeper.copy, "resuming", context.leases.epochs.mark(lease))', "pass"),
        Edit("agent/acts.py",
             'keeper.log.mark("resumed", ground=ground.value, state=state.value)\n',
             'keeper.log.mark("resumed", ground=ground.value, state=state.value)\n'
             '    if view.is_target:\n'
             '        context.journal.put(keeper.copy, "resuming", "late")\n'),
    ),
    _rule(
        5,
        "taking back needs no write",
        Edit("agent/handover.py",
             "outcome = await context.leases.give(lease, context.leases.party(keeper.copy))",
             "outcome = Cas.ACKED"),
    ),
    _rule(
        6,
        "cont is sent in any state",
        Edit("agent/resume.py", "if state not in _STATES[ground]:", "if False:"),
        Edit("agent/resume.py",
             "if ground is Ground.ARRIVAL and migration.state is not MigrationState.COMPLETED:",
             "if False:"),
    ),
    _rule(
        7,
        "the target does not look how its guest arrived",
        Edit("agent/decide.py",
             "died = machine.state in (RunState.SHUTDOWN, RunState.PANICKED)", "died = False"),
    ),
    _rule(
        10,
        "a restore is not waited for",
        Edit("controllers/restoring/restorer.py",
             "            return await self._look()\n", "            return True\n"),
    ),
    Mutant(
        "rule 10: a lease of the past counts",
        (Edit("agent/epochs.py",
              'return int(lease["spec"].get("epoch", 0)) < self._known.get(_vm(lease), 0)', "return False"),),
        "test_a_lease_of_the_past_starts_nothing",
        RESTORE,
    ),
    Mutant(
        "rule 10: copies that the backup does not know are not waited for",
        (Edit("controllers/restoring/restorer.py",
              "waits = waits or dict.fromkeys(await self._unknown(leases))", "pass"),),
        "test_a_disk_that_another_vm_had_taken_since_",
        RESTORE,
    ),
    Mutant(
        "rule 10: a life that began after the backup ends",
        (Edit("agent/nodelease.py", "if self._epoch is not None and there in self._followed:", "if False:"),),
        "test_a_life_that_began_after_the_backup_",
        RESTORE,
    ),
    _rule(
        11,
        "a disk in other hands is taken",
        Edit("controllers/vm/act.py",
             'if present and present["uid"] != view.uid:', "if False:"),
        Edit("controllers/vm/needs.py",
             "if holder is not None and holder[1] != vm_uid:", "if False:"),
    ),
    _rule(
        13,
        "a Node that was deleted is not registered again",
        Edit("agent/node.py",
             "                        await self._register()",
             "                        if written < 0:\n"
             "                            await self._register()"),
    ),
    _rule(
        14,
        "only Pods are reconciled, not leases",
        Edit("agent/copies.py",
             "        for lease in self._leases.all():\n            self._lease_changed(None, lease)\n",
             ""),
        Edit("agent/copies.py", "for copy in self._context.journal.copies():", "for copy in ():"),
    ),
    _rule(
        17,
        "a release gives no reason",
        Edit("agent/vmlease.py", '"lastReason": reason}', '"lastReason": ""}'),
    ),
    _rule(
        18,
        "an eviction is allowed at the hand-over",
        Edit("controllers/evacuation/review.py",
             "if pod is None or pods.ended(pod):",
             "if pod is None or pods.ended(pod) or (holder and holder != uid_of(pod)):"),
    ),
    _rule(
        19,
        "a hand-over that never left is settled like one that did",
        Edit("agent/handover.py",
             '"TargetGone"\n        memory.handover = _not_sent(keeper)',
             '"TargetGone"\n        memory.handover = HandOverState.UNKNOWN'),
    ),
    Mutant(
        "rule 19: a copy begins whatever is known of the node",
        (Edit("agent/decide.py", "return StartCopy() if view.node_fresh else Wait(PROGRESS_INTERVAL_S)",
              "return StartCopy()"),),
        "test_rule_19_a_copy_begins_",
    ),
    Mutant(
        "rule 19: the target is not looked at again",
        (Edit("agent/handover.py", "return Party(pods.uid(pod), node, incarnation) if sound else None",
              "return Party(pods.uid(pod), node, incarnation)"),),
        "test_rule_19_the_target_is_looked_at_again_",
    ),
    Mutant(
        "the lease is handed over before the copy is completed",
        (Edit("agent/decide.py",
              "    if machine.migration.state in MOVING and view.marks.copying:\n",
              "    if machine.migration.state is MigrationState.DEVICE:\n"
              "        return HandOver()\n"
              "    if machine.migration.state in MOVING and view.marks.copying:\n"),),
        "test_the_last_word_is_lost_and_the_source_resumes_by_itself",
        FAILURES,
    ),
    Mutant(
        "the source goes on when the hand-over timed out",
        (Edit("agent/decide.py", "case HandOverState.UNSENT:",
              "case HandOverState.UNSENT | HandOverState.UNKNOWN:"),),
        "test_a_hand_over_that_lands_late_is_refused",
        FAILURES,
    ),
    Mutant(
        "F is short: a node is condemned before its deadline",
        (Edit("controllers/fencing/decide.py",
              "left_s = armed.dead_s() + extra_s - node.still_s",
              "left_s = armed.age_s - 0.3 - node.still_s"),),
        "test_an_isolated_node_kills_its_vms_before_they_start_elsewhere",
        FENCING,
    ),
    Mutant(
        "a voucher is not noted",
        (Edit("agent/life.py", "        self._vouched[node] = now_s\n", "        pass\n"),),
        "test_a_node_that_lives_by_its_peers_word_is_not_fenced",
        FENCING,
    ),
    Mutant(
        "rule 15: a condemned life goes on",
        (Edit("agent/nodelease.py",
              'raise LifeEnded("this life of the node was condemned")', "pass"),
         Edit("agent/nodelease.py",
              'raise LifeEnded("the epoch of the node\'s Lease was raised")', "pass"),
         Edit("agent/survival.py", 'raise LifeEnded("its deadline has passed")', "pass"),
         Edit("agent/survival.py", "raise LifeEnded(str(refused)) from refused", "pass")),
        "test_a_frozen_agent_that_thaws_after_the_fence_starts_nothing",
        FENCING,
    ),
    Mutant(
        "a promise to a NodeFence that is gone counts",
        (Edit("controllers/fencing/view.py", "/{uid_of(fence)}", ""),),
        "test_a_promise_to_an_object_that_is_gone_counts_for_nothing",
        PROMISES,
    ),
    Mutant(
        "a machine without its promises vouches",
        (Edit("agent/survival.py", "elif self._remembered is None:", "elif False:"),),
        "test_a_machine_that_has_not_read_the_inquests_vouches_for_nobody",
        PROMISES,
    ),
    Mutant(
        "the inquest of a former life binds the next",
        (Edit("api/kinds/nodefence.py", '    if proves_dead(fence):\n        return ""\n', ""),),
        "test_its_peers_vouch_for_the_new_life",
        REJOIN,
    ),
    Mutant(
        "a node that holds by a roster of long ago is taken for dead",
        (Edit("controllers/fencing/decide.py", "if not _goes_by(view.roster, node):", "if False:"),),
        "test_a_node_that_may_hold_by_another_roster_is_not_proved_dead",
        DECIDE,
    ),
    Mutant(
        "a node is dead by the times that its group has now",
        (Edit("controllers/fencing/decide.py",
              "left_s = armed.dead_s() + extra_s - node.still_s",
              "left_s = view.timing.dead_s + extra_s - node.still_s"),),
        "test_what_was_promised_under_the_old_times_holds",
        PROFILES,
    ),
    Mutant(
        "a node is let go before its word has arrived",
        (Edit("agent/survival.py", "        elif self._word.stands:", "        else:"),),
        "test_a_node_that_is_let_go_keeps_its_promise_",
        PROFILES,
    ),
    Mutant(
        "an arrival believes its cache for ever",
        (Edit("agent/resume.py",
              "if node_lease.sent_since(version_of(cached)) < RENEWALS_NEEDED:",
              "if True:"),),
        "test_an_arrival_goes_on_by_no_lease_that_was_rebuilt_meanwhile",
        LEASE,
    ),
    Mutant(
        "an age that is no number proves a node dead",
        (Edit("api/fencing.py", "if not 0 <= ms <= _MOST_MS:", "if False:"),),
        "test_a_hand_that_writes_no_number_proves_nothing",
        "tests/api/test_fencing.py",
    ),
    Mutant(
        "K is what the group says by now",
        (Edit("controllers/fencing/view.py",
              "return max(wanted.late_s, armed.late_s if armed is not None else 0.0)",
              "return wanted.late_s"),),
        "test_k_is_the_longer_of_what_the_node_promised_and_what_its_group_says_by_now",
        DECIDE,
    ),
    Mutant(
        "a node is armed by the roster of its cache",
        (Edit("agent/sight.py",
              "self.rosters.observe(await client.get(scheme.NODEROSTER, self.group))", "pass"),),
        "test_a_node_that_was_armed_while_its_cache_was_behind_",
        REJOIN,
    ),
    Mutant(
        "rule 8: a device is fed past the deadline",
        (Edit("agent/deadline.py", "return not self.due(now_s) and not any(", "return not any("),),
        "test_nothing_is_fed_past_a_deadline_nor_while_one_of_the_dead_lives_on",
        "tests/contract/test_watchdog.py",
    ),
    Mutant(
        "a Pod that was force-deleted is taken for dead",
        (Edit("controllers/vm/decide.py",
              "    if view.holder_dead and view.own_lease is not None:",
              "    if view.active_pod is None and view.own_lease is not None:"),),
        "test_a_pod_that_was_force_deleted_is_not_taken_for_dead",
        FENCING,
    ),
    Mutant(
        "a person's word outlives the renewal that it was said of",
        (Edit("api/kinds/node.py", "return said is not None and said == renewal(lease)",
              "return said is not None"),),
        "test_a_word_about_a_node_that_lives_is_void_now_and_later",
        FENCING,
    ),
    Mutant(
        "a person's word counts although the node renews",
        (Edit("controllers/fencing/evidence.py",
              "left_s = node.suspect_s + extra_s - node.still_s", "left_s = 0"),
         Edit("controllers/fencing/decide.py", "suspected = seen.condemned or (silent and not off)",
              "suspected = seen.condemned or ((silent or confirmed(node)) and not off)")),
        "test_a_word_about_a_node_that_lives_is_void_now_and_later",
        FENCING,
    ),
    Mutant(
        "rule 8: nothing kills at the deadline",
        (Edit("agent/deadline.py", "return bool(self.life) and now_s >= self.until_s", "return False"),),
        "test_a_frozen_agent_that_thaws_after_the_fence_starts_nothing",
        FENCING,
    ),
    Mutant(
        "a node promises an earlier end than its watchdog was told",
        (Edit("agent/survival.py",
              "return self._stands_s <= self._clock.monotonic() + timing.age_s", "return True"),),
        "test_an_agent_that_does_not_know_the_deadline_",
        PROFILES,
    ),
    Mutant(
        "longer times count before they are promised",
        (Edit("agent/survival.py", "elif self._times != wanted and self._word.stands:",
              "elif self._times != wanted:"),),
        "test_a_node_whose_word_does_not_arrive_",
        PROFILES,
    ),
    Mutant(
        "a node is disarmed while its times change",
        (Edit("agent/survival.py",
              "        if wanted is not None:\n            await self._live_by(life, wanted)\n",
              "        if wanted is not None and wanted == self._times:\n"
              "            await self._live_by(life, wanted)\n"),),
        "test_a_node_is_armed_all_the_while_",
        PROFILES,
    ),
    Mutant(
        "a leader that stood still takes the Pods of a node that is back",
        (Edit("controllers/fencing/act.py", "if nodefence.phase(now) is not FencePhase.FENCED:", "if False:"),),
        "test_the_pods_of_a_node_that_is_back_stay",
        ACTS,
    ),
    Mutant(
        "a node is cordoned whatever has become of it",
        (Edit("controllers/fencing/act.py", 'name_of(node), "", patch, version=node)', 'name_of(node), "", patch)'),),
        "test_a_node_that_has_changed_is_not_cordoned",
        ACTS,
    ),
    Mutant(
        "one refusal stops all fencing",
        (Edit("controllers/fencing/controller.py", "except ApiError as error:", "except ZeroDivisionError as error:"),),
        "test_a_pod_that_cannot_be_deleted_",
        LEADERS,
    ),
    Mutant(
        "a lost VM waits until its Pod is deleted",
        (Edit("controllers/vm/act.py", "            if not lost:\n", "            if True:\n"),),
        "test_a_pod_that_cannot_be_deleted_",
        LEADERS,
    ),
    Mutant(
        "a guest that stands still waits for an event",
        (Edit("agent/decide.py", "return Wait(view.ask_s) if view.ask_s > 0 else AskLease()", "return Wait()"),),
        "test_a_target_that_hears_of_no_lease_",
        DEAF,
    ),
    Mutant(
        "a guest that QEMU has stopped counts as running until QEMU says so",
        (Edit("agent/memory.py", 'case "STOP" | "RECONNECTED":', 'case "RECONNECTED":'),),
        "test_wire_cut_at_switchover_",
        FAILURES,
    ),
    Mutant(
        "a VM that is being deleted has no address any more",
        (Edit("controllers/addresses/decide.py", "if present in map(name_of, users):",
              "if present in (name_of(vm) for vm in users if not is_deleting(vm)):"),),
        "test_the_address_of_a_vm_that_is_being_deleted_",
        BELONGINGS,
    ),
    Mutant(
        "a change of the spec takes the address of a running guest away",
        (Edit("controllers/vm/status.py", "if may_run and vms.ip_claim_in_use(view.vm):", "if False:"),),
        "test_the_address_that_a_running_guest_has_",
        BELONGINGS,
    ),
    Mutant(
        "an address goes with its claim",
        (Edit("controllers/addresses/controller.py",
              "if self.claims.get(owner) is not None or self._users(owner):",
              "if self.claims.get(owner) is not None:"),),
        "test_an_address_whose_claim_was_taken_away_",
        BELONGINGS,
    ),
    Mutant(
        "a rebuilt lease holds no disks",
        (Edit("controllers/vm/lease.py", '                "disks": list(disks),\n', ""),),
        "test_a_rebuilt_lease_holds_the_disks_",
        BELONGINGS,
    ),
    Mutant(
        "a start looks at its lease alone",
        (Edit("agent/launching.py", "if not await _is_wanted(keeper):", "if False:"),),
        "test_a_start_that_was_given_up_",
        BELONGINGS,
    ),
    Mutant(
        "a VM without lease lets go of its disks",
        (Edit("controllers/vm/decide.py", "        return _lease_lost(view, power, acts)",
              "        return _lease_lost(view, power, [*acts, *_free(view, set())])"),),
        "test_a_vm_that_stops_keeps_its_disks_",
        BELONGINGS,
    ),
    Mutant(
        "slots: who is being admitted holds none",
        (Edit("controllers/migration/queue.py",
              "admitted=move.admitted or taking is Slot.ADMISSION,", "admitted=move.admitted,"),),
        "test_a_slot_is_taken_before_the_write_",
        SLOTS,
    ),
    Mutant(
        "slots: whose transfer is being let begin holds none",
        (Edit("controllers/migration/queue.py",
              "transferring=move.transferring or taking is Slot.TRANSFER,", "transferring=move.transferring,"),),
        "test_a_transfer_is_begun_before_the_write_",
        SLOTS,
    ),
    Mutant(
        "slots: what was not answered has not landed",
        (Edit("controllers/migration/queue.py",
              "        except (Conflict, Unanswered):\n            raise\n", ""),),
        "test_a_slot_stays_taken_when_nothing_is_known_of_its_write",
        SLOTS,
    ),
    Mutant(
        "two operations on one VM are worked on at once",
        (Edit("controllers/vmop/controller.py", ", lane=caches.vm_of", ""),),
        "test_one_vm_has_one_migration_at_a_time",
        SLOTS,
    ),
    Mutant(
        "rebalance: a move on its way takes no room on its target",
        (Edit("controllers/rebalance/revalidate.py", "cluster.with_pods(coming) if coming else cluster", "cluster"),),
        "test_moves_on_their_way_count_on_their_target",
        REBALANCE,
    ),
    Mutant(
        "rebalance: a target may be filled over its threshold",
        (Edit("controllers/rebalance/revalidate.py", "if comes and after * 100 > ceiling * whole:", "if False:"),),
        "test_a_target_that_is_lost_cordoned_or_full",
        REBALANCE,
    ),
    Mutant(
        "rebalance: a moved VM does not rest",
        (Edit("controllers/rebalance/past.py", "Rest(ended_s(vmop) + cooldown_s,", "Rest(ended_s(vmop),"),),
        "test_a_moved_vm_rests",
        REBALANCE,
    ),
    Mutant(
        "rebalance: nobody goes first",
        (Edit("controllers/rebalance/gather.py", "    if first:\n", "    if False and first:\n"),),
        "test_a_persons_operation_goes_first",
        REBALANCE,
    ),
    Mutant(
        "rebalance: trouble need not settle",
        (Edit("controllers/rebalance/gather.py", "bool(keys) and oldest >= settle_s", "bool(keys)"),),
        "test_it_waits_for_the_settling_time",
        REBALANCE,
    ),
    Mutant(
        "rebalance: one number may be given to two plans",
        (Edit("controllers/rebalance/act.py", "kinds.name_for(number),",
              'f"rebalance-{number}-{self._manager.ids.suffix()}",'),),
        "test_two_controllers_make_one_plan_and_one_move",
        REBALANCE,
    ),
    Mutant(
        "rebalance: an operation of a plan that is over goes on",
        (Edit("controllers/rebalance/gather.py", "if over and vmops.vm_key", "if False and over and vmops.vm_key"),),
        "test_an_operation_of_a_plan_that_is_over_is_taken_back",
        REBALANCE,
    ),
    Mutant(
        "rebalance: who asked to be left alone is moved",
        (Edit("controllers/rebalance/guests.py",
              "if names.PREFER_NO_EVICTION_ANNOTATION in annotations_of(pod):", "if False:"),),
        "test_who_is_left_out_stays",
        REBALANCE,
    ),
)  # fmt: skip


def planted(mutant: Mutant, directory: Path) -> Path:
    """A copy of the source with the bug in it."""
    source = directory / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in mutant.edits:
        file = source / "drover" / edit.file
        text = file.read_text()
        assert text.count(edit.old) == 1, f"{edit.file} has {text.count(edit.old)}x {edit.old!r}"
        file.write_text(text.replace(edit.old, edit.new))
    return source


def failing(mutant: Mutant, directory: Path) -> tuple[list[str], str]:
    """Names of the scenarios that fail on the mutated copy, and what pytest said. Remembered if it is as it should."""

    def find() -> tuple[list[str], str]:
        return _failing(mutant, directory)

    failed, said = remembered(
        f"mutants {mutant!r}", PLAYED, find, lambda found: mutant.found_by(found[0])
    )
    return failed, said


def _failing(mutant: Mutant, directory: Path) -> tuple[list[str], str]:
    source = planted(mutant, directory)
    chosen = [] if mutant.suite == RULES else ["-k", mutant.fails]
    command = [
        sys.executable, "-m", "pytest", mutant.suite, *chosen, "-q", "-rfE", "--tb=no",
        "-p", "no:cacheprovider", "-o", f"pythonpath={source} {ROOT}", "--timeout", "600",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S,
        check=False,
    )  # fmt: skip
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    failed = re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", ended.stdout, re.MULTILINE)
    return failed, ended.stdout + ended.stderr
