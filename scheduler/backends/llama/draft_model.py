"""The draft model on llama.cpp: a small model that drafts what the large one may say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from protocol.config import DraftConfig, EngineConfig
from scheduler.backends.base import DecodeError, LoadError, SamplerError
from scheduler.backends.llama.batch import Run
from scheduler.backends.llama.candidates import Logits
from scheduler.backends.llama.context import LlamaContext
from scheduler.backends.llama.sampler import LlamaSampler
from scheduler.backends.llama.shortlist import Shortlist
from scheduler.backends.llama.vocabulary import check_vocabularies
from scheduler.core.cache_edits import (
    CacheEdit,
    CopyPrefix,
    Drop,
    Restore,
    RestoreCheckpoint,
    Save,
    Shift,
    Trim,
)
from scheduler.kv_cache.prefix_index import common_prefix_length
from scheduler.native.tokens import end_tokens
from scheduler.spec_decode.draft_request import DraftRequest

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Draft:
    """One sequence's draft while it is being made."""

    request: DraftRequest
    sampler: LlamaSampler
    tokens: list[int] = field(default_factory=list)
    fresh: list[int] = field(default_factory=list)
    """Tokens of it that are not computed yet."""


class DraftModel:
    """Drafts for all slots together, one position after the other.

    The draft model's cells follow the large model's. `_held[slot]` are the tokens whose cells the
    slot has. Before each draft they are compared with the sequence's tokens. Cells of accepted
    tokens stay, others are dropped, and missing ones are computed. So no edit has to be followed
    exactly.
    """

    def __init__(self, config: EngineConfig, draft: DraftConfig, target: LlamaContext) -> None:
        """`config` and `target` are the large model's. Raises `LoadError`."""
        self.context = LlamaContext(draft_config(config, draft), n_outputs=config.n_slots)
        check_vocabularies(target.vocab, self.context.vocab)
        memory = self.context.memory
        if memory.is_recurrent or not (memory.can_trim or memory.sizes.window):
            raise LoadError(
                "--model-draft: this model's memory can't drop rejected drafts: it is recurrent"
            )
        self._rows = _Rows(self.context, target.n_vocab)
        self._end_tokens = end_tokens(target.vocab)
        self._held: list[list[int]] = [[] for _ in range(self.context.n_slots)]
        self._saved: dict[int, list[int]] = {}

    def edit(self, edit: CacheEdit) -> None:
        """Make the large model's cache edit with the draft model's cells, if there are any."""
        try:
            self._follow(edit)
        except DecodeError as error:
            self._lose(error)

    def draft(self, requests: Sequence[DraftRequest], max_catch_up: int) -> list[list[int]]:
        """A draft for each request; slots rise. A sequence with more than `max_catch_up` tokens to
        catch up with gets an empty draft."""
        try:
            return self._draft(requests, min(max_catch_up, self.context.n_batch))
        except DecodeError as error:
            self._lose(error)
            return [[] for _ in requests]

    def _draft(self, requests: Sequence[DraftRequest], max_catch_up: int) -> list[list[int]]:
        due = self._catch_up(requests, max_catch_up)
        drafts = {i: _Draft(requests[i], self._fork(requests[i])) for i in due}
        try:
            active = list(drafts.values())
            while active:
                active = [draft for row, draft in enumerate(active) if self._extend(draft, row)]
                if active:
                    self._compute(active)
        finally:
            for draft in drafts.values():
                draft.sampler.close()
        return [drafts[i].tokens if i in drafts else [] for i in range(len(requests))]

    def _fork(self, request: DraftRequest) -> LlamaSampler:
        assert isinstance(request.sampler, LlamaSampler)
        return request.sampler.fork(self._rows)

    def _catch_up(self, requests: Sequence[DraftRequest], room: int) -> list[int]:
        """Compute the tokens that the draft model has not seen, at most `room` of them together.

        Returns the indices of the requests that are complete, so that drafting can begin.
        """
        runs: list[Run] = []
        due: list[int] = []
        for index, request in enumerate(requests):
            start = self._align(request.slot, request.tokens)
            missing = request.tokens[start : start + room]
            if not missing or not self._can_read(missing):
                continue
            room -= len(missing)
            is_whole = start + len(missing) == len(request.tokens)
            runs.append(Run(request.slot, start, missing, int(is_whole)))
            if is_whole:
                due.append(index)
        if runs:
            self._decode(runs)
        return due

    def _extend(self, draft: _Draft, row: int) -> bool:
        """Draft one more token. Returns whether a next token is to be drafted."""
        request, stopping = draft.request, draft.request.stopping
        if not stopping.should_continue(_largest_probability(self.context.row(row))):
            return False
        try:
            sample = draft.sampler.sample(row)
            if sample is None:
                draft.sampler.prepare()
                sample = draft.sampler.sample(row)
        except SamplerError:  # the sequence's own sampler will fail too, if it gets there
            return False
        if sample is None or sample.token in self._end_tokens:
            return False
        draft.fresh = [sample.token, *sample.forced][: request.n_max - len(draft.tokens)]
        draft.tokens += draft.fresh
        stopping.add_forced(len(draft.fresh) - 1)
        return len(draft.tokens) < request.n_max and self._can_read(draft.fresh)

    def _compute(self, drafts: list[_Draft]) -> None:
        runs = [Run(d.request.slot, len(self._held[d.request.slot]), d.fresh, 1) for d in drafts]
        self._decode(runs)

    def _decode(self, runs: list[Run]) -> None:
        self.context.decode(runs)
        for run in runs:
            self._held[run.slot] += run.tokens

    def _align(self, slot: int, tokens: list[int]) -> int:
        """Drop cells that are not of these tokens; returns how many cells are left.

        The last token is always computed again, for its logits.
        """
        held = self._held[slot]
        length = common_prefix_length(held, tokens, min(len(held), len(tokens) - 1))
        self._trim(slot, length)
        return len(held)

    def _trim(self, slot: int, length: int) -> None:
        """Drop the tail of a slot; or all that the slot holds, where a window lacks cells then."""
        held = self._held[slot]
        if length < len(held):
            self.context.edit(Trim(slot, length))
            del held[length:]
            if held and not self.context.has_window(slot, length):
                self.context.edit(Trim(slot, 0))
                held.clear()

    def _can_read(self, tokens: list[int]) -> bool:
        return max(tokens) < self.context.n_vocab

    def _follow(self, edit: CacheEdit) -> None:
        match edit:
            case CopyPrefix():
                self._copy(edit)
            case Trim(slot, length):
                self._trim(slot, length)
            case Shift():
                self._shift(edit)
            case Save(slot, prefix):
                if self._held[slot]:
                    self.context.edit(edit)
                    self._saved[prefix] = self._held[slot].copy()
                else:  # whatever had this number before
                    self._saved.pop(prefix, None)
            case Restore():
                self._restore(edit)
            case RestoreCheckpoint(_, slot, length):
                self._trim(slot, length)
            case Drop(prefix):
                if prefix in self._saved:
                    self.context.edit(edit)
                    del self._saved[prefix]

    def _copy(self, edit: CopyPrefix) -> None:
        source = self._held[edit.source]
        length = min(edit.length, len(source))
        if length > 0:
            count = length if self.context.memory.can_trim else len(source)
            self.context.edit(CopyPrefix(edit.source, edit.target, count))
            self._held[edit.target] = source[:count]
            self._trim(edit.target, length)
        else:
            self._trim(edit.target, 0)  # what it held may be another cache scope's

    def _restore(self, edit: Restore) -> None:
        if edit.prefix in self._saved:
            saved = self._saved[edit.prefix]
            self.context.edit(Restore(edit.prefix, edit.slot, len(saved)))
            self._held[edit.slot] = saved.copy()
            self._trim(edit.slot, edit.length)
        else:
            self._trim(edit.slot, 0)

    def _shift(self, edit: Shift) -> None:
        """Keep the cells before the gap, and those behind it if the memory can move cells."""
        held = self._held[edit.slot]
        stop = min(edit.stop, len(held))
        if edit.start >= stop:
            return
        if stop < len(held) and self.context.memory.can_shift:
            self.context.edit(Shift(edit.slot, edit.start, stop, edit.may_be_shared))
            del held[edit.start : stop]
        else:
            self._trim(edit.slot, edit.start)

    def _lose(self, error: DecodeError) -> None:
        """Note that the context has dropped all cells. They are computed again when needed."""
        logger.warning("the draft model failed and starts again: %s", error)
        self._held = [[] for _ in self._held]
        self._saved.clear()

    def forget(self) -> None:
        """Drop all cells, because those of the large model and all saved ones are gone."""
        self._lose(self.context.failure("the model's own context failed"))

    def close(self) -> None:
        """Free the model."""
        self.context.close()


class _Rows:
    """The draft model's logits, as wide as the large model's. The two may differ in padding."""

    def __init__(self, context: LlamaContext, n_vocab: int) -> None:
        self._context = context
        self._n_vocab = n_vocab

    @property
    def context(self) -> int:
        return self._context.context

    def row(self, index: int) -> Logits:
        """Shape (n_vocab,)."""
        row = self._context.row(index)
        if len(row) >= self._n_vocab:
            return row[: self._n_vocab]
        padding = np.full(self._n_vocab - len(row), -np.inf, dtype=np.float32)
        return np.concatenate([row, padding])

    def add(self, index: int, biases: tuple[tuple[int, float], ...]) -> None:
        """Add to the logits of a few tokens of a row."""
        self._context.add(index, biases)

    def batch_index(self, index: int) -> int:
        """Position in the batch of the token that a row belongs to."""
        return self._context.batch_index(index)

    def likeliest(self, index: int) -> Shortlist | None:
        """None: rows of drafts are looked at one by one."""
        return None

    def is_left(self, index: int) -> bool:
        """Whether a sampler on the device left only some tokens of a row."""
        return self._context.is_left(index)

    def left(self, index: int) -> Shortlist:
        """What a sampler on the device left of a row."""
        return self._context.left(index)


def draft_config(config: EngineConfig, draft: DraftConfig) -> EngineConfig:
    """The draft model's configuration: slots and cells are as in the large model's."""
    return msgspec.structs.replace(
        config,
        model_path=draft.model_path,
        adapter_paths=(),
        control_vectors=(),
        embeddings=False,
        max_draft_tokens=0,
        n_threads=draft.n_threads or config.n_threads,
        n_threads_batch=draft.n_threads_batch or config.n_threads_batch,
        placement=draft.placement,
        placement_batch=draft.placement_batch,
        devices=draft.devices,
        tensor_buffers=draft.tensor_buffers,
        n_gpu_layers=draft.n_gpu_layers,
        cache_type_k=draft.cache_type_k,
        cache_type_v=draft.cache_type_v,
        rope_scaling="",
        rope_freq_base=0.0,
        rope_freq_scale=0.0,
        cost_folder="",  # flash attention by the rule: no text depends on it
    )


def _largest_probability(logits: Logits) -> float:
    peak = logits.max()
    return float(1.0 / np.exp(logits - peak).sum())
