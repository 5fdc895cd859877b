"""A llama.cpp model with its context. No other file computes batches or edits cells.

Cells of the KV cache come in one of two layouts. Partitioned: every slot has a stream of its
own, with `pad256(n_ctx / n_slots)` cells. Unified: all slots share one stream. There, copying a
prefix is bookkeeping only, but attention reads every cell in use.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import struct
import sys
import time
from collections import abc
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as lib

from protocol.config import EngineConfig
from protocol.messages import EmbeddingInfo
from scheduler.backends.base import Bytes, DecodeError, LoadError
from scheduler.backends.llama.batch import BatchRows, LlamaBatch, Rows, Run, pointer
from scheduler.backends.llama.candidates import Logits
from scheduler.backends.llama.control_vectors import apply_control_vectors
from scheduler.backends.llama.device_samplers import DeviceSamplers
from scheduler.backends.llama.devices import have_device, have_gpu, num_stages
from scheduler.backends.llama.flash_attention import choose
from scheduler.backends.llama.loading import (
    check_layout,
    laid_out,
    load_model,
    make_context,
    output_rows,
)
from scheduler.backends.llama.lora import LoraAdapters
from scheduler.backends.llama.pooling import embedding_info, read_vectors
from scheduler.backends.llama.shortlist import Shortlist, shortlist
from scheduler.backends.llama.tensors import NO_DEVICE
from scheduler.backends.llama.threads import ThreadPools
from scheduler.backends.llama.vocabulary import suppressed_tokens
from scheduler.batching.micro_batches import Layout
from scheduler.core.batch_kind import BatchKind
from scheduler.core.cache_edits import (
    CacheEdit,
    CopyPrefix,
    Drop,
    Restore,
    RestoreCheckpoint,
    Save,
    SaveCheckpoint,
    Shift,
    Trim,
)
from scheduler.core.sequence import MAX_RUN
from scheduler.core.state_sizes import StateSizes
from scheduler.native.library import get_logits

logger = logging.getLogger(__name__)

State = np.ndarray[Any, np.dtype[np.uint8]]
"""The cells of one slot, as llama.cpp writes them."""

WHOLE = lib.LLAMA_STATE_SEQ_FLAGS_NONE
PARTIAL = lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
"""What a state holds: all of a slot, or only what can't be trimmed (a recurrent state, the cells
in a sliding window)."""

_STATE_START = struct.Struct("=Ii")
"""What comes before the cells in a state, but not in a file: a magic number and a slot."""

_STATE_MAGIC = 0xAF143CD8

SURVEYED_TOGETHER = 8
"""Rows of which one task finds the likeliest tokens. To wake a thread for fewer takes longer."""

_FLOAT = ctypes.sizeof(ctypes.c_float)

PLAIN = BatchKind()
"""The kind of batches that yield logits, without adapters."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The size of a model's memory, and what the memory can do."""

    sizes: StateSizes
    can_trim: bool
    can_shift: bool
    can_checkpoint: bool
    is_recurrent: bool = False
    """Whether some layers have a state instead of cells."""
    num_snapshots: int = 0
    """How many earlier states a slot keeps, one for each of its last tokens."""
    max_rollback: int = 0
    recomputes_drafts: bool = False
    """Both as in `CacheAbilities`."""


class LlamaContext:
    """A loaded model with a context of `config.n_slots` sequences. Raises `LoadError`.

    Arguments are checked before they reach llama.cpp, which ends the process over a wrong one.
    """

    def __init__(self, config: EngineConfig, n_outputs: int) -> None:
        """`n_outputs` is the most rows of a batch that may have logits."""
        self.model = load_model(config)
        check_layout(self.model, config)
        self.config = config = laid_out(self.model, config)
        self.adapters = LoraAdapters(self.model, config.adapter_paths)  # the context makes room
        n_outputs = output_rows(config, n_outputs)
        self.flash_attention = choose(self.model, config)
        """ "on", "off", or "auto" if llama.cpp decides."""
        self._context = make_context(self.model, config, n_outputs, self.flash_attention)
        apply_control_vectors(self._context, self.model, config)
        self._threads = ThreadPools(self._context, config)
        self._memory = lib.llama_get_memory(self._context)
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.n_vocab: int = lib.llama_vocab_n_tokens(self.vocab)
        self.n_slots: int = lib.llama_n_seq_max(self._context)
        self.n_ctx: int = lib.llama_n_ctx(self._context)
        self.n_ctx_slot: int = lib.llama_n_ctx_seq(self._context)
        self._n_outputs = n_outputs
        self.can_generate = bool(self._memory)
        if not self.can_generate:  # an encoder has no cells, and `n_train` positions at most
            n_train = lib.llama_model_n_ctx_train(self.model)
            self.n_ctx_slot = min(lib.llama_n_ubatch(self._context), n_train)
            self.n_ctx = self.n_slots * self.n_ctx_slot
        self.embedding = self._describe_embedding()
        self._yields_embeddings = not self.can_generate
        lib.llama_set_embeddings(self._context, self._yields_embeddings)
        self._kind: BatchKind | None = None
        """The kind of the last batch."""
        self._batch = LlamaBatch(lib.llama_n_batch(self._context))
        self._known_rows: Logits = np.empty((0, self.n_vocab), dtype=np.float32)
        self._are_rows_due = False
        """Whether a batch was computed since `_known_rows` was read."""
        self.device_samplers = DeviceSamplers(
            self._context, self.n_vocab, self.n_ctx_slot, len(suppressed_tokens(self.vocab))
        )
        self._likeliest: dict[int, Shortlist | None] = {}
        """By row, what the survey of the last batch has found."""
        self._saved: dict[int, State] = {}
        self.memory = self._try_memory()
        self._try_adapters()
        self._first_rows: dict[int, int] = {}
        """By slot: index of its first row in the last batch of embeddings."""

    def _describe_embedding(self) -> EmbeddingInfo | None:
        config = self.config
        if not (config.embeddings or self.can_generate):
            raise LoadError("the model is an encoder, which computes nothing but --embeddings")
        if not config.embeddings:
            return None
        return embedding_info(self._context, n_ctx_slot=self.n_ctx_slot, is_unified=self.is_unified)

    @property
    def is_unified(self) -> bool:
        """Whether the slots share one stream of cells."""
        return bool(self.config.kv_unified)

    @property
    def n_batch(self) -> int:
        """Most rows of a batch."""
        return self._batch.size

    @cached_property
    def layout(self) -> Layout:
        """How llama.cpp cuts batches into micro-batches."""
        memory, snapshots = self.memory, self.memory.num_snapshots
        return Layout(
            lib.llama_n_ubatch(self._context),
            # Recurrent layers compute equally many rows of each slot, wherever the cells are.
            is_unified=self.is_unified and not memory.is_recurrent,
            whole_tail=snapshots and 1 + snapshots,
            num_stages=num_stages(self.config),
            has_whole_drafts=not memory.can_trim,
        )

    @cached_property
    def has_device(self) -> bool:
        """Whether something besides the CPU may compute on after `llama_decode`."""
        return self.config.devices != (NO_DEVICE,) and have_device()

    @property
    def num_reused_graphs(self) -> int:
        """Micro-batches for which llama.cpp had the graph: the one before had as many rows and
        logits, of the same slots, and attention read as many cells, rounded up to 256."""
        return int(lib.llama_perf_context(self._context).n_reused)

    @property
    def num_busy_cores(self) -> int:
        """Cores that compute when an answer's token is decoded: only one, which waits, if the
        whole model is on a GPU."""
        config = self.config
        may_use_gpu = config.devices != (NO_DEVICE,) and not config.tensor_buffers and have_gpu()
        num_layers = lib.llama_model_n_layer(self.model) + 1  # the output's layer counts too
        is_whole = config.n_gpu_layers < 0 or config.n_gpu_layers >= num_layers
        return 1 if may_use_gpu and is_whole else int(lib.llama_n_threads(self._context))

    @property
    def context(self) -> int:
        """Address of the `llama_context`, for samplers that read its logits."""
        return int(self._context)

    def decode(self, runs: abc.Sequence[BatchRows], kind: BatchKind = PLAIN) -> None:
        """Compute runs in one batch. Raises `DecodeError`."""
        self.begin(runs, kind)
        self.wait()

    def begin(self, runs: abc.Sequence[BatchRows], kind: BatchKind = PLAIN) -> None:
        """Begin to compute runs in one batch. The rows with logits are numbered from 0 in their
        order.

        A GPU computes on after this. Raises `DecodeError`.
        """
        rows = Rows.of(runs)
        self._check(rows)
        if kind.is_embedding or kind != self._kind:
            self._prepare(kind, rows.slots)
        self._batch.write(rows)
        self._threads.place(self._batch.struct.n_tokens)
        code = lib.llama_decode(self._context, self._batch.struct)
        if code != 0:
            raise self.failure(f"llama_decode returned {code}")
        self._likeliest.clear()
        self._are_rows_due = True

    def wait(self) -> None:
        """Wait until the last batch is computed. `get_logits` would keep the interpreter.

        The CPU has computed it when `llama_decode` returns.
        """
        if self.has_device:
            lib.llama_synchronize(self._context)

    @property
    def _rows(self) -> Logits:
        """Shape (n_outputs, n_vocab): the last batch's logits."""
        if self._are_rows_due:
            self._known_rows = self._read_rows()
            self._are_rows_due = False
        return self._known_rows

    def _read_rows(self) -> Logits:
        count = len(self._batch.output_indices)
        size = count * self.n_vocab
        memory = (ctypes.c_float * size).from_address(get_logits(self._context))
        rows: Logits = np.frombuffer(memoryview(memory), dtype=np.float32)
        return rows.reshape(count, self.n_vocab)

    def row(self, index: int) -> Logits:
        """A writable view of a row of the last batch's logits, shape (n_vocab,)."""
        row: Logits = self._rows[index]
        return row

    def add(self, index: int, biases: abc.Iterable[tuple[int, float]]) -> None:
        """Add to the logits of a few tokens of a row of the last batch. Tokens are of the
        vocabulary."""
        first = get_logits(self._context) + _FLOAT * self.n_vocab * index
        for token, bias in biases:
            logit = ctypes.c_float.from_address(first + _FLOAT * token)
            logit.value += bias

    def survey(self, rows: abc.Sequence[int], size: int) -> list[abc.Callable[[], None]]:
        """Tasks that find the `size` likeliest tokens of rows of the last batch, which rise.

        They may run at the same time. The rows must not change until they are sampled.
        """

        def look(start: int) -> None:
            for row in with_logits[start : start + SURVEYED_TOGETHER]:
                self._likeliest[row] = shortlist(self._rows[row], size)

        with_logits = rows
        if self.device_samplers.by_slot:
            with_logits = [row for row in rows if not self.is_left(row)]
        starts = range(0, len(with_logits), SURVEYED_TOGETHER)
        return [functools.partial(look, start) for start in starts]

    def likeliest(self, index: int) -> Shortlist | None:
        """The likeliest tokens of a row, if it was surveyed."""
        return self._likeliest.get(index)

    def is_left(self, index: int) -> bool:
        """Whether the slot of a row of the last batch has a sampler on the device."""
        by_slot = self.device_samplers.by_slot
        return bool(by_slot) and self._batch.slot(index) in by_slot

    def left(self, index: int) -> Shortlist:
        """What a sampler on the device left of a row of the last batch."""
        return self.device_samplers.read(self._batch.output_indices[index])

    def batch_index(self, index: int) -> int:
        """Index in the batch of the token that a row of logits belongs to."""
        return self._batch.output_indices[index]

    def vectors(self, slot: int, num_rows: int) -> bytes:
        """The embedding that the last batch computed for a slot. Raises `DecodeError`.

        `num_rows` is how many rows of the batch are the slot's.
        """
        assert self.embedding is not None
        first = self._first_rows[slot]
        data = read_vectors(self._context, self.embedding, slot, first, num_rows)
        if not data:
            raise self.failure(f"llama.cpp has no embedding for slot {slot}")
        return data

    def edit(self, edit: CacheEdit) -> None:
        """Make a cache edit. Raises `DecodeError`."""
        match edit:
            case CopyPrefix():
                self._copy(edit)
            case Trim(slot, length):
                self._trim(slot, length)
            case Shift():
                self._shift(edit)
            case Save(slot, prefix):
                self._saved[prefix] = self.read_state(slot)
            case Restore():
                self._write_state(edit)
            case SaveCheckpoint(slot, checkpoint):
                self._saved[checkpoint] = self.read_state(slot, PARTIAL)
            case RestoreCheckpoint(checkpoint, slot, length):
                # Its position must be right before the rest can be trimmed.
                self.set_state(slot, self._saved[checkpoint], PARTIAL)
                self._trim(slot, length)
            case Drop(prefix):
                del self._saved[prefix]

    def state(self, prefix: int) -> memoryview:
        """The cells saved as `prefix`. Raises `KeyError` if nothing is saved under this name."""
        return self._saved[prefix].data

    def put_state(self, prefix: int, state: Bytes) -> None:
        """Take cells from `state`, as if they had just been saved. llama.cpp checks nothing."""
        self._saved[prefix] = np.frombuffer(state, dtype=np.uint8)

    def has_window(self, slot: int, length: int) -> bool:
        """Whether a slot that holds `length` tokens has all cells that the next token sees."""
        if self.memory.can_trim:
            return True
        first: int = lib.llama_memory_seq_pos_min(self._memory, slot)
        return 0 <= first <= max(length + 1 - self.memory.sizes.window, 0)

    def portable(self, state: Bytes) -> memoryview:
        """A state as llama.cpp's files hold it: without the words before the cells."""
        return memoryview(state)[_STATE_START.size :]

    def adopt(self, slot: int, cells: Bytes, num_tokens: int) -> bool:
        """Give an empty slot the `cells` of a file.

        llama.cpp checks types and sizes. Returns whether they fit, and end with the last of
        `num_tokens` tokens. Otherwise the slot is empty.
        """
        size = _STATE_START.size + memoryview(cells).nbytes
        state: State = np.empty(size, dtype=np.uint8)
        state[: _STATE_START.size] = np.frombuffer(
            _STATE_START.pack(_STATE_MAGIC, slot), dtype=np.uint8
        )
        state[_STATE_START.size :] = np.frombuffer(cells, dtype=np.uint8)
        address = pointer(state, ctypes.c_uint8)
        is_whole = not self.memory.can_trim or size == self.memory.sizes.prefix(num_tokens)
        is_read = is_whole and (
            lib.llama_state_seq_set_data(self._context, address, size, slot) == size
        )
        if is_read and lib.llama_memory_seq_pos_max(self._memory, slot) == num_tokens - 1:
            return True
        lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
        return False

    def failure(self, message: str) -> DecodeError:
        """The error to raise. All cells and all saved cells are dropped first."""
        lib.llama_memory_clear(self._memory, True)
        self._saved.clear()
        return DecodeError(message)

    def warm_up(self) -> None:
        """Read all weights once, so that the first request doesn't wait for page faults."""
        lib.llama_set_warmup(self._context, True)
        self._batch.fill([Run(0, 0, [max(lib.llama_vocab_bos(self.vocab), 0)])])
        lib.llama_decode(self._context, self._batch.struct)
        lib.llama_memory_clear(self._memory, True)
        lib.llama_synchronize(self._context)
        lib.llama_set_warmup(self._context, False)

    def time_rows(self, num_slots: int, num_rows: int) -> float:
        """Seconds for `num_rows` rows, equally many of each of `num_slots` slots.

        The cache must be empty, and is empty afterwards.
        """
        tokens = [0] * (num_rows // num_slots)
        begin = time.perf_counter()
        self.decode([Run(slot, 0, tokens, 1) for slot in range(num_slots)])
        lib.llama_synchronize(self._context)
        seconds = time.perf_counter() - begin
        lib.llama_memory_clear(self._memory, False)
        return seconds

    def _log_times(self) -> None:
        times = lib.llama_perf_context(self._context)
        logger.info(
            "llama.cpp computed %d tokens of prompts in %.0f ms, and %d single tokens in %.0f ms",
            times.n_p_eval,
            times.t_p_eval_ms,
            times.n_eval,
            times.t_eval_ms,
        )

    def close(self) -> None:
        """Free the context and the model."""
        if self.config.perf:
            self._log_times()
        self.device_samplers.close()
        lib.llama_free(self._context)
        self._threads.close()
        lib.llama_model_free(self.model)

    def _check(self, rows: Rows) -> None:
        """Raises `DecodeError` for a position, token or size over which llama.cpp would end the
        process."""
        tokens, positions, slots, outputs = rows
        if min(slots) < 0 or max(slots) >= self.n_slots:
            raise self.failure("a batch has rows of a slot that does not exist")
        if min(positions) < 0 or max(positions) >= self.n_ctx_slot:
            raise self.failure(f"a slot can't hold {max(positions) + 1} tokens")
        if min(tokens) < 0 or max(tokens) >= self.n_vocab:
            raise self.failure("a token is outside the vocabulary")
        if len(tokens) > self._batch.size or len(outputs) > self._n_outputs:
            raise self.failure("a batch is larger than n_batch, or wants too many logits")

    def _prepare(self, kind: BatchKind, slots: list[int]) -> None:
        """Switch the context to a kind of batch; `slots` are those of its rows."""
        self._kind = None  # until it is switched
        if not self.adapters.have(kind.lora):
            raise self.failure("an adapter is not loaded")
        self.adapters.put_on(self._context, kind.lora)
        if kind.is_embedding:
            if self.embedding is None:
                raise self.failure("the context computes no embeddings")
            self._first_rows = {slot: slots.index(slot) for slot in dict.fromkeys(slots)}
            if self.embedding.is_whole and len(slots) > self.embedding.max_rows:
                raise self.failure("prompts to embed are larger than a micro-batch")
        if kind.is_embedding != self._yields_embeddings:
            lib.llama_set_embeddings(self._context, kind.is_embedding)
            self._yields_embeddings = kind.is_embedding
        self._kind = kind

    def _copy(self, edit: CopyPrefix) -> None:
        if not self.memory.can_trim:
            self._copy_whole(edit.source, edit.target)
        elif self.is_unified:
            lib.llama_memory_seq_rm(self._memory, edit.target, -1, -1)
            lib.llama_memory_seq_cp(self._memory, edit.source, edit.target, 0, edit.length)
        else:
            # Between streams llama.cpp copies all cells or aborts: copy all, then drop the tail.
            lib.llama_memory_seq_cp(self._memory, edit.source, edit.target, -1, -1)
            self._trim(edit.target, edit.length)

    def _copy_whole(self, source: int, target: int) -> None:
        """Copy a slot whose memory can't trim.

        In one stream, cells are shared. Those in a window are not: llama.cpp takes only cells of
        a single sequence back when they leave the window.
        """
        if self.is_unified:
            lib.llama_memory_seq_rm(self._memory, target, -1, -1)
            lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)
            self.set_state(target, self.read_state(source, PARTIAL), PARTIAL)
        else:
            self.set_state(target, self.read_state(source))

    def _shift(self, edit: Shift) -> None:
        """Drop cells and move those behind them. The next decode rotates the keys accordingly."""
        if self.is_unified and edit.may_be_shared:
            self._unshare(edit.slot)
        if not lib.llama_memory_seq_rm(self._memory, edit.slot, edit.start, edit.stop):
            raise self.failure(f"the model's memory can't drop a part of slot {edit.slot}")
        lib.llama_memory_seq_add(self._memory, edit.slot, edit.stop, -1, edit.start - edit.stop)

    def _unshare(self, slot: int) -> None:
        """Give a slot cells of its own. A shared cell has one position for all its slots."""
        state = self.read_state(slot)
        lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
        self.set_state(slot, state)

    def read_state(self, slot: int, part: int = WHOLE) -> State:
        """What a slot holds, or a part of it. Raises `DecodeError`."""
        size: int = lib.llama_state_seq_get_size_ext(self._context, slot, part)
        state: State = np.empty(size, dtype=np.uint8)
        address = pointer(state, ctypes.c_uint8)
        if lib.llama_state_seq_get_data_ext(self._context, address, size, slot, part) != size:
            raise self.failure(f"the cells of slot {slot} could not be saved")
        return state

    def _write_state(self, edit: Restore) -> None:
        lib.llama_memory_seq_rm(self._memory, edit.slot, -1, -1)
        self.set_state(edit.slot, self._saved[edit.prefix])
        self._trim(edit.slot, edit.length)

    def set_state(self, slot: int, state: State, part: int = WHOLE) -> None:
        """Give a slot what was read, as the same part. Raises `DecodeError`."""
        address, size = pointer(state, ctypes.c_uint8), len(state)
        if lib.llama_state_seq_set_data_ext(self._context, address, size, slot, part) == 0:
            raise self.failure(f"saved cells could not be restored to slot {slot}")

    def _trim(self, slot: int, length: int) -> None:
        if not lib.llama_memory_seq_rm(self._memory, slot, length, -1):
            raise self.failure(f"the model's memory can't drop the tail of slot {slot}")

    def _try_adapters(self) -> None:
        """Compute a token with each adapter.

        llama.cpp loads some adapters with which computing then ends the process. That should
        happen at the start rather than under load.
        """
        for adapter in self.adapters.infos:
            self.adapters.put_on(self._context, ((adapter.digest, 1.0),))
            self._batch.fill([Run(0, 0, [0])])
            if lib.llama_decode(self._context, self._batch.struct) != 0:
                raise LoadError(f"the model can't be computed with the adapter {adapter.path}")
            lib.llama_memory_clear(self._memory, True)
        self.adapters.put_on(self._context, ())

    def _try_memory(self) -> Memory:
        """Measure the memory, and try what it can do, with a sequence of two tokens."""
        (first, first_part), (second, second_part) = map(self._states_after, (0, 1))
        window = 0 if self.config.swa_full else lib.llama_model_n_swa(self.model)
        # When the tail is dropped, cells that slid out of a window can't come back.
        can_trim = self._can_drop_tail() and window <= 0
        cell, window_cell = len(second) - len(first), len(second_part) - len(first_part)
        can_checkpoint = not can_trim and (window > 0 or window_cell == 0)
        can_checkpoint = can_checkpoint and self._can_go_back(first_part)
        lib.llama_memory_clear(self._memory, True)
        if not can_checkpoint:
            window = window_cell = 0
        rest = len(first) - cell
        sizes = StateSizes(cell - window_cell, rest, max(window, 0), window_cell)
        return self._described(sizes, can_trim=can_trim, can_checkpoint=can_checkpoint)

    def _states_after(self, position: int) -> tuple[State, State]:
        """Compute a token of slot 0; returns what the slot holds then, and what can't be trimmed
        of it."""
        self._batch.fill([Run(0, position, [0])])
        if lib.llama_decode(self._context, self._batch.struct) != 0:
            raise LoadError("the model can't compute a sequence of two tokens")
        return self.read_state(0), self.read_state(0, PARTIAL)

    def _can_drop_tail(self) -> bool:
        """Whether the last of two tokens of slot 0 was dropped."""
        snapshots: int = lib.llama_n_rs_seq(self._context)
        return not snapshots and bool(lib.llama_memory_seq_rm(self._memory, 0, 1, -1))

    def _described(self, sizes: StateSizes, *, can_trim: bool, can_checkpoint: bool) -> Memory:
        can_shift = can_trim and bool(lib.llama_memory_can_shift(self._memory))
        is_recurrent = _is_recurrent(self.model)
        snapshots: int = lib.llama_n_rs_seq(self._context)
        recomputes = is_recurrent and can_checkpoint and not snapshots
        of_states = sys.maxsize if recomputes else snapshots
        return Memory(
            sizes,
            can_trim,
            can_shift and _can_rotate_keys(self.model, self.config),
            can_checkpoint,
            is_recurrent,
            snapshots,
            self._max_rollback(of_states if is_recurrent else None),
            recomputes,
        )

    def _max_rollback(self, of_states: int | None) -> int:
        """How many tokens a memory that can't trim can take back after a batch. `of_states` says
        how many its recurrent states can, if it has such states.

        A micro-batch overwrites cells that no token behind the micro-batch's first sees. So a
        window loses nothing that is needed, if the tokens and the one before them are computed in
        one micro-batch.
        """
        bounds = [] if of_states is None else [of_states]
        if lib.llama_model_n_swa(self.model) > 0 or of_states == sys.maxsize:
            bounds.append(max(lib.llama_n_ubatch(self._context) - MAX_RUN, 0))
        return min(bounds, default=0)

    def _can_go_back(self, state: State) -> bool:
        """Whether slot 0 is a sequence of one token once it got the partial state after it."""
        address = pointer(state, ctypes.c_uint8)
        args = (self._context, address, len(state), 0, PARTIAL)
        return (
            lib.llama_state_seq_set_data_ext(*args) == len(state)
            and bool(lib.llama_memory_seq_rm(self._memory, 0, 1, -1))
            and lib.llama_memory_seq_pos_max(self._memory, 0) == 0
        )


def _is_recurrent(model: Any) -> bool:
    return bool(lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))


def _can_rotate_keys(model: Any, config: EngineConfig) -> bool:
    """Whether keys can be rotated to other positions.

    llama.cpp says yes for all types, but ends the process in the attempt for some. Quantized keys
    are only rotated correctly in the layout for heads whose size is a multiple of 64.
    """
    if config.cache_type_k in ("f32", "f16"):
        return True
    if config.cache_type_k == "bf16" or _metadata(model, "attention.kv_lora_rank"):
        return False
    sizes = [_metadata(model, f"attention.key_length{suffix}") for suffix in ("", "_swa")]
    head = lib.llama_model_n_embd(model) // max(lib.llama_model_n_head(model), 1)
    return all(int(size) % 64 == 0 for size in (sizes[0] or head, sizes[1] or 0))


def _metadata(model: Any, key: str) -> str:
    """A value of the model's architecture from its metadata, or "" without it."""
    buffer = ctypes.create_string_buffer(128)
    lib.llama_model_meta_val_str(model, b"general.architecture", buffer, len(buffer))
    name = buffer.value + b"." + key.encode()
    found = lib.llama_model_meta_val_str(model, name, buffer, len(buffer)) >= 0
    return buffer.value.decode(errors="replace") if found else ""
