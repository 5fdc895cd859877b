"""The llama.cpp backend: a model's context, its vocabulary, samplers and constraints."""

from __future__ import annotations

import ctypes
import logging
import os
from collections import abc
from concurrent.futures import Future
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import llama_cpp as lib

from protocol.commands import AddRequest
from protocol.config import EngineConfig
from protocol.messages import ModelInfo
from scheduler.backends.base import Bytes, DecodeError, LoadError, Preparation, SamplerError
from scheduler.backends.cpus import sampling_threads, usable_cores
from scheduler.backends.llama.batch import BatchRows
from scheduler.backends.llama.candidates import Candidates
from scheduler.backends.llama.context import LlamaContext, Memory
from scheduler.backends.llama.devices import load_backends
from scheduler.backends.llama.draft_model import DraftModel
from scheduler.backends.llama.draft_states import DraftStates
from scheduler.backends.llama.dry import DrySamplers
from scheduler.backends.llama.loading import ROPE_FIELDS, num_outputs, warn_without_gpu
from scheduler.backends.llama.remote import add_remote_devices
from scheduler.backends.llama.sampler import LlamaSampler, Vocabulary
from scheduler.backends.llama.threads import set_priority, use_numa
from scheduler.backends.llama.vocabulary import suppressed_tokens
from scheduler.batching.micro_batches import Layout
from scheduler.constraint import ConstraintCompiler, ConstraintFailed
from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_edits import CacheEdit, Trim
from scheduler.core.step import Chunk, PaddingRow
from scheduler.native.library import LIBRARY_PATH
from scheduler.native.tokens import end_tokens
from scheduler.spec_decode.draft_request import DraftRequest
from scheduler.storage.fingerprint import (
    Fingerprint,
    digest_of_file,
    digest_of_model,
    stamp_of_model,
)

logger = logging.getLogger(__name__)

ROTATION = "LLAMA_ATTN_ROT_DISABLE"
"""A variable that llama.cpp reads: it turns the rotation of quantized cells off."""


class LlamaBackend:
    """A loaded model with a context of `config.n_slots` sequences. Raises `LoadError`."""

    def __init__(self, config: EngineConfig) -> None:
        set_priority(config.priority)
        lib.llama_backend_init()
        load_backends()
        add_remote_devices(config.remote)
        use_numa(config.numa)
        warn_without_gpu(config)
        self._model_stamp = stamp_of_model(Path(config.model_path))
        self.n_outputs = num_outputs(config)
        self.context = LlamaContext(config, n_outputs=self.n_outputs)
        self.config = config = self.context.config
        """As it was laid out."""
        _check_memory(config, self.context.memory)
        self._draft_states = DraftStates(self.context)
        self._draft = DraftModel(config, config.draft, self.context) if config.draft else None
        vocab = self.context.vocab
        self._info = self._describe()
        self._cells = self._describe_cells()
        self._candidates = Candidates(self._info.n_vocab)
        self._vocabulary = Vocabulary(
            vocab,
            self._info.n_vocab,
            self._info.n_ctx_slot,
            suppressed_tokens(vocab),
            DrySamplers(vocab, self._info.n_ctx_slot),
            has_threads=self.num_sampling_threads > 1,
        )
        self._constraints = ConstraintCompiler(vocab)
        self._constraints.start()
        self._end_tokens = end_tokens(vocab)
        if (
            config.backend_sampling and self.context.can_generate
        ):  # the costs that are measured include it
            self.context.device_samplers.attach_all()
        if config.warmup:
            self.context.warm_up()
            if self._draft is not None:
                self._draft.context.warm_up()

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def n_batch(self) -> int:
        return self.context.n_batch

    @property
    def end_tokens(self) -> frozenset[int]:
        return self._end_tokens

    @property
    def abilities(self) -> CacheAbilities:
        info = self._info
        can_checkpoint = self.context.memory.can_checkpoint
        return CacheAbilities(
            info.can_trim,
            can_copy=info.can_trim or can_checkpoint,
            can_shift=info.can_shift,
            can_checkpoint=can_checkpoint,
            max_rollback=self.context.memory.max_rollback,
            recomputes_drafts=self.context.memory.recomputes_drafts,
            reads_idle_cells=self._reads_idle_cells,
        )

    @property
    def _reads_idle_cells(self) -> bool:
        """On a GPU, steps hardly feel idle cells, and a save takes long."""
        context = self.context
        is_felt = context.is_unified and context.memory.sizes.has_cells and not context.has_device
        return is_felt and not self.config.idle_slots_stay

    def edit(self, edit: CacheEdit) -> None:
        """Make a cache edit, with the draft model's cells too. Raises `DecodeError`."""
        try:
            self.context.edit(edit)
        except DecodeError:
            self._forget_draft()
            raise
        if self._draft is not None:
            self._draft.edit(edit)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of saved cells.

        Raises `OSError`, also if the model's file has changed since it was loaded. The digest of
        the new file would let the next server take our cells for its own.
        """
        path = Path(self.config.model_path)
        model = digest_of_model(path)
        if stamp_of_model(path) != self._model_stamp:
            raise OSError(f"{path} has changed since it was loaded")
        library = digest_of_file(LIBRARY_PATH)
        return Fingerprint(
            model=model,
            build=f"llama-cpp-python {llama_cpp.__version__}, library {library}",
            context=self._cells,
        )

    def _describe_cells(self) -> str:
        """Everything that decides how a cell is computed and stored, besides model and build."""
        config, info = self.config, self._info
        layout = "unified" if info.is_unified else "partitioned"
        rope = [getattr(config, name) for name in ROPE_FIELDS]
        overrides = f", metadata {config.metadata}" if config.metadata else ""
        if rotation := os.environ.get(ROTATION):
            overrides += f", {ROTATION} {rotation}"
        if config.control_vectors:
            vectors = [(digest_of_file(Path(file)), by) for file, by in config.control_vectors]
            overrides += f", control vectors {vectors} in {config.control_vector_layers}"
        return (
            f"{config.cache_type_k}/{config.cache_type_v} {layout}, {info.n_ctx_slot} tokens a "
            f"slot, {info.cell_bytes} and {info.window_cell_bytes} bytes a token, flash attention "
            f"{self.context.flash_attention}, swa-full {config.swa_full}, "
            f"RoPE {rope}{overrides}"
        )

    def state(self, prefix: int) -> memoryview:
        """The cells saved as `prefix`."""
        return self.context.state(prefix)

    def put_state(self, prefix: int, state: Bytes) -> None:
        """Take cells from `state`, as if they had just been saved as `prefix`."""
        self.context.put_state(prefix, state)

    def portable(self, state: Bytes) -> Bytes:
        """A state as llama.cpp's files of sequences hold it."""
        return self.context.portable(state)

    def adopt(self, slot: int, cells: Bytes, num_tokens: int) -> bool:
        """Give an empty slot the `cells` of a file. Returns whether they fit."""
        return self.context.adopt(slot, cells, num_tokens)

    def decode(
        self, chunks: abc.Sequence[Chunk], padding_rows: abc.Sequence[PaddingRow] = ()
    ) -> None:
        """Begin to compute the chunks in one batch. Raises `DecodeError`."""
        kind = chunks[0].sequence.kind
        try:
            if any(chunk.sequence.kind != kind for chunk in chunks[1:]):
                raise self.context.failure("a batch has sequences of several kinds")
            self.context.device_samplers.place(chunks)
            if self.context.memory.recomputes_drafts:
                self._draft_states.keep(chunks)
            runs: list[BatchRows] = [*chunks, *padding_rows]
            if padding_rows:
                runs.sort(key=_slot)
            self.context.begin(runs, kind)
            for padding_row in padding_rows:
                self.context.edit(Trim(padding_row.slot, padding_row.start))
        except DecodeError:
            self._forget_draft()
            raise

    def wait(self) -> None:
        """Wait for the last batch."""
        self.context.wait()

    def keep_right(self, verified: abc.Sequence[tuple[Chunk, int]]) -> None:
        """Drop what the last batch computed of wrong draft tokens. Raises `DecodeError`.

        Of each chunk's draft, as many tokens were right as the number beside it says.
        """
        if not self.context.memory.recomputes_drafts:
            for chunk, num_right in verified:
                self.edit(Trim(chunk.slot, chunk.stop + num_right))
            return
        try:
            self._draft_states.take_back(verified)
        except DecodeError:
            self._forget_draft()
            raise
        if self._draft is not None:
            for chunk, num_right in verified:
                self._draft.edit(Trim(chunk.slot, chunk.stop + num_right))

    def survey(self, rows: abc.Sequence[int], size: int) -> list[abc.Callable[[], None]]:
        """Tasks that find the likeliest tokens of rows."""
        return self.context.survey(rows, size)

    @property
    def num_sampling_threads(self) -> int:
        """Threads for the cores that the model does not compute with."""
        return sampling_threads(
            self.config.sampling_threads,
            cores=usable_cores(),
            busy=self.context.num_busy_cores,
            n_slots=self._info.n_slots,
        )

    def embedding(self, chunk: Chunk) -> bytes:
        """The embedding that the last batch computed for a chunk. Raises `DecodeError`."""
        return self.context.vectors(chunk.slot, chunk.num_tokens)

    @property
    def layout(self) -> Layout:
        return self.context.layout

    @property
    def num_reused_graphs(self) -> int:
        return self.context.num_reused_graphs

    def time_rows(self, num_slots: int, num_rows: int) -> float:
        """Seconds for a batch of `num_rows` rows of `num_slots` slots."""
        return self.context.time_rows(num_slots, num_rows)

    def time_draft_rows(self, num_slots: int, num_rows: int) -> float:
        """`time_rows` for the draft model; 0 without one."""
        return 0.0 if self._draft is None else self._draft.context.time_rows(num_slots, num_rows)

    def draft(self, requests: abc.Sequence[DraftRequest], max_catch_up: int) -> list[list[int]]:
        """A draft for each request; all are empty without a draft model."""
        if self._draft is None:
            return [[] for _ in requests]
        return self._draft.draft(requests, max_catch_up)

    def _forget_draft(self) -> None:
        if self._draft is not None:
            self._draft.forget()

    def prepare(self, request: AddRequest) -> Preparation | None:
        """Compile a constraint in a thread, and make a DRY sampler in another.

        Large ones take up to some seconds. Tenants take turns.
        """
        spec = request.spec
        dry = None if spec.embedding else self._vocabulary.dry.prepare(spec.sampling, spec.tenant)
        if spec.constraint is None:
            return dry
        return _both(self._constraints.prepare(spec.constraint, spec.tenant), dry)

    def sampler(self, request: AddRequest, prepared: Preparation | None = None) -> LlamaSampler:
        """The sampler of a sequence that starts. Raises `SamplerError`."""
        matcher = None if prepared is None else prepared.result()
        if matcher is None and request.spec.constraint is not None:
            try:
                matcher = self._constraints.matcher(request.spec.constraint)
            except ConstraintFailed as error:
                raise SamplerError(str(error)) from error
        return LlamaSampler(request, self.context, self._vocabulary, self._candidates, matcher)

    def rest(self) -> None:
        """Give memory that constraints took back to the system."""
        self._constraints.give_memory_back()

    def close(self) -> None:
        """Free the context and the model."""
        self._constraints.close()
        self._vocabulary.dry.close()
        if self._draft is not None:
            self._draft.close()
        self.context.close()

    @property
    def _draft_cell_bytes(self) -> int:
        """Bytes of a draft model's cell, which is saved with the large model's cell."""
        return 0 if self._draft is None else self._draft.context.memory.sizes.cell_bytes

    def _describe(self) -> ModelInfo:
        context = self.context
        buffer = ctypes.create_string_buffer(256)
        lib.llama_model_desc(context.model, buffer, len(buffer))
        file_type = lib.llama_ftype_name(lib.llama_model_ftype(context.model)) or b""
        return ModelInfo(
            n_ctx=context.n_ctx,
            n_ctx_slot=context.n_ctx_slot,
            n_slots=context.n_slots,
            is_unified=context.is_unified and context.can_generate,
            n_vocab=context.n_vocab,
            n_params=lib.llama_model_n_params(context.model),
            size_bytes=lib.llama_model_size(context.model),
            description=buffer.value.decode(errors="replace"),
            file_type=file_type.decode(errors="replace"),
            system_info=lib.llama_print_system_info().decode(errors="replace"),
            cell_bytes=context.memory.sizes.cell_bytes + self._draft_cell_bytes,
            state_bytes=context.memory.sizes.state_bytes,
            window=context.memory.sizes.window,
            window_cell_bytes=context.memory.sizes.window_cell_bytes,
            can_trim=context.memory.can_trim,
            can_shift=context.memory.can_shift,
            adapters=context.adapters.infos,
            embedding=context.embedding,
            can_generate=context.can_generate,
            flash_attn=context.flash_attention,
        )


_slot = attrgetter("slot")


def _check_memory(config: EngineConfig, memory: Memory) -> None:
    if config.max_draft_tokens > 0 and not memory.can_trim:
        _check_rollback(config, memory)
    for wanted, flag in (
        (config.context_shift, "--context-shift"),
        (config.cache_reuse, "--cache-reuse"),
    ):
        if wanted and not memory.can_shift:
            raise LoadError(
                f"{flag}: cells of this model's memory can't be moved with --cache-type-k "
                f"{config.cache_type_k}"
            )


def _check_rollback(config: EngineConfig, memory: Memory) -> None:
    """Raises `LoadError` if no draft can be taken back; logs what drafts cost and how long they may
    be."""
    if memory.max_rollback == 0:
        reason = (
            "recurrent, and llama.cpp can't save its states"
            if memory.is_recurrent and not (memory.num_snapshots or memory.recomputes_drafts)
            else "--ubatch-size is too small"
        )
        raise LoadError(f"--spec-type: the model's memory can't drop rejected drafts: {reason}")
    if memory.num_snapshots:
        size = memory.num_snapshots * config.n_slots * memory.sizes.state_bytes
        logger.info(
            "drafts have at most %d tokens: snapshots of the recurrent states take %d MiB",
            memory.num_snapshots,
            size >> 20,
        )


def _both(first: Future[Any], second: Future[Any] | None) -> Future[Any]:
    """A future that is done when both are, with the first one's outcome."""
    if second is None:
        return first
    both: Future[Any] = Future()

    def cancel(both: Future[Any]) -> None:
        if both.cancelled():
            first.cancel()
            second.cancel()

    def second_is_done(second: Future[Any]) -> None:
        first.add_done_callback(finish)

    def finish(first: Future[Any]) -> None:
        if not both.set_running_or_notify_cancel():
            return
        error = first.exception()
        if error is None:
            both.set_result(first.result())
        else:
            both.set_exception(error)

    both.add_done_callback(cancel)
    second.add_done_callback(second_is_done)
    return both
