"""Each safety rule is needed: without it exactly its scenario fails. And planted bugs are found."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.sim.mutants import LIMIT_S, MUTANTS, Mutant, failing

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.sim, pytest.mark.slow, pytest.mark.timeout(len(MUTANTS) * LIMIT_S)]

AT_ONCE = 2


@pytest.fixture(scope="module")
def verdicts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[tuple[list[str], str]]]]:
    """The mutants of the chosen tests are played beside one another."""
    chosen = {item.callspec.params["mutant"] for item in request.session.items
              if item.path == request.path}  # type: ignore[attr-defined]  # fmt: skip
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            mutant.name: pool.submit(failing, mutant, tmp_path_factory.mktemp("mutant"))
            for mutant in MUTANTS
            if mutant in chosen
        }


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_taking_a_rule_out_makes_its_scenario_fail(
    mutant: Mutant, verdicts: dict[str, Future[tuple[list[str], str]]]
) -> None:
    failed, said = verdicts[mutant.name].result()
    assert mutant.found_by(failed), said
