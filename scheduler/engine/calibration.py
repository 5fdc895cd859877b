"""Calibration: times steps by number of rows before the first request, or reads earlier times."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from protocol.config import EngineConfig
from protocol.messages import StepCosts
from scheduler.backends.base import Backend
from scheduler.backends.cpus import usable_cores
from scheduler.batching.cost_model import StepCost
from scheduler.storage.fingerprint import stamp_of_model

logger = logging.getLogger(__name__)

MAX_SECONDS = 5.0
"""How long timing may hold up the first start. Sizes that are left out are interpolated."""

MAX_FIRST = 16
"""Rows up to which powers of two are timed before all else."""

MAX_SMALL = 32
"""Rows up to which each number of rows is timed."""

MIN_STEPS_TO_KEEP = 200
"""Steps that must run before the learned costs are worth keeping."""

COUNTED_SETTINGS = (
    "n_slots",
    "n_ctx",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "n_threads_batch",
    "placement",
    "placement_batch",
    "numa",
    "devices",
    "tensor_buffers",
    "host_buffers",
    "op_offload",
    "n_gpu_layers",
    "split_mode",
    "tensor_split",
    "main_gpu",
    "flash_attn",
    "cache_type_k",
    "cache_type_v",
    "kv_unified",
    "kv_offload",
    "use_repack",
)
"""Fields of `EngineConfig` that a step's time depends on, besides the model."""

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
    step_file: Path | None = None
    draft_file: Path | None = None

    def keep(self) -> None:
        """Write the costs, as learned so far, to the files that the next start reads."""
        for cost, file in ((self.step, self.step_file), (self.draft, self.draft_file)):
            if cost is not None and file is not None and cost.num_observed >= MIN_STEPS_TO_KEEP:
                _write(file, cost.table())


UNKNOWN_COSTS = Costs()


def costs_of(config: EngineConfig, backend: Backend, clock: Clock) -> Costs:
    """The costs of a loaded model, and of its draft model if there is one.

    They come from the file of an earlier start, or else are measured now. Nothing may have been
    computed before.
    """
    if not (config.measure_costs and backend.info.can_generate):
        return UNKNOWN_COSTS
    sizes = (backend.info.n_slots, min(backend.layout.n_ubatch, backend.info.n_ctx_slot))
    step_file = _file(config, config.model_path)
    step = _step_cost(backend.time_rows, *sizes, step_file, clock)
    if config.draft is None:
        return Costs(step, step_file=step_file)
    draft_file = _file(config, config.draft.model_path)
    draft = _step_cost(backend.time_draft_rows, *sizes, draft_file, clock)
    return Costs(step, draft, step_file, draft_file)


def _step_cost(
    time_rows: TimeRows, n_slots: int, n_ubatch: int, file: Path | None, clock: Clock
) -> StepCost:
    known = _read(file) if file is not None else None
    if known is not None:
        return StepCost(*known)
    begin = clock()
    cost = StepCost(*_measure(time_rows, n_slots, n_ubatch, clock))
    table = cost.table()
    logger.info("timed steps of 1 to %d rows in %.1f s", max(table.by_rows), clock() - begin)
    if file is not None:
        _write(file, table)
    return cost


def _file(config: EngineConfig, model_path: str) -> Path | None:
    """The file for the costs of this model, build, machine and configuration; None without a
    folder for such files."""
    if not config.cost_folder:
        return None
    library = version("llama-cpp-python")
    facts = [stamp_of_model(Path(model_path)), library, _cpu(), usable_cores()]
    settings = [getattr(config, name) for name in COUNTED_SETTINGS]
    identity = repr((model_path, facts, settings, config.draft))
    return Path(config.cost_folder) / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.json"


def _cpu() -> str:
    """The name of the processor, if the system tells the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line for line in lines if line.startswith("model name")), platform.machine())


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


def _read(file: Path) -> tuple[dict[int, float], dict[int, float]] | None:
    try:
        content = json.loads(file.read_text())
        decode, prefill = (
            {int(rows): float(seconds) for rows, seconds in content[name].items()}
            for name in ("decode", "prefill")
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        logger.warning("%s can't be read, so steps are timed again", file.name)
        return None
    usable = decode and prefill and min(*decode.values(), *prefill.values(), 1.0) > 0
    return (decode, prefill) if usable else None


def _write(file: Path, costs: StepCosts) -> None:
    """Write costs for the next start. A folder that can't be written is no error."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({"decode": costs.by_slots, "prefill": costs.by_rows}))
        partial.replace(file)
    except OSError as error:
        logger.info("step costs are not kept: %s", error.strerror)
