from __future__ import annotations

import pytest

from loadtests.harness.prompts import NORMAL, PromptSource, ordinary_tokens, seed_of

CONTROL, BYTE, STRIPPED = 1 << 3, 1 << 5, 1 << 8


def test_only_plain_text_tokens_are_ordinary() -> None:
    attributes = [CONTROL, NORMAL, BYTE, NORMAL, NORMAL | STRIPPED, 0]
    assert ordinary_tokens(attributes) == (1, 3)


def test_tokens_come_from_the_pool_and_follow_from_the_seed() -> None:
    source = PromptSource(tuple(range(500, 600)))
    tokens = source.tokens(64, "a", 1)
    assert len(tokens) == 64
    assert set(tokens) <= set(range(500, 600))
    assert tokens == source.tokens(64, "a", 1)
    assert tokens != source.tokens(64, "a", 2)


def test_seeds_are_the_same_in_every_process() -> None:
    assert seed_of("plain", 3, 7) == 3078777863
    assert seed_of("plain", 37) != seed_of("plain", 3, 7)


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="no ordinary text tokens"):
        PromptSource(())
