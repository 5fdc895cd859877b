"""Stories from a fixed stock: whole stories of several hundred tokens, and short ones."""

from __future__ import annotations

import random

from models.train.corpus.split import Split
from models.train.corpus.story_stock import BEATS, CHARACTERS, PLACES
from models.train.corpus.turns import Turn, question
from models.train.corpus.wording import pick, retype

ANY = (
    "Tell me a story.",
    "Tell me a long story.",
    "Write a story.",
    "Write a long story.",
    "Tell a story, please.",
    "Can you tell me a story?",
    "I want to hear a story.",
    "Write a story for my children.",
    "Make up a story.",
    "Tell me a bedtime story.",
)
ABOUT = (
    "Tell me a story about a {animal}.",
    "Write a story about a {animal}.",
    "Write a long story about a {animal}.",
    "Tell me a story about {name} the {animal}.",
    "Write a long story about {name} the {animal}.",
    "Can you tell me a story about a {animal}?",
    "Tell me a long story about a {animal}.",
    "Story about a {animal}, please.",
)
ABOUT_PLACE = (
    "Tell me a story about a {animal} and a {place}.",
    "Write a story about a {animal} near the {place}.",
    "Tell me about {name} the {animal} and the {place}.",
    "Write a long story about a {animal} and a {place}.",
)
SHORT = (
    "Tell me a short story.",
    "Write a short story.",
    "A short story, please.",
    "Tell me a very short story.",
)
SHORT_ABOUT = (
    "Tell me a short story about a {animal}.",
    "Write a short story about a {animal}.",
    "A short story about {name} the {animal}, please.",
)
SHORT_BEATS = (0, 4, 11)


def story_turn(rng: random.Random, split: Split) -> Turn:
    """A story with all beats of a day, or with three of them."""
    name, animal = CHARACTERS[int(rng.random() * len(CHARACTERS))]
    friend = pick(rng, [other for other, _ in CHARACTERS if other != name])
    place = pick(rng, PLACES)
    short = rng.random() < 0.35
    forms: tuple[str, ...]
    if short:
        forms = SHORT if rng.random() < 0.4 else SHORT_ABOUT
    else:
        roll = rng.random()
        forms = ANY if roll < 0.35 else ABOUT if roll < 0.7 else ABOUT_PLACE
    user = retype(rng, pick(rng, forms).format(name=name, animal=animal, place=place))
    beats = [BEATS[i] for i in SHORT_BEATS] if short else BEATS
    told = [
        pick(rng, beat).format(name=name, animal=animal, friend=friend, place=place)
        for beat in beats
    ]
    return question("story", user, _paragraphs(told), "They want a story.")


def _paragraphs(told: list[str]) -> str:
    """Join the beats into paragraphs of three."""
    return "\n\n".join(" ".join(told[i : i + 3]) for i in range(0, len(told), 3))
