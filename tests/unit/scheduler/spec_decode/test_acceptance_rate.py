"""The estimated acceptance rate of drafts."""

from __future__ import annotations

import pytest

from scheduler.spec_decode.acceptance_rate import AcceptanceRate


def test_what_is_seen_replaces_what_was_believed() -> None:
    acceptance = AcceptanceRate(0.9)
    for _ in range(60):
        acceptance.observe(num_draft=4, num_accepted=0)
    assert acceptance.rate < 0.2
    for _ in range(60):
        acceptance.observe(num_draft=4, num_accepted=4)
    assert acceptance.rate > 0.9


def test_guesses_after_a_wrong_one_tell_nothing() -> None:
    short, long = AcceptanceRate(0.5), AcceptanceRate(0.5)
    short.observe(num_draft=2, num_accepted=1)
    long.observe(num_draft=20, num_accepted=1)
    assert short.rate == long.rate


def test_expected_tokens_are_the_sum_of_the_chances() -> None:
    acceptance = AcceptanceRate(0.5)
    assert acceptance.expected_tokens(0) == pytest.approx(1.0)
    assert acceptance.expected_tokens(2) == pytest.approx(1 + 0.5 + 0.25)
    assert AcceptanceRate(1.0).expected_tokens(4) == pytest.approx(5.0, rel=0.01)
