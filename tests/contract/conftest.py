"""The rig of the API contract, once per implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from tests.contract.api_rig import EngineRig, ModelRig, Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest.fixture(params=["model", pytest.param("engine", marks=pytest.mark.engine)])
def make_rig(request: pytest.FixtureRequest) -> Callable[[], Rig]:
    """Starts the engine outside of any event loop."""
    if request.param == "model":
        return ModelRig
    running = request.getfixturevalue("engine")
    return lambda: EngineRig(running)


@pytest_asyncio.fixture
async def rig(make_rig: Callable[[], Rig]) -> AsyncIterator[Rig]:
    made = make_rig()
    await made.begin()
    yield made
    await made.end()
