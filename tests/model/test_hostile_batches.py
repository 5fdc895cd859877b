"""Batches over which llama.cpp would end the process are errors, and good ones follow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from scheduler.backends.base import DecodeError
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.backends.llama.batch import Run
from scheduler.core.batch_kind import BatchKind
from scheduler.core.cache_edits import Trim
from tests.support.backends import N_CTX_SLOT, compute, make_backend, text_tokens

PLAIN = BatchKind()
TOKENS = text_tokens(6)


@pytest.fixture(scope="module")
def backend() -> Iterator[LlamaBackend]:
    backend = make_backend(n_batch=64, n_ubatch=32)
    yield backend
    backend.close()


def run(slot: int = 0, start: int = 0, tokens: list[int] = TOKENS, num_outputs: int = 1) -> Run:
    return Run(slot, start, tokens, num_outputs)


BAD = {
    "a slot below zero": ([run(slot=-1)], PLAIN),
    "a slot too many": ([run(slot=4)], PLAIN),
    "a position below zero": ([run(start=-1)], PLAIN),
    "a position behind the slot": ([run(start=N_CTX_SLOT - 5)], PLAIN),
    "a position behind it in the second run": ([run(), run(1, N_CTX_SLOT - 5)], PLAIN),
    "a token below zero": ([run(tokens=[5, -1])], PLAIN),
    "a token too large": ([run(tokens=[5, 1 << 20])], PLAIN),
    "too many rows": ([run(tokens=[5] * 65)], PLAIN),
    "too many outputs": ([run(tokens=[5] * 60, num_outputs=60)], PLAIN),
    "an adapter that isn't loaded": ([run()], BatchKind((("digest", 1.0),))),
    "embeddings of a context without them": ([run()], BatchKind(is_embedding=True)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_batch_is_an_error_and_changes_nothing_for_the_next(
    backend: LlamaBackend, name: str
) -> None:
    backend.edit(Trim(0, 0))
    expected = compute(backend, TOKENS, slot=0)
    runs, kind = BAD[name]
    with pytest.raises(DecodeError):
        backend.context.decode(runs, kind)
    # The error has dropped all cells.
    assert np.array_equal(compute(backend, TOKENS, slot=0), expected)
