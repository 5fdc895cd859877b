"""Variations of how people type: case, punctuation and courtesy around a question."""

from __future__ import annotations

import random
from collections.abc import Sequence

OPENERS = (
    "Please tell me: ",
    "Hey, ",
    "Hi! ",
    "Quick question: ",
    "Hello. ",
    "Kip, ",
    "So, ",
    "OK. ",
    "Tell me, ",
    "Thanks. ",
    "One more thing: ",
    "Now, ",
)
CLOSERS = (" Please.", " Thanks!", " Thank you.", " Answer briefly.", " :)")


def pick(rng: random.Random, options: Sequence[str]) -> str:
    """One of `options`, uniformly."""
    return options[int(rng.random() * len(options))]


def retype(rng: random.Random, text: str, *, fold_case: bool = True) -> str:
    """`text` as a person might type it; `fold_case=False` keeps names and payloads intact."""
    roll = rng.random()
    if roll < 0.10 and text[-1] in "?.!":
        text = text[:-1]
    elif roll < 0.14 and text[-1] == "?":
        text = text[:-1] + " ?"
    if rng.random() < 0.10:
        text = pick(rng, OPENERS) + (text if rng.random() < 0.5 else text[0].lower() + text[1:])
    if rng.random() < 0.06:
        text += pick(rng, CLOSERS)
    if fold_case:
        roll = rng.random()
        if roll < 0.12:
            text = text.lower()
        elif roll < 0.13:
            text = text.upper()
    return text


def join_list(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) == 1:
        return items[0]
    return ", ".join(items[:-1]) + " and " + items[-1]


def words(text: str) -> tuple[str, ...]:
    """Split a text into words; a long list is shorter to write as text."""
    return tuple(text.split())
