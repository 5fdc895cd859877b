"""Prompts of random tokens, reproducible by seed.

The tokens are random, because a prompt that two requests shared by accident would hit a prefix
cache. Only ordinary text tokens are drawn, because control tokens may end or restructure a prompt.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

NORMAL = 1 << 2
"""llama.cpp's attribute bit of a text token (`LLAMA_TOKEN_ATTR_NORMAL`)."""


def ordinary_tokens(attributes: Sequence[int]) -> tuple[int, ...]:
    """Ids of the tokens that are text and have no other attribute."""
    return tuple(token for token, attribute in enumerate(attributes) if attribute == NORMAL)


def seed_of(*parts: object) -> int:
    """A 32-bit seed that depends only on the parts (there is no hash randomization)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


@dataclass(frozen=True)
class PromptSource:
    """Draws token ids from a pool."""

    pool: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.pool:
            raise ValueError("the vocabulary has no ordinary text tokens")

    def tokens(self, count: int, *seed: object) -> list[int]:
        """`count` token ids; the same seed gives the same ids."""
        return random.Random(seed_of(*seed)).choices(self.pool, k=count)
