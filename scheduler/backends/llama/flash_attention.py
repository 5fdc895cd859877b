"""Chooses whether a context uses flash attention: by measuring both, or else by a rule."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from llama_cpp import llama_cpp as lib

from protocol.config import EngineConfig
from scheduler.backends.cost_file import CostFile
from scheduler.backends.llama.batch import LlamaBatch, Run
from scheduler.backends.llama.loading import UNQUANTIZED, context_params, offloads
from scheduler.backends.llama.threads import ThreadPools

logger = logging.getLogger(__name__)

MAX_SCORES_BYTES = 512 << 20
"""Bytes of attention scores up to which a CPU computes without flash attention."""

SHORT_CONTEXT = 768
"""Tokens of a slot up to which a CPU without AMX is faster with flash attention, by the rule."""

DEPTH = 1024
"""Tokens before those that are timed, for long contexts."""

MIN_DEPTH = 256
"""A machine that computes fewer tokens in `FILL_SECONDS` is too slow to measure, unless slots are
shorter."""

FILL_SECONDS = 2.5
"""How long computing the tokens before those that are timed may take."""

CHUNK = 48
"""Rows of a prompt that are timed together: a turn of a chat. From 64 rows on, flash attention is
much faster, but few prompts are that long once their beginning is cached."""

ROUNDS = 3
ROUND_SECONDS = 1.5
"""Times are taken so often, at each of two depths, but not again after so many seconds."""

MIN_GAIN = 0.02
"""Share of the time that the faster way must save, to be taken instead of the usual one."""

PAD = 256
"""llama.cpp rounds the cells of a slot up to a multiple of this."""

MAX_REACH = 4
"""Times of deeper contexts are estimated, up to this many times the depth that was measured."""

DECODES = 8
"""Steps of one stream, and of several streams, for each chunk of a prompt in what is compared."""


def choose(model: Any, config: EngineConfig) -> str:
    """The setting for this model: "on", "off" or, where llama.cpp decides, "auto".

    On CPUs both ways are timed at the first start, since which one is faster depends on the model,
    the machine and the depth. The two ways differ in the last bits, so that texts can differ. So
    the choice is kept, with the costs of steps: later starts don't choose again.
    """
    if _is_settled(config):
        return config.flash_attn
    file = _file(config)
    by_rule = _by_rule(model, config)
    if file is None:
        return by_rule
    kept = file.read().flash_attn
    if kept:
        logger.info("flash attention is %s, as an earlier start found", kept)
        return kept
    measured = _measured(model, config, "off" if by_rule == "off" else "on")
    choice = measured or by_rule
    if choice == "auto" or not file.keep_choice(choice):
        return by_rule  # the next start must choose alike
    how = "was measured as faster" if measured else "is the rule for this size"
    logger.info("flash attention is %s, which %s", choice, how)
    return choice


def expected(model: Any, config: EngineConfig) -> str:
    """What `choose` will find, as far as this is known without timing: kept times, or the rule."""
    if _is_settled(config):
        return config.flash_attn
    file = _file(config)
    return (file and file.read().flash_attn) or _by_rule(model, config)


def _is_settled(config: EngineConfig) -> bool:
    """Whether the operator, llama.cpp or the type of the cells decides."""
    wants_choice = config.flash_attn == "auto" and config.cache_type_v in UNQUANTIZED
    return not wants_choice or offloads(config)


def _file(config: EngineConfig) -> CostFile | None:
    return CostFile.of(config, config.model_path) if config.measure_costs else None


def _by_rule(model: Any, config: EngineConfig) -> str:
    """What most CPUs are faster with, for models and machines that are too slow to measure.

    llama.cpp's CPU kernel of flash attention computes fewer than 64 rows of a sequence one by
    one. Milliseconds without and with flash attention, for a 100M model on two cores of a Zen 4:

        tokens before      4 decodes       48 rows of a prompt   512 rows
                    0      13.5, 11.1           47, 42           527, 457
                  512      16.5, 15.1           59, 77           665, 592
                1,000      17.3, 17.4           69, 110          811, 719
                1,900      22.1, 25.0           96, 174

    So in slots that may become long, conversations are faster without flash attention. With AMX
    all are: 7 decodes at 1,000 tokens took 39 ms without and 100 ms with it. Without flash
    attention, the scores of a whole micro-batch are kept. They must not take too much memory.
    """
    n_ctx_slot = _slot_size(model, config)
    if n_ctx_slot <= SHORT_CONTEXT and not _has_amx():
        return "auto"
    return "off" if _scores_bytes(model, config) <= MAX_SCORES_BYTES else "auto"


def _slot_size(model: Any, config: EngineConfig) -> int:
    n_ctx: int = config.n_ctx or lib.llama_model_n_ctx_train(model)
    return n_ctx if config.kv_unified else n_ctx // config.n_slots


def _scores_bytes(model: Any, config: EngineConfig) -> int:
    """Bytes of attention scores of one micro-batch in a full slot."""
    heads: int = lib.llama_model_n_head(model)
    return 4 * _slot_size(model, config) * config.n_ubatch * heads


def _has_amx() -> bool:
    """Whether llama.cpp uses this CPU's matrix unit."""
    return b"AMX_INT8 = 1" in lib.llama_print_system_info()


# --- measuring ---


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds at one depth: of one decode, of a decode of several slots, of a prompt's chunk."""

    one: float
    several: float
    chunk: float

    @property
    def total(self) -> float:
        """What is compared: answers of one stream and of several, and a chunk of a prompt."""
        return DECODES * (self.one + self.several) + self.chunk


NEVER = Times(math.inf, math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Ways:
    """What was measured; of each way, the times at the begin of a sequence and at `depth`."""

    without: tuple[Times, Times]
    with_it: tuple[Times, Times]
    depth: int


def faster(ways: Ways, n_ctx_slot: int, usual: str) -> str:
    """ "on" or "off", whichever takes less time in short contexts and half-full slots together;
    `usual` if they differ by less than what disturbances do."""
    reach = min(n_ctx_slot / 2 / ways.depth, MAX_REACH)

    def seconds(times: tuple[Times, Times]) -> float:
        short, deep = times[0].total, times[1].total
        return 2 * short + reach * (deep - short)

    ratio = seconds(ways.with_it) / seconds(ways.without)
    if 1 - MIN_GAIN < ratio < 1 + MIN_GAIN:
        return usual
    return "on" if ratio < 1 else "off"


def _measured(model: Any, config: EngineConfig, usual: str) -> str:
    """The faster way, or the usual one if both are alike.

    "" if the machine is too slow to find that out, or if the model can't be computed both ways.
    """
    n_ctx_slot = _slot_size(model, config)
    depth = min(DEPTH, n_ctx_slot - CHUNK)
    enough = min(MIN_DEPTH, depth)
    if depth < CHUNK or _scores_bytes(model, config) > MAX_SCORES_BYTES:
        return ""
    trials: list[_Trial] = []
    try:
        for flash_attn in ("off", "on"):
            trials.append(_Trial(model, config, flash_attn, depth))
            if not trials[-1].is_usable:
                return ""
            depth = trials[-1].fill(depth)
            if depth < enough:
                return ""
        without, with_it = _times(trials)
    finally:
        for trial in trials:
            trial.close()
    return faster(Ways(without, with_it, depth), n_ctx_slot, usual)


def _times(trials: list[_Trial]) -> list[tuple[Times, Times]]:
    """The times of each trial, deep and then at the begin. The trials take turns, because
    disturbances last."""
    deep, short = ([NEVER] * len(trials) for _ in range(2))
    for best in (deep, short):
        end = time.perf_counter() + ROUND_SECONDS
        for number in range(ROUNDS):
            if number and time.perf_counter() > end:
                break
            best[:] = [_least(b, trial.times()) for b, trial in zip(best, trials, strict=True)]
        for trial in trials:
            trial.clear()
    return list(zip(short, deep, strict=True))


def _least(a: Times, b: Times) -> Times:
    return Times(min(a.one, b.one), min(a.several, b.several), min(a.chunk, b.chunk))


class _Trial:
    """A small context that is timed with one of the two ways."""

    def __init__(self, model: Any, config: EngineConfig, flash_attn: str, depth: int) -> None:
        self._num_slots = min(config.n_slots, 4)
        slot_size = -(-(depth + CHUNK) // PAD) * PAD
        small = msgspec.structs.replace(
            config,
            n_slots=self._num_slots,
            n_ctx=self._num_slots * slot_size,
            kv_unified=False,
            embeddings=False,
        )
        params = context_params(small, self._num_slots, flash_attn)
        self._context = lib.llama_init_from_model(model, params)
        self._depth = 0
        if self._context:
            self._pools = ThreadPools(self._context, small)
            self._memory = lib.llama_get_memory(self._context)
            self._batch = LlamaBatch(lib.llama_n_batch(self._context))
            self._n_ubatch: int = lib.llama_n_ubatch(self._context)

    @property
    def is_usable(self) -> bool:
        """Whether there is a context, with cells that can be dropped again."""
        if not self._context or not self._memory:
            return False
        is_done = self._decode([Run(0, 0, [0, 0])]) > 0
        able = bool(lib.llama_memory_seq_rm(self._memory, 0, 1, -1))
        self.clear()
        return is_done and able

    def fill(self, depth: int) -> int:
        """Compute `depth` tokens, or fewer if that takes too long; returns how many. All slots get
        them."""
        deadline = time.perf_counter() + FILL_SECONDS
        while self._depth < depth and time.perf_counter() < deadline:
            count = min(self._n_ubatch, MIN_DEPTH, depth - self._depth)
            self._decode([Run(0, self._depth, [0] * count)])
            self._depth += count
        for slot in range(1, self._num_slots):
            lib.llama_memory_seq_cp(self._memory, 0, slot, -1, -1)
        return self._depth

    def times(self) -> Times:
        """Times behind what the slots hold."""
        rows = [Run(slot, self._depth, [0], 1) for slot in range(self._num_slots)]
        one = min(self._seconds(rows[:1]) for _ in range(DECODES))
        several = min(self._seconds(rows) for _ in range(DECODES // 2))
        count = min(CHUNK, self._batch.size)
        return Times(one, several, self._seconds([Run(0, self._depth, [0] * count, 1)]))

    def clear(self) -> None:
        """Drop all cells."""
        lib.llama_memory_clear(self._memory, False)
        self._depth = 0

    def close(self) -> None:
        """Free the context."""
        if self._context:
            lib.llama_free(self._context)
            self._pools.close()

    def _seconds(self, runs: list[Run]) -> float:
        seconds = self._decode(runs)
        for run in runs:
            lib.llama_memory_seq_rm(self._memory, run.slot, run.start, -1)
        return seconds

    def _decode(self, runs: Sequence[Run]) -> float:
        """Seconds of a batch; infinite if it fails."""
        self._batch.fill(runs)
        self._pools.place(self._batch.struct.n_tokens)
        begin = time.perf_counter()
        code = lib.llama_decode(self._context, self._batch.struct)
        lib.llama_synchronize(self._context)
        return time.perf_counter() - begin if code == 0 else math.inf
