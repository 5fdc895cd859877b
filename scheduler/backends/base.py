"""What the engine needs of the hardware side; `llama` drives llama.cpp, `fake` imitates it."""

from __future__ import annotations

from collections import abc
from concurrent.futures import Future
from typing import Any, Protocol

from protocol.commands import AddRequest
from protocol.messages import ModelInfo
from scheduler.batching.micro_batches import Layout
from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_edits import CacheEdit
from scheduler.core.sampler import Sampler
from scheduler.core.step import Chunk, PaddingRow
from scheduler.spec_decode.draft_request import DraftRequest
from scheduler.storage.fingerprint import Fingerprint

TRANSFER = -1
"""The name under which a slot's cells are saved on their way to a file, or from one."""

Bytes = bytes | bytearray | memoryview
"""Saved cells as the backend writes them."""


class BackendError(Exception):
    """The context can't go on with what it was doing.

    BackendError
    ├── LoadError      the model or its context could not be made
    ├── SamplerError   a sequence's samplers could not be made; only that sequence is affected
    └── DecodeError    a batch or an edit failed; all cells and all that was saved are gone
    """


class LoadError(BackendError):
    """The model or its context could not be made; the message is for the operator."""


class SamplerError(BackendError):
    """The samplers or the constraint of one sequence could not be made."""


class DecodeError(BackendError):
    """A batch or an edit of the cache failed. The backend has dropped all cells and everything
    saved: which of a step's edits were made is not known, and this is a state that both know."""


class Backend(Protocol):
    """A model with a context of `info.n_slots` sequences.

    Not thread-safe: one thread makes all calls. The arguments come from the scheduler, which
    keeps slots, positions and batch sizes in range; a backend checks them all the same, because
    llama.cpp answers a wrong one by ending the process.
    """

    @property
    def info(self) -> ModelInfo:
        """Facts about the model and its context."""
        ...

    @property
    def n_batch(self) -> int:
        """Rows that a batch may have; no less than slots, no more than llama.cpp granted."""
        ...

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end a generation."""
        ...

    @property
    def abilities(self) -> CacheAbilities:
        """What the model's memory can do."""
        ...

    def edit(self, edit: CacheEdit) -> None:
        """Copy or drop cells. Raises `DecodeError`."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """What saved cells belong to. Slow, and in any thread. Raises `OSError`."""
        ...

    def state(self, prefix: int) -> Bytes:
        """The cells saved as `prefix`; they stay as they are when it is dropped."""
        ...

    def put_state(self, prefix: int, state: Bytes) -> None:
        """Have such cells as if they had just been saved as `prefix`."""
        ...

    def decode(
        self, chunks: abc.Sequence[Chunk], padding_rows: abc.Sequence[PaddingRow] = ()
    ) -> None:
        """Compute a batch. Afterwards row i holds the logits of the i-th token that wants them,
        and nothing is left of the padding_rows.

        Raises `DecodeError`.
        """
        ...

    def embedding(self, chunk: Chunk) -> bytes:
        """What the last batch computed for a chunk of it whose sequence asks for an embedding,
        as `Embedded` has it. Raises `DecodeError`."""
        ...

    @property
    def layout(self) -> Layout:
        """Where batches are cut."""
        ...

    @property
    def n_outputs(self) -> int:
        """Rows of a batch that may want logits."""
        ...

    def time_rows(self, num_slots: int, num_rows: int) -> float:
        """Seconds for a batch of so many rows, equally many of each slot. Only before anything
        else is computed."""
        ...

    def time_draft_rows(self, num_slots: int, num_rows: int) -> float:
        """The same for the draft model; 0 if there is none."""
        ...

    def draft(self, requests: abc.Sequence[DraftRequest], max_catch_up: int) -> list[list[int]]:
        """A draft for each request, by the draft model; slots rise.

        The draft model reads at most `max_catch_up` tokens that it has not seen. A sequence with
        more such tokens gets an empty draft.
        """
        ...

    def prepare(self, submit: AddRequest) -> Future[Any] | None:
        """Begin what takes long in making a sequence's sampler; None if nothing does.

        The future's exception, if any, says why there can't be a sampler.
        """
        ...

    def sampler(self, submit: AddRequest) -> Sampler:
        """Samplers for a sequence that starts. Raises `SamplerError`."""
        ...

    def close(self) -> None:
        """Free the context and the model."""
        ...
