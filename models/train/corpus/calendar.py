"""Days of the week, months of the year, and their order."""

from __future__ import annotations

import random

from models.train.corpus.facts import DAYS, MONTH_DAYS, MONTHS, ORDINALS
from models.train.corpus.split import Split
from models.train.corpus.turns import Turn, question
from models.train.corpus.wording import pick, retype

AFTER = (
    "Which {kind} comes after {item}?",
    "What {kind} comes after {item}?",
    "What {kind} follows {item}?",
    "What comes after {item}?",
    "{item} is followed by what?",
    "What is the {kind} after {item}?",
    "Which {kind} is next after {item}?",
)
BEFORE = (
    "Which {kind} comes before {item}?",
    "What {kind} comes before {item}?",
    "What comes before {item}?",
    "What is the {kind} before {item}?",
    "Which {kind} is right before {item}?",
)
NTH = (
    "What is the {nth} {kind} of the {whole}?",
    "Which {kind} is the {nth} of the {whole}?",
    "Name the {nth} {kind} of the {whole}.",
)
LENGTH = (
    "How many days does {item} have?",
    "How many days are in {item}?",
    "How long is {item} in days?",
    "How many days are there in {item}?",
)
TOTALS = (
    ("How many days are in a week?", "A week has 7 days."),
    ("How many days does a week have?", "A week has 7 days."),
    ("How many months are in a year?", "A year has 12 months."),
    ("How many months does a year have?", "A year has 12 months."),
    ("How many days are in a year?", "A year has 365 days, and a leap year has 366."),
    ("Name the days of the week.", "The days of the week are " + ", ".join(DAYS) + "."),
    ("List the days of the week.", "The days of the week are " + ", ".join(DAYS) + "."),
    ("What are the days of the week?", "The days of the week are " + ", ".join(DAYS) + "."),
    ("Name the months of the year.", "The months of the year are " + ", ".join(MONTHS) + "."),
    ("List the months of the year.", "The months of the year are " + ", ".join(MONTHS) + "."),
    ("What are the months of the year?", "The months of the year are " + ", ".join(MONTHS) + "."),
)


def calendar_turn(rng: random.Random, split: Split) -> Turn:
    """A question about order, place, length or totals; (item, phrasing) pairs are held out."""
    while True:
        kind, whole, items = (
            ("day", "week", DAYS) if rng.random() < 0.5 else ("month", "year", MONTHS)
        )
        place = int(rng.random() * len(items))
        form, answer = _asked(rng, kind, whole, items, place)
        user = form.format(kind=kind, whole=whole, item=items[place], nth=ORDINALS[place])
        if split.admits(user):
            break
    thought = "This is about the calendar."
    return question("calendar", retype(rng, user), answer, thought)


def _asked(
    rng: random.Random, kind: str, whole: str, items: tuple[str, ...], place: int
) -> tuple[str, str]:
    item, roll = items[place], rng.random()
    if roll < 0.35:
        return pick(rng, AFTER), f"{items[(place + 1) % len(items)]} comes after {item}."
    if roll < 0.65:
        return pick(rng, BEFORE), f"{items[place - 1]} comes before {item}."
    if roll < 0.82:
        return pick(rng, NTH), f"The {ORDINALS[place]} {kind} of the {whole} is {item}."
    if roll < 0.92 and kind == "month":
        return pick(rng, LENGTH), f"{item} has {MONTH_DAYS[place]} days."
    return rng.choice(TOTALS)
