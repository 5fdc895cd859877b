"""The backend protocol: what the engine needs of a loaded model. `llama` drives llama.cpp."""

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
"""The prefix name for a slot's cells on their way to a file, or from a file."""

Bytes = bytes | bytearray | memoryview
"""Saved cells, in the backend's own format."""


Preparation = Future[Any]
"""The slow part of making a sampler, which `Backend.sampler` takes when it is done."""


class BackendError(Exception):
    """The backend failed.

    BackendError
    ├── LoadError      the model or its context could not be made
    ├── SamplerError   a sequence's samplers could not be made; only that sequence is affected
    │   └── TooComplex its constraint takes too much
    └── DecodeError    a batch or an edit failed; all cells and all saved cells are gone
    """


class LoadError(BackendError):
    """The model or its context could not be made; the message is for the operator."""


class SamplerError(BackendError):
    """The samplers or the constraint of one sequence could not be made."""


class TooComplex(SamplerError):
    """The constraint of one sequence takes more than any constraint may take."""


class DecodeError(BackendError):
    """A batch or a cache edit failed, and the backend has dropped all cells and all saved cells.

    It is not known which of a step's edits were made. An empty cache is a state that scheduler
    and backend agree on.
    """


class Backend(Protocol):
    """A model with a context of `info.n_slots` sequences.

    Not thread-safe: one thread makes all calls. The scheduler keeps slots, positions and batch
    sizes in range. A backend checks them again, because llama.cpp ends the process over a wrong
    one.
    """

    @property
    def info(self) -> ModelInfo:
        """Facts about the model and its context."""
        ...

    @property
    def n_batch(self) -> int:
        """Most rows of a batch: at least one for each slot, at most what llama.cpp granted."""
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
        """Make a cache edit. Raises `DecodeError`."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of saved cells. Slow; any thread may ask. Raises `OSError`."""
        ...

    def state(self, prefix: int) -> Bytes:
        """The cells saved as `prefix`. They stay valid when the prefix is dropped.

        Raises `KeyError` if nothing is saved under this name.
        """
        ...

    def put_state(self, prefix: int, state: Bytes) -> None:
        """Take cells from `state`, as if they had just been saved as `prefix`."""
        ...

    def portable(self, state: Bytes) -> Bytes:
        """A state as llama.cpp's files of sequences hold it."""
        ...

    def adopt(self, slot: int, cells: Bytes, num_tokens: int) -> bool:
        """Give an empty slot the `cells` of a file of llama.cpp.

        Returns whether they fit the context and are those of `num_tokens` tokens; otherwise the
        slot stays empty.
        """
        ...

    def decode(
        self, chunks: abc.Sequence[Chunk], padding_rows: abc.Sequence[PaddingRow] = ()
    ) -> None:
        """Begin to compute a batch, and drop the cells of the padding rows.

        A device may compute on afterwards, until `wait` returns. Raises `DecodeError`.
        """
        ...

    def wait(self) -> None:
        """Wait for the last batch. Now row i holds the logits of its i-th token that wants
        logits."""
        ...

    def keep_right(self, verified: abc.Sequence[tuple[Chunk, int]]) -> None:
        """Drop what the last batch computed of wrong draft tokens. Raises `DecodeError`.

        Of each chunk's draft, as many tokens were right as the number beside it says.
        """
        ...

    def survey(self, rows: abc.Sequence[int], size: int) -> list[abc.Callable[[], None]]:
        """Tasks that find the `size` likeliest tokens of rows of the last batch, which rise.

        Sampling these rows then takes less. The tasks may run at the same time, in any threads,
        before the first row is sampled.
        """
        ...

    def embedding(self, chunk: Chunk) -> bytes:
        """The embedding that the last batch computed for one of its chunks: float32 values, one
        vector after the other. Raises `DecodeError`."""
        ...

    @property
    def num_sampling_threads(self) -> int:
        """How many threads should sample the rows of a batch, with the calling one."""
        ...

    @property
    def layout(self) -> Layout:
        """How batches are cut into micro-batches."""
        ...

    @property
    def num_reused_graphs(self) -> int:
        """Micro-batches so far whose graph was that of the one before, which saves time."""
        ...

    @property
    def n_outputs(self) -> int:
        """Most rows of a batch that may have logits."""
        ...

    def time_rows(self, num_slots: int, num_rows: int) -> float:
        """Seconds for a batch of `num_rows` rows, equally many of each of `num_slots` slots.

        Only allowed before anything else is computed.
        """
        ...

    def time_draft_rows(self, num_slots: int, num_rows: int) -> float:
        """`time_rows` for the draft model; 0 without a draft model."""
        ...

    def draft(self, requests: abc.Sequence[DraftRequest], max_catch_up: int) -> list[list[int]]:
        """A draft for each request, by the draft model; slots rise.

        The draft model reads at most `max_catch_up` tokens that it has not seen. A sequence with
        more such tokens gets an empty draft.
        """
        ...

    def prepare(self, request: AddRequest) -> Preparation | None:
        """Begin the slow part of making a sequence's sampler; None if there is no slow part.

        The preparation's exception, if any, says why there can't be a sampler. A preparation that
        is cancelled before it has begun takes no time.
        """
        ...

    def sampler(self, request: AddRequest, prepared: Preparation | None = None) -> Sampler:
        """The sampler of a sequence that starts, out of what was prepared for it, if that is done.

        Raises `SamplerError`.
        """
        ...

    def rest(self) -> None:
        """Do what is best done while there is nothing to do. Takes milliseconds."""
        ...

    def close(self) -> None:
        """Free the context and the model."""
        ...
