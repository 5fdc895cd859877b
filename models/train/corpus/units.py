"""Simple conversions to a smaller unit.

If the answer only appends zeros, pairs of count and unit are held out. The few multiples of 60, 24,
12 and 7 are facts to be learned by heart, so their phrasings are held out instead.
"""

from __future__ import annotations

import random

from models.train.corpus.facts import UNITS
from models.train.corpus.split import Split
from models.train.corpus.turns import Turn, question
from models.train.corpus.wording import pick, retype

FORMS = (
    "How many {small} are in {n} {large}?",
    "How many {small} are {n} {large}?",
    "Convert {n} {large} to {small}.",
    "What is {n} {large} in {small}?",
    "{n} {large} in {small}?",
    "How many {small} is {n} {large}?",
    "Express {n} {large} in {small}.",
    "How many {small} make {n} {large}?",
)


def unit_turn(rng: random.Random, split: Split) -> Turn:
    """A question such as `3 metres = 300 centimetres.`"""
    while True:
        one, many, small, factor, most = UNITS[int(rng.random() * len(UNITS))]
        n, form = rng.randint(1, most), pick(rng, FORMS)
        by_heart = factor % 10 != 0 or factor == 60
        if split.admits(f"{n} {many}|{form}" if by_heart else f"{n} {many}"):
            break
    large = one if n == 1 else many
    user = retype(rng, form.format(n=n, large=large, small=small))
    thought = f"1 {one} = {factor} {small}."
    return question("units", user, f"{n} {large} = {n * factor} {small}.", thought)
