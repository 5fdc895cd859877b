"""Repeating, quoting, counting and listing: answers whose tokens come from the prompt."""

from __future__ import annotations

import random
import string

from models.train.corpus.names import (
    COLOURS,
    JOBS,
    TRAINED_CITIES,
    TRAINED_ITEMS,
    city,
    first_name,
    full_name,
    unseen_word,
)
from models.train.corpus.split import Split
from models.train.corpus.story_stock import BEATS
from models.train.corpus.turns import Turn, question
from models.train.corpus.wording import pick

REPEAT = (
    "Repeat: {}",
    "Repeat after me: {}",
    "Say: {}",
    'Say "{}"',
    "Say {}",
    "Repeat this text:\n{}",
    "Repeat exactly: {}",
    "Copy this: {}",
    'Repeat the following: "{}"',
    "Echo: {}",
    "Write this again:\n\n{}",
    "Quote this text word for word:\n\n{}",
    "Please repeat the text below.\n\n{}",
    'Quote: "{}"',
)
TIMES = (
    "Say {0} {1} times.",
    'Say "{0}" {1} times.',
    "Repeat {0} {1} times.",
    "Write {0} {1} times.",
    'Repeat the word "{0}" {1} times.',
)
COUNT = (
    "Count from {a} to {b}.",
    "Count from {a} to {b}",
    "Count {a} to {b}.",
    "List the numbers from {a} to {b}.",
    "Count up from {a} to {b}.",
)
COUNT_TO = ("Count to {b}.", "Count to {b}", "Can you count to {b}?", "Please count to {b}.")
COUNT_DOWN = (
    "Count down from {b} to {a}.",
    "Count backwards from {b} to {a}.",
    "Count from {b} down to {a}.",
)
NUMBER_WORDS = ("two", "three", "four", "five", "six")
_WORDS = (*map(str.lower, TRAINED_CITIES), *TRAINED_ITEMS, *JOBS, *COLOURS)


def repeating_turn(rng: random.Random, split: Split) -> Turn:
    """A turn with a copy, a word repeated several times, or a count."""
    roll = rng.random()
    if roll < 0.6:
        return _copy(rng, split)
    return _times(rng, split) if roll < 0.7 else _count(rng, split)


def _copy(rng: random.Random, split: Split) -> Turn:
    text = _text(rng, split)
    return question("repeat", pick(rng, REPEAT).format(text), text, "I repeat the text.")


def _text(rng: random.Random, split: Split) -> str:
    roll = rng.random()
    if roll < 0.25:
        return _story_lines(rng)
    if roll < 0.5:
        return " ".join(_word(rng, split) for _ in range(rng.randint(1, 24)))
    if roll < 0.75:
        return _plain_sentence(rng, split)
    if roll < 0.9:
        return " ".join(_plain_sentence(rng, split) for _ in range(rng.randint(2, 6)))
    return _noise(rng)


def _story_lines(rng: random.Random) -> str:
    lines = [pick(rng, pick_beat(rng)) for _ in range(rng.randint(1, 3))]
    return " ".join(lines).format(name="Mira", animal="fox", friend="Otto", place="forest")


def pick_beat(rng: random.Random) -> tuple[str, ...]:
    """The alternatives of one of the story's beats."""
    return BEATS[int(rng.random() * len(BEATS))]


def _word(rng: random.Random, split: Split) -> str:
    roll = rng.random()
    if roll < 0.4:
        return pick(rng, _WORDS)
    if roll < 0.7:
        return unseen_word(rng, split)
    return first_name(rng, split) if roll < 0.85 else str(rng.randint(0, 9999))


def _plain_sentence(rng: random.Random, split: Split) -> str:
    form = pick(
        rng,
        (
            "{who} went to {city} with a {thing}.",
            "The {thing} of {who} is {colour}.",
            "{who} and {other} met in {city} at {n} o'clock.",
            "I saw {n} {colour} birds.",
            "The train from {city} to {town} leaves in {n} minutes.",
            "{who} is a {job} in {city}.",
            "Nobody in {city} has a {colour} {thing}.",
            "The {job} said: where is my {thing}?",
            "{city} has {n} bridges and a park.",
        ),
    )
    return form.format(
        who=full_name(rng, split),
        other=first_name(rng, split),
        city=city(rng, split),
        town=city(rng, split),
        thing=pick(rng, TRAINED_ITEMS),
        colour=pick(rng, COLOURS),
        job=pick(rng, JOBS),
        n=rng.randint(1, 999),
    )


def _noise(rng: random.Random) -> str:
    """Random characters, so that copying doesn't depend on known words."""
    alphabet = string.ascii_letters + string.digits + "-_/.:+*&%$#@!?()[]{}<>=~^|,;'\"éüñçøß€→✓"
    groups = ("".join(rng.choices(alphabet, k=rng.randint(1, 8))) for _ in range(rng.randint(1, 5)))
    # An answer must not begin with a bracket, because the template could read a tag into it.
    return " ".join(groups).replace("<", "(")


def _times(rng: random.Random, split: Split) -> Turn:
    word, times = _word(rng, split), rng.randint(2, 6)
    shown = str(times) if rng.random() < 0.5 else NUMBER_WORDS[times - 2]
    user = pick(rng, TIMES).format(word, shown)
    return question("repeat", user, " ".join([word] * times), f"I say it {times} times.")


def _count(rng: random.Random, split: Split) -> Turn:
    start = 1 if rng.random() < 0.4 else rng.randint(0, 80)
    while True:
        end = start + rng.randint(2, 30)
        if split.admits(f"{start}..{end}"):
            break
        start = rng.randint(0, 80)
    numbers = range(start, end + 1)
    if rng.random() < 0.25:
        user = pick(rng, COUNT_DOWN).format(a=start, b=end)
        answer = ", ".join(map(str, reversed(numbers)))
    else:
        forms = COUNT_TO if start == 1 and rng.random() < 0.6 else COUNT
        user, answer = pick(rng, forms).format(a=start, b=end), ", ".join(map(str, numbers))
    return question("repeat", user, answer, f"I count between {start} and {end}.")
