"""How often draft tokens are accepted."""

from __future__ import annotations

import pytest

from scheduler.spec_decode.acceptance_rate import AcceptanceRate, SharedRates


def test_what_is_seen_replaces_what_was_believed() -> None:
    acceptance = AcceptanceRate(0.9)
    for _ in range(60):
        acceptance.observe(num_draft=4, num_accepted=0)
    assert acceptance.rate < 0.2
    for _ in range(60):
        acceptance.observe(num_draft=4, num_accepted=4)
    assert acceptance.rate > 0.9


def test_tokens_after_a_rejected_one_tell_nothing() -> None:
    short, long = AcceptanceRate(0.5), AcceptanceRate(0.5)
    short.observe(num_draft=2, num_accepted=1)
    long.observe(num_draft=20, num_accepted=1)
    assert short.rate == long.rate


def test_expected_tokens_are_the_sum_of_the_chances() -> None:
    acceptance = AcceptanceRate(0.5)
    assert acceptance.expected_tokens(0) == pytest.approx(1.0)
    assert acceptance.expected_tokens(2) == pytest.approx(1 + 0.5 + 0.25)
    assert AcceptanceRate(1.0).expected_tokens(4) == pytest.approx(5.0, rel=0.01)


def test_steps_without_drafts_bring_the_prior_back() -> None:
    acceptance = AcceptanceRate(0.7)
    acceptance.observe(num_draft=8, num_accepted=0)
    unlucky = acceptance.rate
    for _ in range(500):
        acceptance.decay_towards(0.7)
    assert unlucky < 0.65
    assert acceptance.rate == pytest.approx(0.7, abs=0.01)


def test_a_sequence_begins_with_what_others_had_and_then_goes_its_own_way() -> None:
    rates: SharedRates[str] = SharedRates(lambda key: 0.5)
    first: dict[str, AcceptanceRate] = {}
    assert rates.of_sequence(first, "a").rate == 0.5
    for _ in range(20):
        rates.observe(first, "a", num_draft=4, num_accepted=4)
    second: dict[str, AcceptanceRate] = {}
    assert rates.of_sequence(second, "a").rate > 0.8
    assert rates.of_sequence(second, "b").rate == 0.5
    before = first["a"].rate
    rates.observe(second, "a", num_draft=4, num_accepted=0)
    assert first["a"].rate == before
