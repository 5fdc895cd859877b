"""The demo model on a real context, and direct ways to compute with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from protocol.config import EngineConfig
from protocol.sampling import SamplingParams
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.backends.llama.sampler import Logits
from scheduler.core.sequence import Sequence
from scheduler.core.step import Chunk
from tests.support.paths import DEMO_TARGET
from tests.support.requests import add_request

TARGET = DEMO_TARGET
N_CTX_SLOT = 256


def make_backend(**fields: Any) -> LlamaBackend:
    """Four slots of 256 tokens on one thread, unless told otherwise."""
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
    """Tokens that no control token is among, different for different starts."""
    return [300 + (start * 131 + index * 37 + index * index) % 1000 for index in range(length)]


def chunk(
    tokens: Iterable[int],
    slot: int,
    start: int = 0,
    stop: int | None = None,
    *,
    logits: bool = True,
) -> Chunk:
    """Compute tokens[start:stop] in a slot."""
    submit = add_request(request_id=1, prompt=list(tokens), sampling=SamplingParams())
    end = len(submit.spec.prompt) if stop is None else stop
    return Chunk(Sequence.of(submit), slot, start, end, logits)


def compute(
    backend: LlamaBackend, tokens: list[int], slot: int, start: int = 0, stop: int | None = None
) -> Logits:
    """A copy of the logits after tokens[:stop], of which [:start] are in the slot already."""
    backend.decode([chunk(tokens, slot, start, stop)])
    return backend.context.row(0).copy()


def softmax(logits: Logits) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Probabilities."""
    row = logits.astype(np.float64)
    weights = np.exp(row - row.max())
    return np.asarray(weights / weights.sum())
