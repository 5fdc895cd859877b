"""Shortlists: the likeliest tokens, as sorting the whole row would find them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from scheduler.backends.llama.candidates import Logits
from scheduler.backends.llama.shortlist import HEIGHT, Shortlist, Shortlists, runs_of

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


@pytest.mark.parametrize("n_vocab", SIZES)
@pytest.mark.parametrize("size", [1, 2, 30])
@pytest.mark.parametrize("make", [noise, coarse, banned, rising, flat])
def test_a_shortlist_is_the_head_of_the_sorted_row(
    make: Callable[[int, int], Logits], n_vocab: int, size: int
) -> None:
    shortlists = Shortlists(n_vocab)
    for seed in range(3):
        row = make(n_vocab, seed)
        found = shortlists.of(row, size)
        assert found is not None
        assert pairs(found) == sorted_row(row, size)


@pytest.mark.parametrize("n_vocab", SIZES)
@pytest.mark.parametrize("size", [1, 25])
def test_rows_that_are_looked_at_together_give_the_same(n_vocab: int, size: int) -> None:
    makes = (noise, coarse, banned, rising, noise)
    rows = np.stack([make(n_vocab, seed) for seed, make in enumerate(makes)])
    rows[4, :] = np.nan
    *found_rows, broken = Shortlists(n_vocab).of_rows(rows, size)
    for row, found_row in zip(rows, found_rows, strict=False):
        assert found_row is not None
        assert pairs(found_row) == sorted_row(row, size)
    assert broken is None or size == 1 or size <= n_vocab % HEIGHT


@pytest.mark.parametrize(
    ("rows", "longest", "runs"),
    [
        ([], 4, []),
        ([3], 4, [(3, 4)]),
        ([0, 1, 2, 3, 4], 4, [(0, 4), (4, 5)]),
        ([0, 2, 3, 7], 4, [(0, 1), (2, 4), (7, 8)]),
        ([1, 2, 3], 1, [(1, 2), (2, 3), (3, 4)]),
    ],
)
def test_rows_are_cut_into_runs(rows: list[int], longest: int, runs: list[tuple[int, int]]) -> None:
    assert runs_of(rows, longest) == runs


def test_a_row_without_numbers_has_no_shortlist() -> None:
    row = np.full(SIZES[0], np.nan, dtype=np.float32)
    assert Shortlists(len(row)).of(row, 40) is None


def test_shortlists_pay_where_sorting_would_take_long() -> None:
    assert Shortlists(128_000).pay(40)
    assert not Shortlists(128_000).pay(0)
    assert not Shortlists(128_000).pay(128_000 // HEIGHT)
    assert not Shortlists(4_096).pay(1)
