"""The node's Lease against the API model: what counts as acknowledged, and what ends a life (rules 9 and 15)."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.agent.place import Place, play_in

from drover.agent.life import LifeEnded
from drover.agent.nodelease import Identity, NodeLease, Words
from drover.api import names, scheme
from drover.api.fencing import Armed
from drover.api.kinds import node as nodes
from drover.api.status import Unanswered
from drover.api.wire import Object, Request, Response
from drover.base.log import Log
from drover.runtime.client import Client

ARMED = Armed("deadline", 6, 6, 0)


class Line:
    """A transport that loses answers, or requests, on demand."""

    def __init__(self, inner: object) -> None:
        self._inner = inner
        self.lose = ""

    async def send(self, request: Request) -> Response:
        writes = request.method in ("PUT", "POST")
        if writes and self.lose == "request":
            raise Unanswered("lost", sent=True)
        answer: Response = await self._inner.send(request)  # type: ignore[attr-defined]
        if writes and self.lose == "answer":
            raise Unanswered("lost", sent=True)
        return answer


class Renewed(Place):
    """Agents that come to renew it."""

    def __init__(self) -> None:
        super().__init__()
        self.controllers = Client(
            self.api.transport(names.CONTROLLERS_USER, [names.CONTROLLERS_USER])
        )
        self.acked: list[float] = []

    def agent(self, incarnation: str, machine: str = "m1", boot: str = "b1") -> NodeLease:
        self.line = Line(self.door())
        client = Client(self.line)  # type: ignore[arg-type]
        log = Log(self.clock, lambda entry: None)
        identity = Identity("n1", incarnation, boot, machine)
        lease = NodeLease(client, self.clock, self.ids, log, identity, 2.0, 6)
        lease.on_acked.append(lambda sent_s, _said: self.acked.append(sent_s))
        return lease

    async def read(self) -> Object:
        return await self.admin.get(scheme.LEASE, "n1", names.NODE_LEASE_NAMESPACE)

    async def condemn(self, life: str) -> None:
        lease = await self.read()
        meta = lease["metadata"]
        marks = {names.EPOCH_ANNOTATION: "1", names.CONDEMNED_ANNOTATION: life}
        annotations = {**meta["annotations"], **marks}
        await self.controllers.replace(
            scheme.LEASE, {**lease, "metadata": {**meta, "annotations": annotations}}
        )


def test_an_acknowledgement_that_was_lost_is_found_and_counts_from_its_sending() -> None:
    async def story(place: Renewed) -> None:
        agent = place.agent("life-1")
        assert await agent.renew()
        await asyncio.sleep(2)
        place.line.lose = "answer"
        sent_s = place.clock.monotonic()
        assert not await agent.renew()
        await asyncio.sleep(3)
        place.line.lose = "request"
        assert not await agent.renew()  # reads, finds its own attempt, and fails to send the next
        assert place.acked[-1] == sent_s
        assert agent.acked_at == sent_s

    play_in(Renewed, story)


def test_a_conflict_is_read_again_and_harms_nobody() -> None:
    async def story(place: Renewed) -> None:
        agent = place.agent("life-1")
        assert await agent.renew()
        label: Object = {"metadata": {"labels": {"by": "kubectl"}}}
        await place.admin.patch(scheme.LEASE, "n1", names.NODE_LEASE_NAMESPACE, label)
        assert not await agent.renew()
        assert await agent.renew()
        lease = await place.read()
        assert lease["metadata"]["labels"] == {"by": "kubectl"}
        said = nodes.evidence(lease)
        assert said is not None
        assert said.seq == agent.seq

    play_in(Renewed, story)


def test_a_renewal_says_what_it_is_given_and_keeps_the_marks() -> None:
    async def story(place: Renewed) -> None:
        agent = place.agent("life-1")
        agent.words = lambda: Words(ARMED, 7.0, {"n2": 3.0}, {"n3": "i1"}, 4)
        assert await agent.renew()
        said = nodes.evidence(await place.read())
        assert said is not None
        assert (said.armed, said.roster, said.promises) == (ARMED, 4, {"n3": "i1"})
        assert said.voucher_age_s("n2") == 3.0
        await place.condemn("life-0")  # a former one
        assert not await agent.renew()
        with pytest.raises(LifeEnded, match="epoch"):
            await agent.renew()

    play_in(Renewed, story)


def test_a_condemned_life_ends_and_cannot_be_begun_again() -> None:
    async def story(place: Renewed) -> None:
        agent = place.agent("life-1")
        assert await agent.renew()
        await place.condemn("life-1")
        assert not await agent.renew()
        with pytest.raises(LifeEnded, match="condemned"):
            await agent.renew()
        with pytest.raises(LifeEnded, match="condemned"):
            await place.agent("life-1").renew()  # the agent starts again
        heir = place.agent("life-2")
        assert await heir.renew()
        assert heir.after_fencing
        assert nodes.epoch(await place.read()) == 1

    play_in(Renewed, story)


def test_another_life_in_its_place_ends_it() -> None:
    async def story(place: Renewed) -> None:
        former, heir = place.agent("life-1"), place.agent("life-2", boot="b2")
        assert await former.renew()
        assert await heir.renew()
        assert not await former.renew()
        with pytest.raises(LifeEnded, match="life-2"):
            await former.renew()
        assert not heir.after_fencing

    play_in(Renewed, story)


def test_another_machine_waits_until_the_former_is_proved_dead() -> None:
    async def story(place: Renewed) -> None:
        former = place.agent("life-1")
        former.machines = list  # what it runs may have changed since it told
        assert await former.renew()
        stranger = place.agent("life-2", machine="m2")
        assert not await stranger.renew()
        assert await former.renew()
        fence = {"node": "n1", "incarnation": "life-1"}
        made = await place.controllers.create(
            scheme.NODEFENCE, {"metadata": {"name": "n1-life-1"}, "spec": fence}
        )
        assert not await stranger.renew()  # a suspicion is no proof
        proof = {"status": {"phase": "Fenced"}}
        await place.controllers.patch(
            scheme.NODEFENCE, made["metadata"]["name"], "", proof, subresource="status"
        )
        assert await stranger.renew()

    play_in(Renewed, story)


def test_a_lease_that_vanished_is_made_anew_unless_its_life_was_suspected() -> None:
    async def story(place: Renewed) -> None:
        agent = place.agent("life-1")
        assert await agent.renew()
        await place.admin.delete(scheme.LEASE, "n1", names.NODE_LEASE_NAMESPACE)
        assert not await agent.renew()
        assert await agent.renew()
        fence = {"node": "n1", "incarnation": "life-1"}
        await place.controllers.create(
            scheme.NODEFENCE, {"metadata": {"name": "n1-life-1"}, "spec": fence}
        )
        await place.admin.delete(scheme.LEASE, "n1", names.NODE_LEASE_NAMESPACE)
        assert not await agent.renew()
        with pytest.raises(LifeEnded, match="gone"):
            await agent.renew()

    play_in(Renewed, story)


def test_a_life_whose_name_was_taken_off_its_lease_goes_on_and_forgets_nothing() -> None:
    """Whether or not it found such a Lease when it joined; under suspicion it ends, as when the Lease is gone."""

    async def story(place: Renewed) -> None:
        bare: Object = {
            "metadata": {"name": "n1", "namespace": names.NODE_LEASE_NAMESPACE},
            "spec": {},
        }
        await place.admin.create(scheme.LEASE, bare)
        agent, rewound = place.agent("life-1"), []
        agent.on_rewound.append(lambda: rewound.append(True))
        assert await agent.renew()
        nameless: Object = {"metadata": {"annotations": {names.INCARNATION_ANNOTATION: None}}}
        await place.admin.patch(scheme.LEASE, "n1", names.NODE_LEASE_NAMESPACE, nameless)
        assert not await agent.renew()
        assert await agent.renew()
        assert (nodes.incarnation(await place.read()), rewound) == ("life-1", [])
        fence = {"node": "n1", "incarnation": "life-1"}
        await place.controllers.create(
            scheme.NODEFENCE, {"metadata": {"name": "n1-life-1"}, "spec": fence}
        )
        await place.admin.patch(scheme.LEASE, "n1", names.NODE_LEASE_NAMESPACE, nameless)
        assert not await agent.renew()
        with pytest.raises(LifeEnded, match="gone"):
            await agent.renew()

    play_in(Renewed, story)


@pytest.mark.parametrize(
    ("change", "forgotten"),
    [
        ({"seq": 1}, False),  # of the newest renewal
        ({"seq": 10**12}, False),
        ({"seq": 1, "attempt": "by hand", "boot": "", "machine": ""}, False),  # of nobody's
        ({"seq": 1, "attempt": "an earlier one"}, True),  # as in a backup
    ],
)
def test_a_sequence_number_that_a_hand_lowered_is_no_restored_backup(
    change: dict[str, object], forgotten: bool
) -> None:
    async def story(place: Renewed) -> None:
        agent, rewound = place.agent("life-1"), []
        agent.on_rewound.append(lambda: rewound.append(True))
        for _ in range(3):
            assert await agent.renew()
        said = json.loads(
            (await place.read())["metadata"]["annotations"][names.EVIDENCE_ANNOTATION]
        )
        edit: Object = {
            "metadata": {"annotations": {names.EVIDENCE_ANNOTATION: json.dumps({**said, **change})}}
        }
        await place.admin.patch(scheme.LEASE, "n1", names.NODE_LEASE_NAMESPACE, edit)
        assert not await agent.renew()
        acked_s = agent.acked_at
        await asyncio.sleep(1)
        assert await agent.renew()
        assert agent.acked_at is not None
        assert acked_s is not None
        assert agent.acked_at > acked_s
        assert rewound == [True] * forgotten
        written = nodes.evidence(await place.read())
        assert written is not None
        assert written.seq > max(3, int(str(change["seq"])))

    play_in(Renewed, story)
