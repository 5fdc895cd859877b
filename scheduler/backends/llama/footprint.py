"""Counts the memory that a model would take, without reading or reserving it.

llama.cpp loads the model's header and plans its buffers. Only recurrent states are really reserved.
Where they would be large, contexts with fewer slots are counted, and the rest follows from those.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from llama_cpp import llama_cpp as lib

from logs.llama_log import LogBridge
from protocol.config import EngineConfig
from protocol.footprint import Footprint, PartBytes
from scheduler.backends.base import LoadError
from scheduler.backends.llama.devices import places_of_buffers
from scheduler.backends.llama.draft_model import draft_config
from scheduler.backends.llama.flash_attention import expected
from scheduler.backends.llama.loading import (
    check_layout,
    laid_out,
    load_model,
    make_context,
    num_outputs,
    num_snapshots,
    output_rows,
)
from scheduler.native.memory_breakdown import memory_breakdown

MAX_STATE_BYTES = 256 << 20
"""Most bytes of recurrent states that are reserved for counting."""

ENGINE_BYTES = 10 << 20
"""What an engine has besides what this process has: its queues, its caches, the compiler of
constraints."""

HOST = ""
"""The place that is no device."""

_MIB = 1 << 20
_STATE_LINE = re.compile(r"(\S+) RS buffer size = +([\d.]+) MiB")
_MODEL_FIELDS = (
    "model_path",
    "metadata",
    "lazy_mode",
    "devices",
    "tensor_buffers",
    "host_buffers",
    "n_gpu_layers",
    "main_gpu",
    "split_mode",
    "tensor_split",
    "use_repack",
)
"""Fields of `EngineConfig` that decide where the weights are."""


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What one context takes, by place."""

    places: dict[str, PartBytes]
    n_ctx: int
    n_ctx_slot: int

    @property
    def state(self) -> int:
        return sum(parts.state for parts in self.places.values())


class Counter:
    """Counts footprints, one after the other. The last model stays loaded for the next count."""

    def __init__(self) -> None:
        self._log = _Log()
        self._model: Any = None
        self._loaded: tuple[object, ...] = ()
        self._process = 0

    def count(self, config: EngineConfig) -> Footprint:
        """The footprint of an engine with this configuration. Raises `LoadError`."""
        self._load(config)
        config = laid_out(self._model, config)
        footprint = self._count(config, num_outputs(config))
        if config.draft is not None:
            draft = draft_config(config, config.draft)
            self._load(draft)
            footprint = footprint.with_draft(self._count(draft, config.n_slots))
        return msgspec.structs.replace(footprint, cache_bytes=config.cache_ram_bytes)

    def close(self) -> None:
        """Free the model."""
        if self._model:
            lib.llama_model_free(self._model)
        self._model = None

    def _count(self, config: EngineConfig, n_outputs: int) -> Footprint:
        """The footprint of the loaded model."""
        flash_attn = expected(self._model, config)
        config = msgspec.structs.replace(config, flash_attn=flash_attn)
        rows = output_rows(config, n_outputs)
        sizes = self._sizes(config, rows)
        parts = dict(sizes.places)
        for place, size in _adapters(config, parts).items():
            parts[place] = parts.get(place, PartBytes()) + PartBytes(adapters=size)
        host = PartBytes(output=_output_bytes(self._model, config, rows), process=self._process)
        host += parts.pop(HOST, PartBytes())
        return Footprint(
            host=host,
            devices=parts,
            n_ctx=sizes.n_ctx,
            n_ctx_slot=sizes.n_ctx_slot,
            n_slots=config.n_slots,
            n_layers=lib.llama_model_n_layer(self._model) + 1,
            n_ctx_train=lib.llama_model_n_ctx_train(self._model),
            flash_attn=flash_attn,
        )

    def _load(self, config: EngineConfig) -> None:
        """Load the model, unless it is there, and check that its context can be made."""
        self._load_weights(config)
        check_layout(self._model, config)

    def _load_weights(self, config: EngineConfig) -> None:
        wanted = tuple(getattr(config, name) for name in _MODEL_FIELDS)
        if self._model and wanted == self._loaded:
            return
        self.close()
        try:
            self._model = load_model(config, sizes_only=True)
        except LoadError as error:
            raise self._log.explained(error) from None
        self._loaded = wanted
        self._process = _resident_bytes() + ENGINE_BYTES

    def _sizes(self, config: EngineConfig, rows: int) -> _Sizes:
        if not _has_states(self._model):
            return self._context_sizes(config, rows)
        one = self._context_sizes(_with_slots(config, 1, drafts=0), rows)
        states = self._states_of_slot(config, one, rows)
        if one.state * config.n_slots * states <= MAX_STATE_BYTES:
            return self._context_sizes(config, rows)
        drafts = config.max_draft_tokens if 2 * one.state * states <= MAX_STATE_BYTES else 0
        reserved = one.state * (states if drafts else 1)
        most = max(min(MAX_STATE_BYTES // reserved, config.n_slots), 2)
        few, many = (
            self._context_sizes(_with_slots(config, n_slots, drafts), rows)
            for n_slots in (most // 2, most)
        )
        return _extrapolated(one, few, many, most, config, states)

    def _states_of_slot(self, config: EngineConfig, one: _Sizes, rows: int) -> int:
        """The states that each slot keeps; not every architecture keeps snapshots."""
        snapshots = num_snapshots(config, config.n_ubatch)
        if not snapshots:
            return 1
        drafting = self._context_sizes(_with_slots(config, 1, drafts=1), rows)
        return 1 + snapshots if drafting.state > one.state else 1

    def _context_sizes(self, config: EngineConfig, rows: int) -> _Sizes:
        self._log.states.clear()
        try:
            context = make_context(self._model, config, rows, config.flash_attn)
        except LoadError as error:
            self._model = None  # it was freed
            raise self._log.explained(error) from None
        try:
            places = self._places(context)
            return _Sizes(places, lib.llama_n_ctx(context), lib.llama_n_ctx_seq(context))
        finally:
            lib.llama_free(context)

    def _places(self, context: Any) -> dict[str, PartBytes]:
        try:
            buffers = memory_breakdown(context)
        except LookupError as error:
            raise LoadError(str(error)) from None
        names = places_of_buffers([one.buffer_type for one in buffers])
        found: dict[str, PartBytes] = {}
        for one in buffers:
            name, place = names[one.buffer_type]
            state = min(self._log.states.pop(name, 0), one.cells)
            parts = PartBytes(
                weights=one.weights, kv=one.cells - state, state=state, compute=one.compute
            )
            if parts.total:
                found[place] = found.get(place, PartBytes()) + parts
        return found


class _Log(logging.Handler):
    """Reads in llama.cpp's log what it tells nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.states: dict[str, int] = {}
        """Bytes of recurrent states of the last context, by the memory's name."""
        self._bridge = LogBridge()
        self._bridge.install()
        logger = logging.getLogger("llama.cpp")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one line."""
        if found := _STATE_LINE.search(record.getMessage()):
            self.states[found[1]] = round(float(found[2]) * _MIB)

    def explained(self, error: LoadError) -> LoadError:
        """The error with llama.cpp's reason."""
        reason = self._bridge.last_error
        return LoadError(f"{error}: {reason}" if reason else str(error))


def _has_states(model: Any) -> bool:
    return bool(lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))


def _with_slots(config: EngineConfig, n_slots: int, drafts: int) -> EngineConfig:
    """The configuration with fewer slots, which have as many cells each as before."""
    n_ctx = config.n_ctx
    if not config.kv_unified:
        n_ctx = n_ctx * n_slots // config.n_slots
    return msgspec.structs.replace(config, n_slots=n_slots, n_ctx=n_ctx, max_draft_tokens=drafts)


def _extrapolated(
    one: _Sizes, few: _Sizes, many: _Sizes, most: int, config: EngineConfig, states: int
) -> _Sizes:
    """Sizes for all slots, of which each has so many states.

    `one` has one slot, `many` has `most`, and `few` has half of these. From there on the compute
    buffers grow in a straight line.
    """
    n, streams = config.n_slots, 1 if config.kv_unified else config.n_slots

    def compute(place: str) -> int:
        low, high = (sizes.places[place].compute for sizes in (few, many))
        return high + (high - low) * (n - most) // (most - most // 2)

    places = {
        place: PartBytes(
            weights=parts.weights,
            kv=parts.kv * streams,
            state=parts.state * n * states,
            compute=max(compute(place), 0),
        )
        for place, parts in one.places.items()
    }
    return _Sizes(places, one.n_ctx * streams, one.n_ctx_slot)


def _output_bytes(model: Any, config: EngineConfig, rows: int) -> int:
    n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    width = n_vocab
    if config.embeddings:
        width += lib.llama_model_n_embd(model)
    if config.backend_sampling:  # logits, probabilities, candidates, and the token
        width += 3 * n_vocab + 1
    return int(4 * rows * width)


def _adapters(config: EngineConfig, places: dict[str, PartBytes]) -> dict[str, int]:
    """Bytes of the adapters' files by place. Their tensors are where the layers' weights are."""
    files = [*config.adapter_paths, *(path for path, _ in config.control_vectors)]
    try:
        size = sum(Path(file).stat().st_size for file in files)
    except OSError as error:
        raise LoadError(f"{error.filename} can't be read: {error.strerror}") from None
    weights = sum(parts.weights for parts in places.values())
    if not (size and weights):
        return {}
    return {place: size * parts.weights // weights for place, parts in places.items()}


def _resident_bytes() -> int:
    """Memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # not Linux
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
