"""Calibration: times steps by number of rows before the first request, or reads earlier times."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from protocol.config import EngineConfig
from protocol.messages import StepCosts
from scheduler.backends.base import Backend
from scheduler.backends.cost_file import CostFile, Measured
from scheduler.batching.cost_model import StepCost

logger = logging.getLogger(__name__)

MAX_SECONDS = 5.0
"""How long timing may hold up the first start. Sizes that are left out are interpolated."""

MAX_FIRST = 16
"""Rows up to which powers of two are timed before all else."""

MAX_SMALL = 32
"""Rows up to which each number of rows is timed."""

MIN_STEPS_TO_KEEP = 200
"""Steps that must run before the learned costs are worth keeping."""

Clock = Callable[[], float]
TimeRows = Callable[[int, int], float]
"""Seconds for a number of slots that have a number of rows together; slots come first."""

Point = tuple[int, int]
"""Slots and rows."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of steps of the model and of the draft model; None where they are not known."""

    step: StepCost | None = None
    draft: StepCost | None = None
    step_file: CostFile | None = None
    draft_file: CostFile | None = None

    def keep(self) -> None:
        """Write the costs, as learned so far, to the files that the next start reads."""
        for cost, file in ((self.step, self.step_file), (self.draft, self.draft_file)):
            if cost is not None and file is not None and cost.num_observed >= MIN_STEPS_TO_KEEP:
                _keep(file, cost.table())


UNKNOWN_COSTS = Costs()


def costs_of(config: EngineConfig, backend: Backend, clock: Clock) -> Costs:
    """The costs of a loaded model, and of its draft model if there is one.

    They come from the file of an earlier start, or else are measured now. Nothing may have been
    computed before.
    """
    if not (config.measure_costs and backend.info.can_generate):
        return UNKNOWN_COSTS
    sizes = (backend.info.n_slots, min(backend.layout.n_ubatch, backend.info.n_ctx_slot))
    step_file = CostFile.of(config, config.model_path)
    step = _step_cost(backend.time_rows, *sizes, step_file, clock)
    if config.draft is None:
        return Costs(step, step_file=step_file)
    draft_file = CostFile.of(config, config.draft.model_path)
    draft = _step_cost(backend.time_draft_rows, *sizes, draft_file, clock)
    return Costs(step, draft, step_file, draft_file)


def _step_cost(
    time_rows: TimeRows, n_slots: int, n_ubatch: int, file: CostFile | None, clock: Clock
) -> StepCost:
    known = Measured() if file is None else file.read()
    if known.has_costs:
        return StepCost(known.decode, known.prefill)
    begin = clock()
    cost = StepCost(*_measure(time_rows, n_slots, n_ubatch, clock))
    table = cost.table()
    logger.info("timed steps of 1 to %d rows in %.1f s", max(table.by_rows), clock() - begin)
    if file is not None:
        _keep(file, table)
    return cost


def _keep(file: CostFile, table: StepCosts) -> None:
    file.keep_costs(decode=table.by_slots, prefill=table.by_rows)


def _measure(
    time_rows: TimeRows, n_slots: int, n_ubatch: int, clock: Clock
) -> tuple[dict[int, float], dict[int, float]]:
    """Two tables of seconds by rows: one row of each slot (decode), and one slot (prefill)."""
    seconds: dict[Point, float] = {}
    end = clock() + MAX_SECONDS
    for points, repetitions in _stages(n_slots, n_ubatch):
        for point in points * repetitions:  # not one point at once, because disturbances last
            if clock() >= end and seconds:
                break
            seconds[point] = min(time_rows(*point), seconds.get(point, math.inf))
    decode = {rows: s for (slots, rows), s in seconds.items() if slots == rows}
    prefill = {rows: s for (slots, rows), s in seconds.items() if slots == 1}
    return decode, prefill


def _stages(n_slots: int, n_ubatch: int) -> Iterator[tuple[list[Point], int]]:
    """Points to time, and how often. The points that matter most come first."""
    powers = [1 << exponent for exponent in range(n_ubatch.bit_length())]
    between = set(range(1, min(MAX_SMALL, n_ubatch) + 1)) - set(powers)
    yield _points([rows for rows in powers if rows <= MAX_FIRST], n_slots), 5
    yield _points([rows for rows in powers if rows > MAX_FIRST], n_slots), 2
    yield _points(sorted(between), n_slots), 3
    wide = set(range(2 * MAX_SMALL, n_slots + 1, MAX_SMALL)) - set(powers)
    yield [(count, count) for count in sorted(wide)], 2


def _points(rows: list[int], n_slots: int) -> list[Point]:
    """Each number of rows in one slot, and in as many slots as rows if there are enough slots."""
    several = [(count, count) for count in rows if 1 < count <= n_slots]
    return sorted([*((1, count) for count in rows), *several], key=lambda point: point[1])
