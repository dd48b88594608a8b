"""HiGHS as a function: binaries, rows and costs in, values and a bound out; the same answer on every run.

``rounds`` counts the points at which the solver may be interrupted, which are the same everywhere, unlike seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from drover.planner.grid import Floats
from drover.planner.tables import Ints

if TYPE_CHECKING:
    import highspy

Row = tuple[Ints, Floats, float, float]  # columns, coefficients, at least, at most


@dataclass(frozen=True, slots=True)
class Solved:
    """``values`` None: no solution was found. ``bound``: no solution costs less."""

    values: Floats | None
    bound: float
    infeasible: bool = False


def minimise(
    costs: Floats, rows: Sequence[Row], start: Floats | None, rounds: int, gap: float
) -> Solved:
    """``start``: a solution, which makes it quicker. ``gap``: a better one need not be looked for that saves less."""
    import highspy  # a fifth of a second, and only proofs need it

    class Quiet(highspy.Highs):
        """It greets on standard output as soon as callbacks are set up, unless told before."""

        def enableCallbacks(self) -> None:
            self.setOptionValue("output_flag", False)
            super().enableCallbacks()  # type: ignore[no-untyped-call]

    solver = Quiet()  # type: ignore[no-untyped-call]
    options = {"threads": 1, "random_seed": 0, "mip_abs_gap": gap, "mip_rel_gap": 0.0}
    for name, value in options.items():
        solver.setOptionValue(name, value)
    solver.passModel(_programme(costs, rows))
    if start is not None:
        given = highspy.HighsSolution()
        given.col_value = start.tolist()
        solver.setSolution(given)
    seen = 0

    def tick(event: highspy.highs.HighsCallbackEvent) -> None:
        nonlocal seen
        seen += 1
        if seen > rounds and event.data_in is not None:
            event.data_in.user_interrupt = True

    solver.cbMipInterrupt.subscribe(tick)
    solver.run()
    status, found = solver.getModelStatus(), solver.getInfo()
    if status == highspy.HighsModelStatus.kInfeasible:
        return Solved(None, 0.0, infeasible=True)
    bound = found.mip_dual_bound if math.isfinite(found.mip_dual_bound) else 0.0
    values = np.array(solver.getSolution().col_value)
    solved = found.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    return Solved(values if solved and len(values) == len(costs) else None, bound)


def _programme(costs: Floats, rows: Sequence[Row]) -> highspy.HighsLp:
    import highspy

    programme = highspy.HighsLp()
    count = len(costs)
    programme.num_col_, programme.num_row_ = count, len(rows)
    programme.col_cost_ = costs
    programme.col_lower_, programme.col_upper_ = np.zeros(count), np.ones(count)
    programme.row_lower_ = np.array([row[2] for row in rows])
    programme.row_upper_ = np.array([row[3] for row in rows])
    matrix = programme.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    matrix.start_ = np.cumsum([0, *(len(row[0]) for row in rows)])
    matrix.index_ = np.concatenate([row[0] for row in rows])
    matrix.value_ = np.concatenate([row[1] for row in rows])
    programme.integrality_ = [highspy.HighsVarType.kInteger] * count
    return programme
