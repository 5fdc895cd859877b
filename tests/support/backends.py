"""The demo model on a real context, and short functions to compute with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from protocol.config import EngineConfig
from protocol.sampling import SamplingParams
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.backends.llama.candidates import Logits
from scheduler.core.sequence import Sequence
from scheduler.core.step import Chunk
from tests.support.paths import DEMO_TARGET
from tests.support.requests import add_request

TARGET = DEMO_TARGET
N_CTX_SLOT = 256


def make_backend(**fields: Any) -> LlamaBackend:
    """A backend with four slots of 256 tokens on one thread, unless `fields` say otherwise."""
    values: dict[str, Any] = {
        "model_path": str(TARGET),
        "n_slots": 4,
        "n_ctx": 4 * N_CTX_SLOT,
        "n_threads": 1,
        "warmup": False,
        **fields,
    }
    return LlamaBackend(EngineConfig(**values))


def text_tokens(length: int, start: int = 0) -> list[int]:
    """Tokens without control tokens, which differ for different starts."""
    return [300 + (start * 131 + index * 37 + index * index) % 1000 for index in range(length)]


def chunk(
    tokens: Iterable[int],
    slot: int,
    start: int = 0,
    stop: int | None = None,
    *,
    logits: bool = True,
) -> Chunk:
    """A chunk that computes tokens[start:stop] in a slot."""
    submit = add_request(request_id=1, prompt=list(tokens), sampling=SamplingParams())
    end = len(submit.spec.prompt) if stop is None else stop
    return Chunk(Sequence.of(submit), slot, start, end, logits)


def compute(
    backend: LlamaBackend, tokens: list[int], slot: int, start: int = 0, stop: int | None = None
) -> Logits:
    """A copy of the logits after tokens[:stop]; tokens[:start] are in the slot already."""
    end = len(tokens) if stop is None else stop
    while end - start > backend.n_batch:
        backend.decode([chunk(tokens, slot, start, start + backend.n_batch, logits=False)])
        start += backend.n_batch
    backend.decode([chunk(tokens, slot, start, end)])
    return backend.context.row(0).copy()


def softmax(logits: Logits) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Logits as probabilities."""
    row = logits.astype(np.float64)
    weights = np.exp(row - row.max())
    return np.asarray(weights / weights.sum())
