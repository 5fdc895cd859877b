"""The one file that drives a llama.cpp model and context.

Cells of the KV cache come in one of two layouts. Partitioned: every slot has a stream of its
own, `pad256(n_ctx / n_slots)` cells. Unified: all slots share one stream, in which copying a
prefix is bookkeeping only, but attention looks at every cell in use.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence as Tokens
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import llama_cpp as lib

from scheduler.backend import Bytes, DecodeError, LoadError, SamplerError
from scheduler.constraint import ConstraintCompiler, ConstraintFailed, Matcher
from scheduler.cpus import usable_cores
from scheduler.fingerprint import (
    Fingerprint,
    digest_of_library,
    digest_of_model,
    stamp_of_model,
)
from scheduler.llama_backends import load_backends
from scheduler.prefix import CacheAbilities
from scheduler.protocol import EngineConfig, ModelInfo, Submit
from scheduler.sampling import Candidates, LlamaSampler, Logits, Vocabulary
from scheduler.sequence import CacheEdit, Chunk, CopyPrefix, Drop, Restore, Save, Shift

logger = logging.getLogger(__name__)

State = np.ndarray[Any, np.dtype[np.uint8]]
"""The cells of one slot, as llama.cpp writes them."""

CACHE_TYPES = {
    "f32": lib.GGML_TYPE_F32,
    "f16": lib.GGML_TYPE_F16,
    "bf16": 30,  # the bindings have no name for it
    "q8_0": lib.GGML_TYPE_Q8_0,
    "q4_0": lib.GGML_TYPE_Q4_0,
    "q4_1": lib.GGML_TYPE_Q4_1,
    "iq4_nl": lib.GGML_TYPE_IQ4_NL,
    "q5_0": lib.GGML_TYPE_Q5_0,
    "q5_1": lib.GGML_TYPE_Q5_1,
}
UNQUANTIZED = ("f32", "f16", "bf16")
MAX_SCORES_BYTES = 512 << 20
"""Memory for attention scores up to which a CPU goes without flash attention."""

FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
SPLIT_MODES = {"none": 0, "layer": 1, "row": 2, "tensor": 3}
ROPE_FIELDS = (
    "rope_scaling",
    "rope_freq_base",
    "rope_freq_scale",
    "yarn_orig_ctx",
    "yarn_ext_factor",
    "yarn_attn_factor",
    "yarn_beta_slow",
    "yarn_beta_fast",
)
ROPE_SCALINGS = {"": -1, "none": 0, "linear": 1, "yarn": 2}

_fast = ctypes.PyDLL(lib._lib._name)
_get_logits = _fast.llama_get_logits
_get_logits.argtypes = [ctypes.c_void_p]
_get_logits.restype = ctypes.c_void_p


class LlamaBackend:
    """A loaded model with a context of `config.n_slots` sequences. Raises `LoadError`."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        lib.llama_backend_init()
        load_backends()
        self._model_stamp = stamp_of_model(Path(config.model_path))
        self._model = _load_model(config)
        _check_layout(self._model, config)
        self._context = _make_context(self._model, config)
        self._memory = lib.llama_get_memory(self._context)
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._batch = _Batch(lib.llama_n_batch(self._context))
        self._info = self._describe()
        self._cells = self._describe_cells()
        self._saved: dict[int, State] = {}
        self._candidates = Candidates(self._info.n_vocab)
        self._vocabulary = Vocabulary(
            self._vocab, self._info.n_vocab, self._info.n_ctx_slot, _suppressed(self._vocab)
        )
        self._constraints = ConstraintCompiler(self._vocab)
        self._constraints.start()
        self._end_tokens = frozenset(
            token
            for token in range(self._info.n_vocab)
            if lib.llama_vocab_is_eog(self._vocab, token)
        )
        if config.warmup:
            self._warm_up()

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def n_batch(self) -> int:
        return self._batch.size

    @property
    def end_tokens(self) -> frozenset[int]:
        return self._end_tokens

    @property
    def abilities(self) -> CacheAbilities:
        info = self._info
        return CacheAbilities(info.can_trim, can_copy=info.can_trim, can_shift=info.can_shift)

    @property
    def context(self) -> int:
        """Address of the context, for samplers that read its logits."""
        return int(self._context)

    def edit(self, edit: CacheEdit) -> None:
        """Copy or drop cells. Raises `DecodeError`."""
        if isinstance(edit, CopyPrefix):
            self._copy(edit)
        elif isinstance(edit, Shift):
            self._shift(edit)
        elif isinstance(edit, Save):
            self._saved[edit.prefix] = self._read_state(edit.slot)
        elif isinstance(edit, Restore):
            self._write_state(edit)
        elif isinstance(edit, Drop):
            del self._saved[edit.prefix]
        else:
            self._trim(edit.slot, edit.length)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What saved cells belong to. Raises `OSError`, also if the model's file is another one
        by now: its digest would let the next server take our cells for its own."""
        path = Path(self._config.model_path)
        model = digest_of_model(path)
        if stamp_of_model(path) != self._model_stamp:
            raise OSError(f"{path} has changed since it was loaded")
        library = digest_of_library(Path(lib._lib._name))
        return Fingerprint(
            model=model,
            build=f"llama-cpp-python {llama_cpp.__version__}, library {library}",
            context=self._cells,
        )

    def _describe_cells(self) -> str:
        """All that decides how a token's cell is computed and stored, besides the model."""
        config, info = self._config, self._info
        layout = "unified" if config.kv_unified else "partitioned"
        rope = [getattr(config, name) for name in ROPE_FIELDS]
        return (
            f"{config.cache_type_k}/{config.cache_type_v} {layout}, {info.n_ctx_slot} tokens a "
            f"slot, {info.cell_bytes} bytes a token, flash attention "
            f"{_flash_attention(self._model, config)}, swa-full {config.swa_full}, RoPE {rope}"
        )

    def state(self, prefix: int) -> memoryview:
        """The cells saved as `prefix`."""
        return self._saved[prefix].data

    def put_state(self, prefix: int, state: Bytes) -> None:
        """Have cells as if they had just been saved; llama.cpp believes what they say."""
        self._saved[prefix] = np.frombuffer(state, dtype=np.uint8)

    def decode(self, chunks: Tokens[Chunk]) -> None:
        """Compute the chunks in one batch. Raises `DecodeError`."""
        self._check(chunks)
        self._batch.fill(chunks)
        code = lib.llama_decode(self._context, self._batch.struct)
        if code != 0:
            raise self._failure(f"llama_decode returned {code}")
        if self._batch.output_indices:
            self._logits_address = _get_logits(self._context)

    def row(self, index: int) -> Logits:
        """A writable view of a row of the last batch's logits, shape (n_vocab,)."""
        n_vocab = self._info.n_vocab
        address = self._logits_address + index * n_vocab * 4
        memory = (ctypes.c_float * n_vocab).from_address(address)
        return np.frombuffer(memoryview(memory), dtype=np.float32)

    def batch_index(self, index: int) -> int:
        """Position in the batch of the token that a row belongs to."""
        return self._batch.output_indices[index]

    def prepare(self, submit: Submit) -> Future[Matcher] | None:
        """Compile a constraint in a thread: a large one takes up to some seconds."""
        return None if submit.constraint is None else self._constraints.prepare(submit.constraint)

    def sampler(self, submit: Submit) -> LlamaSampler:
        """Samplers for a sequence that starts. Raises `SamplerError`."""
        matcher = None
        if submit.constraint is not None:
            try:
                matcher = self._constraints.matcher(submit.constraint)
            except ConstraintFailed as error:
                raise SamplerError(str(error)) from error
        return LlamaSampler(submit, self, self._vocabulary, self._candidates, matcher)

    def close(self) -> None:
        """Free the context and the model."""
        self._constraints.close()
        lib.llama_free(self._context)
        lib.llama_model_free(self._model)

    def _check(self, chunks: Tokens[Chunk]) -> None:
        """llama.cpp ends the process over a wrong position or size; say so before it does."""
        info = self._info
        if sum(chunk.num_tokens for chunk in chunks) > self._batch.size:
            raise self._failure("a batch is larger than n_batch")
        for chunk in chunks:
            if not (0 <= chunk.slot < info.n_slots and chunk.stop <= info.n_ctx_slot):
                raise self._failure(f"slot {chunk.slot} can't hold {chunk.stop} tokens")
            tokens = chunk.sequence.tokens[chunk.start : chunk.stop]
            if min(tokens) < 0 or max(tokens) >= info.n_vocab:
                raise self._failure("a token is outside the vocabulary")

    def _failure(self, message: str) -> DecodeError:
        """The error to raise, once nothing in doubt is left in the cache."""
        lib.llama_memory_clear(self._memory, True)
        self._saved.clear()
        return DecodeError(message)

    def _copy(self, edit: CopyPrefix) -> None:
        if self._config.kv_unified:
            lib.llama_memory_seq_rm(self._memory, edit.target, -1, -1)
            lib.llama_memory_seq_cp(self._memory, edit.source, edit.target, 0, edit.length)
        else:
            # Between streams llama.cpp copies all or aborts, so copy all and drop the tail.
            lib.llama_memory_seq_cp(self._memory, edit.source, edit.target, -1, -1)
            self._trim(edit.target, edit.length)

    def _shift(self, edit: Shift) -> None:
        """The keys are turned to their new positions by the next decode."""
        if self._config.kv_unified and edit.may_be_shared:
            self._unshare(edit.slot)
        if not lib.llama_memory_seq_rm(self._memory, edit.slot, edit.start, edit.stop):
            raise self._failure(f"the model's memory can't drop a part of slot {edit.slot}")
        lib.llama_memory_seq_add(self._memory, edit.slot, edit.stop, -1, edit.start - edit.stop)

    def _unshare(self, slot: int) -> None:
        """Give a slot cells of its own: a shared cell has one position, which would move for
        everyone."""
        state = self._read_state(slot)
        lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
        pointer = _pointer(state, ctypes.c_uint8)
        if lib.llama_state_seq_set_data(self._context, pointer, len(state), slot) == 0:
            raise self._failure(f"slot {slot} could not be given cells of its own")

    def _read_state(self, slot: int) -> State:
        size: int = lib.llama_state_seq_get_size(self._context, slot)
        state: State = np.empty(size, dtype=np.uint8)
        pointer = _pointer(state, ctypes.c_uint8)
        if lib.llama_state_seq_get_data(self._context, pointer, size, slot) != size:
            raise self._failure(f"the cells of slot {slot} could not be saved")
        return state

    def _write_state(self, edit: Restore) -> None:
        state = self._saved[edit.prefix]
        pointer = _pointer(state, ctypes.c_uint8)
        lib.llama_memory_seq_rm(self._memory, edit.slot, -1, -1)
        if lib.llama_state_seq_set_data(self._context, pointer, len(state), edit.slot) == 0:
            raise self._failure(f"saved cells could not be restored to slot {edit.slot}")
        self._trim(edit.slot, edit.length)

    def _trim(self, slot: int, length: int) -> None:
        if not lib.llama_memory_seq_rm(self._memory, slot, length, -1):
            raise self._failure(f"the model's memory can't drop the tail of slot {slot}")

    def _warm_up(self) -> None:
        """Touch all weights once, so that the first request doesn't pay for page faults."""
        lib.llama_set_warmup(self._context, True)
        token = max(lib.llama_vocab_bos(self._vocab), 0)
        self._batch.fill_rows([token], [0], 0)
        lib.llama_decode(self._context, self._batch.struct)
        lib.llama_memory_clear(self._memory, True)
        lib.llama_synchronize(self._context)
        lib.llama_set_warmup(self._context, False)

    def _try_memory(self) -> _Memory:
        """What the memory can do and takes: found out by trying, on a sequence of two tokens."""
        sizes = []
        for position in (0, 1):
            self._batch.fill_rows([0], [position], 0)
            if lib.llama_decode(self._context, self._batch.struct) != 0:
                raise LoadError("the model can't compute a sequence of two tokens")
            sizes.append(lib.llama_state_seq_get_size(self._context, 0))
        able = bool(lib.llama_memory_seq_rm(self._memory, 0, 1, -1))
        lib.llama_memory_clear(self._memory, True)
        slides = lib.llama_model_n_swa(self._model) > 0 and not self._config.swa_full
        # Cells that slid out of a window can't come back when the tail is dropped.
        can_trim = able and not slides
        can_shift = can_trim and bool(lib.llama_memory_can_shift(self._memory))
        can_shift = can_shift and _can_turn_keys(self._model, self._config)
        cell_bytes = sizes[1] - sizes[0]
        return _Memory(cell_bytes, sizes[0] - cell_bytes, can_trim, can_shift)

    def _describe(self) -> ModelInfo:
        buffer = ctypes.create_string_buffer(256)
        lib.llama_model_desc(self._model, buffer, len(buffer))
        file_type = lib.llama_ftype_name(lib.llama_model_ftype(self._model)) or b""
        memory = self._try_memory()
        _check_shifts(self._config, memory)
        return ModelInfo(
            n_ctx=lib.llama_n_ctx(self._context),
            n_ctx_slot=lib.llama_n_ctx_seq(self._context),
            n_slots=lib.llama_n_seq_max(self._context),
            n_vocab=lib.llama_vocab_n_tokens(self._vocab),
            n_params=lib.llama_model_n_params(self._model),
            size_bytes=lib.llama_model_size(self._model),
            description=buffer.value.decode(errors="replace"),
            file_type=file_type.decode(errors="replace"),
            system_info=lib.llama_print_system_info().decode(errors="replace"),
            cell_bytes=max(memory.cell_bytes, 1),
            state_bytes=memory.state_bytes,
            can_trim=memory.can_trim,
            can_shift=memory.can_shift,
        )


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a model's memory takes and can do."""

    cell_bytes: int
    """Of one token; 0 where all tokens share one state."""
    state_bytes: int
    """Of a sequence, besides its cells."""
    can_trim: bool
    can_shift: bool


def _can_turn_keys(model: Any, config: EngineConfig) -> bool:
    """Whether keys can be turned to other positions; where they can't llama.cpp says that they
    can, and the process dies in the attempt. Quantized ones are only turned right in the layout
    that it uses for heads of a multiple of 64."""
    if config.cache_type_k in ("f32", "f16"):
        return True
    if config.cache_type_k == "bf16" or _metadata(model, "attention.kv_lora_rank"):
        return False
    sizes = [_metadata(model, f"attention.key_length{suffix}") for suffix in ("", "_swa")]
    head = lib.llama_model_n_embd(model) // max(lib.llama_model_n_head(model), 1)
    return all(int(size) % 64 == 0 for size in (sizes[0] or head, sizes[1] or 0))


def _metadata(model: Any, key: str) -> str:
    """A value of the model's architecture, or nothing."""
    buffer = ctypes.create_string_buffer(128)
    lib.llama_model_meta_val_str(model, b"general.architecture", buffer, len(buffer))
    name = buffer.value + b"." + key.encode()
    found = lib.llama_model_meta_val_str(model, name, buffer, len(buffer)) >= 0
    return buffer.value.decode(errors="replace") if found else ""


def _check_shifts(config: EngineConfig, memory: _Memory) -> None:
    for wanted, flag in (
        (config.context_shift, "--context-shift"),
        (config.cache_reuse, "--cache-reuse"),
    ):
        if wanted and not memory.can_shift:
            raise LoadError(
                f"{flag}: cells of this model's memory can't be moved with --cache-type-k "
                f"{config.cache_type_k}"
            )


class _Batch:
    """A `llama_batch` over numpy arrays, which are filled by slices rather than by calls."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.output_indices: list[int] = []
        self._tokens = np.zeros(size, dtype=np.int32)
        self._positions = np.zeros(size, dtype=np.int32)
        self._counts = np.ones(size, dtype=np.int32)
        self._slots = np.zeros(size, dtype=np.int32)
        self._outputs = np.zeros(size, dtype=np.int8)
        addresses = self._slots.ctypes.data + np.arange(size, dtype=np.uint64) * 4
        self._slot_pointers = addresses.astype(np.uint64)
        self.struct = lib.llama_batch(
            0,
            _pointer(self._tokens, ctypes.c_int32),
            None,
            _pointer(self._positions, ctypes.c_int32),
            _pointer(self._counts, ctypes.c_int32),
            _pointer(self._slot_pointers, ctypes.POINTER(ctypes.c_int32)),
            _pointer(self._outputs, ctypes.c_int8),
        )

    def fill(self, chunks: Tokens[Chunk]) -> None:
        """Lay the chunks out one after the other; slots must rise, or llama.cpp splits more."""
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        self.output_indices = []
        for chunk in chunks:
            tokens += chunk.sequence.tokens[chunk.start : chunk.stop]
            positions += range(chunk.start, chunk.stop)
            slots += [chunk.slot] * chunk.num_tokens
            if chunk.wants_logits:
                self.output_indices.append(len(tokens) - 1)
        self._write(tokens, positions, slots)

    def fill_rows(self, tokens: list[int], positions: list[int], slot: int) -> None:
        """Rows of one slot, without logits."""
        self.output_indices = []
        self._write(tokens, positions, [slot] * len(tokens))

    def _write(self, tokens: list[int], positions: list[int], slots: list[int]) -> None:
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        self._slots[:count] = slots
        self._outputs[:count] = 0
        self._outputs[self.output_indices] = 1
        self.struct.n_tokens = count


def _pointer(array: np.ndarray[Any, Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))


def _suppressed(vocab: Any) -> tuple[int, ...]:
    count = ctypes.c_int32(0)
    tokens = lib.llama_vocab_get_suppress_tokens(vocab, ctypes.byref(count))
    return tuple(tokens[i] for i in range(count.value)) if tokens else ()


def _load_model(config: EngineConfig) -> Any:
    params = lib.llama_model_default_params()
    params.n_gpu_layers = config.n_gpu_layers
    params.main_gpu = config.main_gpu
    params.split_mode = SPLIT_MODES[config.split_mode]
    params.load_mode = lib.llama_load_mode_from_str(config.load_mode.encode())
    params.check_tensors = config.check_tensors
    params.use_extra_bufts = config.use_repack
    if config.tensor_split:
        shares = (ctypes.c_float * lib.llama_max_devices())(*config.tensor_split)
        params.tensor_split = shares
    model = lib.llama_model_load_from_file(config.model_path.encode(), params)
    if not model:
        raise LoadError(f"llama.cpp can't load {config.model_path}")
    return model


def _check_layout(model: Any, config: EngineConfig) -> None:
    """Refuse what llama.cpp can't lay out, in words that name the flags."""
    n_ctx = config.n_ctx or lib.llama_model_n_ctx_train(model)
    if config.n_slots > lib.llama_max_parallel_sequences():
        most = lib.llama_max_parallel_sequences()
        raise LoadError(f"--parallel must be at most {most}, got {config.n_slots}")
    if n_ctx < config.n_slots:
        raise LoadError(
            f"--ctx-size {n_ctx} is too small: each of {config.n_slots} slots needs a token"
        )
    if config.cache_type_v not in UNQUANTIZED and config.flash_attn == "off":
        raise LoadError(
            f"--cache-type-v {config.cache_type_v} needs flash attention, which --flash-attn "
            "turns off"
        )


def _make_context(model: Any, config: EngineConfig) -> Any:
    threads = config.n_threads or usable_cores()
    params = lib.llama_context_default_params()
    params.n_ctx = config.n_ctx
    params.n_batch = max(config.n_batch, config.n_slots)
    params.n_ubatch = min(config.n_ubatch, params.n_batch)
    params.n_seq_max = config.n_slots
    params.n_outputs_max = config.n_slots
    params.n_threads = threads
    params.n_threads_batch = config.n_threads_batch or threads
    params.flash_attn_type = FLASH_ATTENTION[_flash_attention(model, config)]
    params.type_k = CACHE_TYPES[config.cache_type_k]
    params.type_v = CACHE_TYPES[config.cache_type_v]
    params.kv_unified = config.kv_unified
    params.offload_kqv = config.kv_offload
    params.op_offload = config.op_offload
    params.swa_full = config.swa_full
    params.no_perf = True
    _set_rope(params, config)
    context = lib.llama_init_from_model(model, params)
    if not context:
        n_ctx = config.n_ctx or lib.llama_model_n_ctx_train(model)
        lib.llama_model_free(model)
        raise LoadError(f"llama.cpp can't make a context of {n_ctx} tokens")
    return context


def _flash_attention(model: Any, config: EngineConfig) -> str:
    """What `auto` means here: flash attention on GPUs, and on CPUs only where it is needed.

    llama.cpp's CPU kernel computes fewer than 64 rows of a sequence one by one, which is what
    decoding and the tails of prompts are made of: at a depth of 1,000 tokens a 100M model decoded
    7 rows in 39 ms without flash attention and in 100 ms with it, and 16 rows of a prompt in 43
    instead of 192 ms; only prompts of 512 rows at once were 10 % slower. Without it the scores of
    a whole micro-batch are kept, which must not take too much memory.
    """
    on_gpu = lib.llama_supports_gpu_offload() and config.n_gpu_layers != 0
    needs_it = config.cache_type_v not in UNQUANTIZED
    if config.flash_attn != "auto" or on_gpu or needs_it:
        return config.flash_attn
    n_ctx = config.n_ctx or lib.llama_model_n_ctx_train(model)
    n_ctx_slot = n_ctx if config.kv_unified else n_ctx // config.n_slots
    scores = 4 * n_ctx_slot * config.n_ubatch * lib.llama_model_n_head(model)
    return "off" if scores <= MAX_SCORES_BYTES else "auto"


def _set_rope(params: Any, config: EngineConfig) -> None:
    params.rope_scaling_type = ROPE_SCALINGS[config.rope_scaling]
    params.rope_freq_base = config.rope_freq_base
    params.rope_freq_scale = config.rope_freq_scale
    params.yarn_orig_ctx = config.yarn_orig_ctx
    params.yarn_ext_factor = config.yarn_ext_factor
    params.yarn_attn_factor = config.yarn_attn_factor
    params.yarn_beta_slow = config.yarn_beta_slow
    params.yarn_beta_fast = config.yarn_beta_fast
