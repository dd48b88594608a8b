"""The planner and the real kube-scheduler agree on 2,000 random Pods: which nodes fit, and why the others do not.

More than the node that it would bind is compared: the scheduler shows its whole set of fitting nodes to an extender,
and its message counts every refusal (see ``probe``). A disagreement is made smaller while it lasts and printed as a
file for ``kept``, whose cases are asked again in every run.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.planner.cases import Cases
from tests.planner.probe import (
    NAMESPACES,
    TAKEN,
    Answer,
    Answers,
    Extender,
    Population,
    Probe,
    ProbeEngine,
)
from tests.support.engine import ADMIN

import drover
from drover.api.wire import Object
from drover.base.clock import RealClock
from drover.controllers.planning import pod_of, snapshot
from drover.planner import Cluster, Fit, fit

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

POPULATIONS, LIVE, EACH, SEED = 20, 4, 100, 36
SHRINKS = 80
KEPT = Path(__file__).parent / "kept"
SPACES = [{"metadata": {"name": name, "labels": labels}} for name, labels in NAMESPACES.items()]


@pytest.fixture(scope="module")
def scheduler() -> Iterator[tuple[ProbeEngine, int]]:
    """The engine, whose scheduler asks an extender at the port given."""
    binary = os.environ.get("DROVER_ENGINE", "")
    if not binary:
        pytest.skip("DROVER_ENGINE names no engine binary; ./test sets it")
    directory = Path(tempfile.mkdtemp(prefix="drover-probe-"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    engine = ProbeEngine(Path(binary), directory, port)
    try:
        engine.start()
        yield engine, port
    finally:
        engine.stop()
        shutil.rmtree(directory)


@pytest_asyncio.fixture
async def probe(scheduler: tuple[ProbeEngine, int]) -> AsyncIterator[Probe]:
    engine, port = scheduler
    extender = Extender(port)
    await extender.start()
    transport = await engine.access(*ADMIN).transport(RealClock())
    try:
        yield Probe(transport, extender)
    finally:
        await transport.aclose()
        await extender.stop()


def words(found: Fit) -> str:
    """What the scheduler would say, with the extender's word on the nodes that fit."""
    if not found.nodes:
        return found.message
    counts = {**found.counts, TAKEN: len(found.nodes)}
    texts = sorted(f"{count} {reason}" for reason, count in counts.items())
    return f"0/{len(found.names)} nodes are available: {', '.join(texts)}."


def difference(cluster: Cluster, answer: Answer, sent: Object) -> str:
    """Empty: the planner agrees, on the Pod as it was stored and as it was sent."""
    for pod in (answer.pod, {**sent, "metadata": {**sent["metadata"], "name": "unsent"}}):
        found = fit(cluster, pod_of(pod))
        if frozenset(found.nodes) != answer.nodes or words(found) != answer.message:
            theirs = f"kube-scheduler: {sorted(answer.nodes)} {answer.message}"
            return f"planner:        {sorted(found.nodes)} {words(found)}\n{theirs}"
    return ""


def differences(got: Answers, coming: list[Object]) -> Iterator[tuple[int, str]]:
    cluster = snapshot(got.nodes, got.pods, SPACES)
    for number, (answer, sent) in enumerate(zip(got.answers, coming, strict=True)):
        if text := difference(cluster, answer, sent):
            yield number, text


async def shrunken(probe: Probe, population: Population, coming: Object) -> tuple[Any, str]:
    """The smallest case that still differs, found by leaving things out."""
    case = {"nodes": population.nodes, "pods": population.pods, "coming": coming}
    text, left, progress = "", SHRINKS, True
    while progress and left > 0:
        progress = False
        for smaller in _smaller(case):
            left -= 1
            got = await probe.ask(
                Population(smaller["nodes"], smaller["pods"]), [smaller["coming"]]
            )
            found = next(differences(got, [smaller["coming"]]), None)
            if found is not None:
                case, text, progress = smaller, found[1], True
                break
            if left <= 0:
                break
    return case, text


def _smaller(case: Any) -> Iterator[Any]:
    for number in range(len(case["pods"])):
        yield {**case, "pods": _without(case["pods"], number)}
    for number, node in enumerate(case["nodes"]):
        name = node["metadata"]["name"]
        pods = [pod for pod in case["pods"] if pod["spec"]["nodeName"] != name]
        if len(case["nodes"]) > 1:
            yield {**case, "nodes": _without(case["nodes"], number), "pods": pods}
    for path in (("spec",), ("spec", "affinity"), ("metadata", "labels")):
        holder = case["coming"]
        for step in path:
            holder = holder.get(step) or {}
        for key in holder:
            fewer = copy.deepcopy(case)
            place = fewer["coming"]
            for step in path:
                place = place[step]
            del place[key]
            yield fewer


def _without(items: list[Object], number: int) -> list[Object]:
    return [item for place, item in enumerate(items) if place != number]


async def agree(probe: Probe, seed: int, populations: int) -> None:
    """Ask about random Pods; the first disagreement fails."""
    cases = Cases(seed)
    reasons: Counter[str] = Counter()
    fitting = 0
    for _ in range(populations):
        population = cases.population()
        coming = [cases.coming() for _ in range(EACH)]
        got = await probe.ask(population, coming)
        for number, text in differences(got, coming):
            case, smaller = await shrunken(probe, population, coming[number])
            kept = json.dumps(case, indent=1)
            pytest.fail(f"{smaller or text}\nto keep it, put this into {KEPT}:\n{kept}")
        for answer in got.answers:
            fitting += bool(answer.nodes)
            told = answer.message.split(": ", 1)[1].rstrip(".").split(", ")
            reasons.update(reason.split(" ", 1)[1] for reason in told)
    assert 0.3 < fitting / (populations * EACH) < 0.85
    assert len(reasons) >= 13, reasons


async def test_random_pods_are_judged_as_by_kube_scheduler(probe: Probe) -> None:
    await agree(probe, SEED, LIVE)


async def test_more_of_them_once_for_each_version(
    probe: Probe, request: pytest.FixtureRequest
) -> None:
    """The rest of the 2,000 is asked again only after a change of what is compared."""
    cache = request.config.cache
    assert cache is not None
    digest = sources_digest()
    if cache.get("drover/planner-agreed", "") == digest:
        pytest.skip("these sources agreed with this engine before")
    await agree(probe, SEED + 1, POPULATIONS - LIVE)
    cache.set("drover/planner-agreed", digest)


def sources_digest() -> str:
    """Of the planner, the adapter, these tests and the engine."""
    root, here = Path(drover.__file__).parent, Path(__file__).parent
    files = [*sorted((root / "planner").glob("*.py")), root / "controllers" / "planning.py"]
    files += [root / "base" / "quantity.py", *sorted(here.glob("*.py"))]
    engine = os.stat(os.environ["DROVER_ENGINE"])
    digest = hashlib.sha256(f"{engine.st_size} {engine.st_mtime_ns}".encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


async def test_kept_cases_are_judged_as_by_kube_scheduler(probe: Probe) -> None:
    kept = sorted(KEPT.glob("*.json"))
    assert kept
    for path in kept:
        case = json.loads(path.read_text())
        got = await probe.ask(Population(case["nodes"], case["pods"]), [case["coming"]])
        assert [text for _, text in differences(got, [case["coming"]])] == [], path.name
