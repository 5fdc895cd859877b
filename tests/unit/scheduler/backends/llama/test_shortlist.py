"""Shortlists: the likeliest tokens, as sorting the whole row would find them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from scheduler.backends.llama.candidates import Logits
from scheduler.backends.llama.shortlist import STRIDE, Shortlist, best_of, pays, shortlist

SIZES = [64 * 128, 64 * 128 + 1, 32_000, 128_256, 131_071]


def sorted_row(row: Logits, size: int) -> list[tuple[int, float]]:
    """The likeliest tokens by sorting; of equal ones the lowest comes first."""
    order = np.argsort(-row, kind="stable")[:size]
    return [(int(token), float(row[token])) for token in order]


def pairs(shortlist: Shortlist) -> list[tuple[int, float]]:
    return list(zip(shortlist.ids.tolist(), shortlist.logits.tolist(), strict=True))


def noise(n_vocab: int, seed: int) -> Logits:
    return np.random.default_rng(seed).normal(0.0, 3.0, n_vocab).astype(np.float32)


def coarse(n_vocab: int, seed: int) -> Logits:
    """Many tokens are equally likely."""
    return np.floor(noise(n_vocab, seed))


def banned(n_vocab: int, seed: int) -> Logits:
    """Nearly all tokens are impossible."""
    row = np.full(n_vocab, -np.inf, dtype=np.float32)
    row[[5, n_vocab // 2, n_vocab - 1]] = 1.0, 3.0, 2.0
    return row


def rising(n_vocab: int, seed: int) -> Logits:
    """The likeliest tokens are the last ones, which fill no column."""
    return np.arange(n_vocab, dtype=np.float32)


def flat(n_vocab: int, seed: int) -> Logits:
    return np.zeros(n_vocab, dtype=np.float32)


def misleading(n_vocab: int, seed: int) -> Logits:
    """The tokens that are looked at first are likelier than most, or less likely than all."""
    row = noise(n_vocab, seed)
    row[::STRIDE] += (-1) ** seed * 50.0
    return row


@pytest.mark.parametrize("n_vocab", SIZES)
@pytest.mark.parametrize("size", [1, 2, 30, 128])
@pytest.mark.parametrize("make", [noise, coarse, banned, rising, flat, misleading])
def test_a_shortlist_is_the_head_of_the_sorted_row(
    make: Callable[[int, int], Logits], n_vocab: int, size: int
) -> None:
    for seed in range(3):
        row = make(n_vocab, seed)
        found = shortlist(row, size)
        assert found is not None
        assert pairs(found) == sorted_row(row, size)
        assert pairs(found.head(2)) == sorted_row(row, min(2, size))


def test_a_row_without_numbers_has_no_shortlist() -> None:
    row = np.full(SIZES[0], np.nan, dtype=np.float32)
    assert shortlist(row, 40) is None


def test_the_best_of_some_tokens_are_in_order() -> None:
    some = Shortlist(np.array([2, 5, 9, 11]), np.array([1.0, 3.0, 3.0, 2.0], dtype=np.float32))
    assert pairs(best_of(some, 3)) == [(5, 3.0), (9, 3.0), (11, 2.0)]
    assert len(best_of(some, 9).ids) == 4


def test_shortlists_pay_where_sorting_would_take_long() -> None:
    assert pays(40, 128_000)
    assert not pays(0, 128_000)
    assert not pays(3_000, 128_000)
    assert not pays(1, 4_096)
