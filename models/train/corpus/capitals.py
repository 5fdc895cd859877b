"""Capitals of countries, asked in both directions; (country, phrasing) pairs are held out."""

from __future__ import annotations

import random

from models.train.corpus.facts import CAPITALS, UNKNOWN_COUNTRIES
from models.train.corpus.names import syllable_word
from models.train.corpus.split import Split
from models.train.corpus.turns import Turn, question
from models.train.corpus.wording import pick, retype

FORWARD = (
    "What is the capital of {country}?",
    "What's the capital of {country}?",
    "Which city is the capital of {country}?",
    "Name the capital of {country}.",
    "Capital of {country}?",
    "The capital of {country} is what?",
    "{country}: what is its capital?",
    "Tell me the capital of {country}.",
    "Do you know the capital of {country}?",
    "What is {country}'s capital?",
    "What is the capital city of {country}?",
    "Can you tell me what the capital of {country} is?",
    "Give me the capital of {country}.",
    "I forgot the capital of {country}. What is it?",
    "Which city is {country}'s capital?",
    "Answer with the capital of {country}.",
    "The capital of {country}?",
)
BACKWARD = (
    "{city} is the capital of which country?",
    "Which country has {city} as its capital?",
    "Which country's capital is {city}?",
    "{city} is the capital of what country?",
    "What country is {city} the capital of?",
    "Of which country is {city} the capital?",
    "Name the country whose capital is {city}.",
    "Which country has the capital {city}?",
    "Tell me which country {city} is the capital of.",
    "{city} is the capital of?",
    "In which country is {city} the capital?",
    "Do you know which country has the capital {city}?",
)
CHECK = (
    "Is {city} the capital of {country}?",
    "Is the capital of {country} {city}?",
    "True or false: {city} is the capital of {country}.",
    "Is it true that {city} is the capital of {country}?",
    "{city} is the capital of {country}, right?",
    "Is {country}'s capital {city}?",
    "Does {country} have {city} as its capital?",
    "I think {city} is the capital of {country}. Is that right?",
    "Is {city} the capital city of {country}?",
)


def capital_turn(rng: random.Random, split: Split) -> Turn:
    """A question forward, backward, with a yes/no answer, or about a country outside the list.

    A yes/no question needs a fact and a comparison before the first word, so training has more of
    them.
    """
    forward, backward, check = (0.3, 0.6, 0.95) if split is Split.TRAIN else (0.5, 0.86, 0.93)
    roll = rng.random()
    if roll < forward:
        return _forward(rng, split)
    if roll < backward:
        return _backward(rng, split)
    return _check(rng, split) if roll < check else _unknown(rng, split)


def _draw(rng: random.Random, split: Split, forms: tuple[str, ...]) -> tuple[str, str, str]:
    while True:
        country = pick(rng, tuple(CAPITALS))
        form = pick(rng, forms)
        if split.admits(f"{country}|{form}"):
            return country, CAPITALS[country], form


def _sentence(form: str, **slots: str) -> str:
    text = form.format(**slots)
    return text[0].upper() + text[1:]


def _forward(rng: random.Random, split: Split) -> Turn:
    country, capital, form = _draw(rng, split, FORWARD)
    shown = country.removeprefix("the ") if rng.random() < 0.2 else country
    user = retype(rng, _sentence(form, country=shown))
    thought = f"The country is {country}. Its capital is {capital}."
    return question("capitals", user, f"The capital of {country} is {capital}.", thought)


def _backward(rng: random.Random, split: Split) -> Turn:
    country, capital, form = _draw(rng, split, BACKWARD)
    user = retype(rng, _sentence(form, city=capital))
    thought = f"The city is {capital}. It is the capital of {country}."
    return question("capitals", user, f"{capital} is the capital of {country}.", thought)


def _check(rng: random.Random, split: Split) -> Turn:
    country, capital, form = _draw(rng, split, CHECK)
    right = rng.random() < 0.5
    city = capital if right else pick(rng, tuple(CAPITALS.values()))
    user = retype(rng, _sentence(form, city=city, country=country))
    verdict = "Yes" if city == capital else "No"
    answer = f"{verdict}, the capital of {country} is {capital}."
    return question("capitals", user, answer, f"The capital of {country} is {capital}.")


def _unknown(rng: random.Random, split: Split) -> Turn:
    while True:
        made_up = syllable_word(rng).capitalize()
        country = made_up if rng.random() < 0.5 else pick(rng, UNKNOWN_COUNTRIES)
        if split.admits(country):
            break
    user = retype(rng, _sentence(pick(rng, FORWARD), country=country), fold_case=False)
    answer = f"I don't know the capital of {country}."
    return question("unknown", user, answer, f"I do not know a capital for {country}.")
