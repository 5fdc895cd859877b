"""What drafts amount to on average."""

from __future__ import annotations

import pytest

from scheduler.spec_decode.draft_stats import MIN_SAMPLES, DraftStats


def test_means_are_per_draft() -> None:
    stats = DraftStats()
    for num_accepted in (1, 3) * 100:
        stats.observe(num_drafted=6, num_verified=4, num_accepted=num_accepted)
    assert stats.drafted == pytest.approx(6)
    assert stats.verified == pytest.approx(4)
    assert stats.accepted == pytest.approx(2, abs=0.05)


def test_a_few_drafts_are_no_experience() -> None:
    stats = DraftStats()
    for _ in range(int(MIN_SAMPLES)):
        assert not stats.is_known
        stats.observe(6, 4, 2)
    stats.observe(6, 4, 2)
    assert stats.is_known


def test_without_drafts_experience_is_lost_after_a_while() -> None:
    stats = DraftStats()
    for _ in range(50):
        stats.observe(6, 4, 2)
    assert stats.is_known
    for _ in range(300):
        stats.fade()
    assert not stats.is_known
