"""Padding rows change no result, and leave no cells behind."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from scheduler.backends.llama.backend import LlamaBackend
from scheduler.core.cache_edits import Trim
from scheduler.core.step import PaddingRow
from tests.support.backends import N_CTX_SLOT, chunk, compute, make_backend, softmax, text_tokens


@pytest.fixture(params=[False, True], ids=["partitioned", "unified"])
def backend(request: pytest.FixtureRequest) -> Iterator[LlamaBackend]:
    backend = make_backend(kv_unified=request.param)
    yield backend
    backend.close()


def test_a_padded_batch_computes_the_same(backend: LlamaBackend) -> None:
    tokens, others = text_tokens(40), text_tokens(25, start=7)
    compute(backend, tokens[:39], 1)
    compute(backend, others, 2)
    alone = softmax(compute(backend, tokens, 1, 39))
    backend.edit(Trim(1, 39))
    backend.decode([chunk(tokens, 1, 39)], [PaddingRow(0, 0), PaddingRow(2, 25), PaddingRow(3, 0)])
    padded = softmax(backend.context.row(0).copy())
    np.testing.assert_allclose(padded, alone, atol=2e-3)


def test_the_slots_of_padding_rows_hold_what_they_held(backend: LlamaBackend) -> None:
    tokens, others = text_tokens(40), text_tokens(25, start=7)
    fresh = softmax(compute(backend, others, 3))
    backend.edit(Trim(3, 0))
    compute(backend, tokens[:39], 1)
    compute(backend, others[:24], 2)
    for _ in range(3):
        backend.decode([chunk(tokens, 1, 39)], [PaddingRow(2, 24)])
        backend.edit(Trim(1, 39))
    np.testing.assert_allclose(softmax(compute(backend, others, 2, 24)), fresh, atol=2e-3)


def test_the_last_cell_of_a_slot_may_be_a_padding_row(backend: LlamaBackend) -> None:
    tokens, long = text_tokens(N_CTX_SLOT), text_tokens(N_CTX_SLOT - 1, start=3)
    compute(backend, tokens[:-1], 0)
    compute(backend, long, 1)
    backend.decode([chunk(tokens, 0, N_CTX_SLOT - 1)], [PaddingRow(1, N_CTX_SLOT - 1)])
    assert np.isfinite(backend.context.row(0)).all()
