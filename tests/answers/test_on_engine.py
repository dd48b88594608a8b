"""What ``why`` and ``whatif`` read, from a real API server: every kind is there, and rights are held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drover.api import scheme
from drover.base.clock import RealClock
from drover.cli.connect import Api
from drover.cli.why_world import look
from drover.runtime.client import Client

if TYPE_CHECKING:
    from tests.support.engine import Engine

pytestmark = [pytest.mark.engine]


@pytest.mark.parametrize(
    ("user", "group", "reads"), [("root", "system:masters", True), ("nobody", "", False)]
)
async def test_all_kinds_are_read_or_told(
    engine: Engine, user: str, group: str, reads: bool
) -> None:
    clock = RealClock()
    transport = await engine.access(user, [group] if group else []).transport(clock)
    try:
        seen = await look(Api(Client(transport), clock))
    finally:
        await transport.aclose()
    if reads:
        assert seen.missing == ()
        assert seen.get(scheme.NAMESPACE, "default") is not None
    else:
        hidden = {kind.kind for kind in (scheme.VM, scheme.VML, scheme.POD, scheme.NODE)}
        assert hidden <= set(seen.missing)
