"""A backend without a model: cells are lists, and a token depends on all tokens before it."""

from __future__ import annotations

import zlib
from array import array
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, field

from protocol.commands import AddRequest, LoraSet
from protocol.events import TokenLogprobs
from protocol.messages import AdapterInfo, EmbeddingInfo, ModelInfo
from scheduler.backends.base import Bytes, DecodeError, Preparation
from scheduler.batching.micro_batches import Layout, split_into_micro_batches
from scheduler.core.abilities import CacheAbilities
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
from scheduler.core.results import Sample
from scheduler.core.sampler import HELD
from scheduler.core.step import Chunk, PaddingRow
from scheduler.spec_decode.draft_request import DraftRequest
from scheduler.storage.fingerprint import Fingerprint

END_TOKEN = 2
"""The fake vocabulary's end-of-generation token."""

STATE_BYTES = 5
"""Bytes of a checkpoint."""

CONFIDENCE = 0.9
"""How sure the fake draft model always is."""

NextToken = Callable[[list[int]], int]


def hashed_token(tokens: list[int]) -> int:
    """A token in [10, 250) that depends on every token in `tokens`."""
    state = 0x811C9DC5
    for token in tokens:
        state = ((state ^ token) * 0x01000193) & 0xFFFFFFFF
    return 10 + state % 240


def adapted(tokens: abc.Sequence[int], lora: LoraSet) -> list[int]:
    """What cells hold whose tokens are computed with these adapters."""
    shift = 256 * (1 + zlib.crc32(repr(lora).encode()) % 4096) if lora else 0
    return [token + shift for token in tokens]


@dataclass
class FakeBackend:
    """Keeps each slot's cells as a list of tokens, and refuses what would abort llama.cpp.

    If its memory can't trim, the model reads a second list: the state, which follows the cells but
    can't be cut. A checkpoint is a copy of the state. The last tokens may be dropped as far as the
    abilities say: once, and before the next batch.

    `next_token` is the model: it maps the cells so far to the next token. With adapters, the cells
    differ from the tokens.
    """

    n_slots: int = 4
    n_ctx_slot: int = 256
    n_ctx: int = 0
    n_batch: int = 64
    n_vocab: int = 256
    next_token: NextToken = hashed_token
    abilities: CacheAbilities = field(default_factory=CacheAbilities)
    adapters: abc.Sequence[str] = ("a", "b")
    """Digests, which are also the paths of the adapters."""
    embeds: EmbeddingInfo | None = None
    has_no_cells: bool = False
    """Whether a saved prefix takes as many bytes as a checkpoint."""
    can_generate: bool = True
    draft_token: Callable[[list[int], int], int] = lambda tokens, token: token
    """What the draft model says after `tokens`, where the model says `token`."""
    fail_on: Callable[[abc.Sequence[Chunk]], bool] = lambda chunks: False
    num_computed: int = 0
    """Rows computed so far, which is what prefix reuse saves."""
    num_padding_rows: int = 0
    num_reused_graphs: int = 0
    num_surveyed: int = 0
    is_masked: Callable[[AddRequest], bool] = lambda request: False
    """Whether the sequence of a request has a constraint; it needs a mask for each token."""
    num_sampling_threads: int = 1
    is_heavy: Callable[[AddRequest], bool] = lambda request: False
    """Whether the sequence of a request is sampled in a thread, where there are any."""
    thought: int | None = None
    """Tokens after which each answer's thinking is ended from outside; None if none is thinking."""
    fingerprint: Fingerprint = field(
        default_factory=lambda: Fingerprint(model="fake", build="fake", context="fake")
    )

    def __post_init__(self) -> None:
        self.cells: list[list[int]] = [[] for _ in range(self.n_slots)]
        self.states: list[list[int]] = [[] for _ in range(self.n_slots)]
        """By slot, what the model has read."""
        self.droppable = [0] * self.n_slots
        """By slot, how many of the last tokens may be dropped though the memory can't trim."""
        self.before: dict[int, list[int]] = {}
        """By slot, what the model had read before the draft of the last batch."""
        self.rows: list[list[int]] = []
        self.due_rows: list[list[int]] = []
        """The rows of a batch that nobody has waited for."""
        self._shape: list[tuple[int, int, int]] = []
        self.saved: dict[int, list[int]] = {}

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            n_ctx=self.n_ctx or self.n_slots * self.n_ctx_slot,
            n_ctx_slot=self.n_ctx_slot,
            n_slots=self.n_slots,
            n_vocab=self.n_vocab,
            n_params=0,
            size_bytes=0,
            description="fake",
            file_type="none",
            system_info="",
            cell_bytes=0 if self.has_no_cells else 1,
            state_bytes=0 if self.abilities.can_trim else STATE_BYTES,
            can_trim=self.abilities.can_trim,
            can_shift=self.abilities.can_trim and self.abilities.can_shift,
            adapters=tuple(AdapterInfo(path=name, digest=name) for name in self.adapters),
            embedding=self.embeds,
            can_generate=self.can_generate,
        )

    @property
    def end_tokens(self) -> frozenset[int]:
        return frozenset({END_TOKEN})

    def edit(self, edit: CacheEdit) -> None:
        """Copy or drop cells; a range that is not there is an error."""
        match edit:
            case CopyPrefix(source, target, length):
                assert source != target
                assert self.abilities.can_copy
                self._check_length(edit, self.cells[source], length)
                self._check_cut(edit, self.cells[source], length)
                if not self.abilities.can_trim:  # slots share no cells
                    self._check_room(edit, target, length)
                self._fill(target, self.cells[source][:length])
            case Trim(slot, length):
                self._check_length(edit, self.cells[slot], length)
                if len(self.cells[slot]) - length > self.droppable[slot]:
                    self._check_cut(edit, self.cells[slot], length)
                self._fill(slot, self.cells[slot][:length])
            case Shift(slot, start, stop):
                assert 0 <= start < stop
                self._check_length(edit, self.cells[slot], stop)
                self._fill(slot, self.cells[slot][:start] + self.cells[slot][stop:])
            case Save(slot, prefix):
                self.saved[prefix] = list(self.states[slot])
            case Restore(prefix, slot, length):
                self._check_length(edit, self.saved[prefix], length)
                self._check_cut(edit, self.saved[prefix], length)
                self._check_room(edit, slot, len(self.saved[prefix]))  # all of it is written
                self._fill(slot, self.saved[prefix][:length])
            case SaveCheckpoint(slot, checkpoint):
                assert self.abilities.can_checkpoint
                self.saved[checkpoint] = list(self.states[slot])
            case RestoreCheckpoint(checkpoint, slot, length):
                self._check_length(edit, self.cells[slot], length)
                assert len(self.saved[checkpoint]) == length
                self._fill(slot, self.saved[checkpoint])
            case Drop(prefix):
                del self.saved[prefix]

    def _fill(self, slot: int, tokens: list[int]) -> None:
        self.cells[slot], self.states[slot] = list(tokens), list(tokens)
        self.droppable[slot] = 0

    def _check_room(self, edit: CacheEdit, slot: int, length: int) -> None:
        others = sum(map(len, self.cells)) - len(self.cells[slot])
        if others + length > self.info.n_ctx:
            raise AssertionError(f"{edit} needs more cells than the cache has")

    def _check_length(self, edit: CacheEdit, cells: list[int], length: int) -> None:
        if length > len(cells):
            raise AssertionError(f"{edit} reaches beyond the {len(cells)} cells that are there")

    def _check_cut(self, edit: CacheEdit, cells: list[int], length: int) -> None:
        if 0 < length < len(cells) and not self.abilities.can_trim:
            raise AssertionError(f"{edit} is more than the model's memory can do")

    def state(self, prefix: int) -> bytes:
        """The saved cells, four bytes a token."""
        return array("i", self.saved[prefix]).tobytes()

    def put_state(self, prefix: int, state: Bytes) -> None:
        """Keep cells as if they had been saved as `prefix`."""
        self.saved[prefix] = array("i", bytes(state)).tolist()

    def portable(self, state: Bytes) -> bytes:
        """The saved cells."""
        return bytes(state)

    def adopt(self, slot: int, cells: Bytes, num_tokens: int) -> bool:
        """Take cells if their number is right."""
        found = array("i", bytes(cells)).tolist()
        self._fill(slot, found if len(found) == num_tokens else [])
        return len(found) == num_tokens

    def decode(
        self, chunks: abc.Sequence[Chunk], padding_rows: abc.Sequence[PaddingRow] = ()
    ) -> None:
        """Append each chunk's tokens to its slot's cells. The rows are there after `wait`."""
        self._check_padding_rows(chunks, padding_rows)
        if self.fail_on(chunks):
            raise self.failure()
        if sum(chunk.num_tokens for chunk in chunks) > self.n_batch:
            raise AssertionError("the batch is larger than n_batch")
        if len({chunk.sequence.kind for chunk in chunks}) > 1:
            raise AssertionError("the batch has more than one kind of sequences")
        if chunks[0].sequence.kind.is_embedding:
            self._check_embeddings(chunks)
        self._count_reuse(chunks)
        self._check_drafts(chunks)
        self.rows, self.due_rows = [], []
        for chunk in chunks:
            cells = self.cells[chunk.slot]
            if chunk.start != len(cells):
                raise AssertionError(f"position {chunk.start} after {len(cells)} cells")
            state = self.states[chunk.slot]
            cells.extend(adapted(chunk.tokens, chunk.sequence.spec.lora))
            state.extend(adapted(chunk.tokens, chunk.sequence.spec.lora))
            if len(cells) > self.n_ctx_slot:
                raise AssertionError("more cells than the slot has")
            self.num_computed += chunk.num_tokens
            for num_after in reversed(range(chunk.num_outputs)):
                self.due_rows.append(state[: len(state) - num_after])
        if sum(map(len, self.cells)) > self.info.n_ctx:
            raise AssertionError("more cells than the cache has")

    def wait(self) -> None:
        """Show the rows of the last batch."""
        self.rows = self.due_rows

    def keep_right(self, verified: abc.Sequence[tuple[Chunk, int]]) -> None:
        """Drop the wrong tokens of drafts, or go back and compute the right ones again."""
        for chunk, num_right in verified:
            assert 0 <= num_right < len(chunk.draft)
            if not self.abilities.recomputes_drafts:
                self.edit(Trim(chunk.slot, chunk.stop + num_right))
                continue
            right = adapted(chunk.tokens, chunk.sequence.spec.lora)
            right = right[: chunk.stop - chunk.start + num_right]
            self._fill(chunk.slot, self.before.pop(chunk.slot) + right)
            self.num_computed += len(right)

    def _count_reuse(self, chunks: abc.Sequence[Chunk]) -> None:
        shape = [(chunk.slot, chunk.num_tokens, chunk.num_outputs) for chunk in chunks]
        self.num_reused_graphs += shape == self._shape
        self._shape = shape

    def _check_drafts(self, chunks: abc.Sequence[Chunk]) -> None:
        self.droppable = [0] * self.n_slots
        self.before.clear()
        for chunk in chunks:
            assert len(chunk.draft) <= self.abilities.max_draft
            if not self.abilities.recomputes_drafts:
                self.droppable[chunk.slot] = min(len(chunk.draft), self.abilities.max_rollback)
            elif chunk.draft:
                self.before[chunk.slot] = list(self.states[chunk.slot])
        if self.layout.has_whole_drafts and any(chunk.draft for chunk in chunks):
            runs = [(chunk.slot, chunk.num_tokens) for chunk in chunks]
            assert len(chunks) == 1 or len(split_into_micro_batches(runs, self.layout)) == 1

    def _check_padding_rows(
        self, chunks: abc.Sequence[Chunk], padding_rows: abc.Sequence[PaddingRow]
    ) -> None:
        busy = {chunk.slot for chunk in chunks}
        rows = sum(chunk.num_tokens for chunk in chunks) + len(padding_rows)
        if rows > self.n_batch or sum(map(len, self.cells)) + rows > self.info.n_ctx:
            raise AssertionError("there is no room for padding rows")
        for padding_row in padding_rows:
            held = len(self.cells[padding_row.slot])
            if padding_row.slot in busy or padding_row.start != held or held >= self.n_ctx_slot:
                raise AssertionError(f"{padding_row} is not at the end of an idle slot")
            if not self.abilities.can_trim:
                raise AssertionError("padding rows can't be dropped again")
        self.num_padding_rows += len(padding_rows)

    def _check_embeddings(self, chunks: abc.Sequence[Chunk]) -> None:
        assert self.embeds is not None
        if not self.embeds.is_whole:
            return
        if any(chunk.start > 0 or not chunk.wants_logits for chunk in chunks):
            raise AssertionError("a prompt is not computed at once")
        if sum(chunk.num_tokens for chunk in chunks) > self.embeds.max_rows:
            raise AssertionError("prompts would be cut")
        if self.embeds.is_alone and len(chunks) > 1:
            raise AssertionError("prompts are mixed")

    def survey(self, rows: abc.Sequence[int], size: int) -> list[Callable[[], None]]:
        """Count the rows, which must be there."""
        assert size > 0
        assert sorted({*rows}) == list(rows)
        assert len(rows) <= len(self.rows)
        self.num_surveyed += len(rows)
        return [lambda: None for _ in rows]

    def embedding(self, chunk: Chunk) -> bytes:
        """A vector of which each element is the fake model's next token."""
        assert self.embeds is not None
        token = self.next_token(self.cells[chunk.slot])
        return array("f", [token] * self.embeds.size).tobytes()

    def failure(self) -> DecodeError:
        """Drop all cells and everything saved, as a failed context does, and return the error."""
        self.cells = [[] for _ in range(self.n_slots)]
        self.states = [[] for _ in range(self.n_slots)]
        self.droppable = [0] * self.n_slots
        self.saved.clear()
        return DecodeError("the fake was told to fail")

    @property
    def layout(self) -> Layout:
        return Layout(self.n_batch, has_whole_drafts=not self.abilities.can_trim)

    @property
    def n_outputs(self) -> int:
        return self.n_batch

    def time_rows(self, num_slots: int, num_rows: int) -> float:
        """A second for each row."""
        return float(num_rows)

    def time_draft_rows(self, num_slots: int, num_rows: int) -> float:
        """A second for each row."""
        return float(num_rows)

    def draft(self, wants: abc.Sequence[DraftRequest], max_catch_up: int) -> list[list[int]]:
        """The fake model's own answers, as `draft_token` changes them."""
        return [self._draft(want) for want in wants]

    def _draft(self, want: DraftRequest) -> list[int]:
        tokens = list(want.tokens)
        end = len(tokens) + want.n_max
        while len(tokens) < end and want.stopping.should_continue(CONFIDENCE):
            tokens.append(self.draft_token(tokens, self.next_token(tokens)))
        return tokens[len(want.tokens) :]

    def prepare(self, request: AddRequest) -> Preparation | None:
        """Nothing takes long."""
        return None

    def sampler(self, request: AddRequest, prepared: Preparation | None = None) -> FakeSampler:
        """A sampler that takes the fake model's one answer."""
        return FakeSampler(self, request)

    def rest(self) -> None:
        """Does nothing: the fake has no memory to give back."""

    def close(self) -> None:
        """Does nothing: the fake has no memory to free."""


@dataclass
class FakeSampler:
    """A greedy sampler over a distribution with one token.

    With a constraint, each token needs `prepare`. Half of the constraints tell that in advance.
    And the constraint has to read a resumed answer, token by token.
    """

    backend: FakeBackend
    request: AddRequest
    is_prepared: bool = field(default=False, init=False)
    held: list[int] = field(default_factory=list, init=False)
    num_read: int = field(default=0, init=False)
    """Tokens of the resumed answer that the constraint has read."""

    @property
    def is_constrained(self) -> bool:
        return self.backend.is_masked(self.request)

    @property
    def is_heavy(self) -> bool:
        return self.backend.is_heavy(self.request)

    @property
    def num_candidates(self) -> int:
        return 0 if self.is_heavy else 1 + self.request.request_id % 3

    @property
    def is_replaying(self) -> bool:
        return self.is_constrained and self.num_read < len(self.request.resumed)

    def replay(self) -> None:
        """Read one token."""
        assert self.is_replaying
        self.num_read += 1

    @property
    def wants_mask(self) -> bool:
        is_ready = self.is_prepared or self.is_replaying
        return self.is_constrained and not is_ready and self.request.request_id % 2 == 0

    def prepare(self) -> None:
        """Let one token be sampled."""
        assert self.is_constrained
        assert not self.is_prepared
        self.is_prepared = True

    def hold(self, row: int) -> None:
        """Keep the cells of the row."""
        self.held = self.backend.rows[row]

    def _lacks_mask(self) -> bool:
        """Whether sampling has to wait; otherwise the mask is used up."""
        lacks = self.is_constrained and not self.is_prepared
        self.is_prepared = False
        return lacks

    def _cells(self, row: int) -> list[int]:
        return self.held if row == HELD else self.backend.rows[row]

    def allowed(self, tokens: list[int]) -> int:
        """Nothing is forbidden."""
        return len(tokens)

    def score(self, row: int, token: int) -> TokenLogprobs:
        """0 for the fake model's token, else minus the distance to it."""
        expected = self.backend.next_token(self.backend.rows[row])
        return TokenLogprobs(-float(abs(expected - token)), [(expected, 0.0)])

    def sample(self, row: int) -> Sample | None:
        """The fake model's token after the cells of the row; None without a mask."""
        assert not self.is_replaying
        if self._lacks_mask():
            return None
        token = self.backend.next_token(self._cells(row))
        n_top = self.request.spec.sampling.top_logprobs
        if n_top < 0:
            return Sample(token)
        return Sample(token, TokenLogprobs(0.0, [(token, 0.0)][:n_top]))

    def end_thinking(self) -> int | None:
        """What the test says."""
        return self.backend.thought

    def close(self) -> None:
        """Does nothing: the fake has no memory to free."""
