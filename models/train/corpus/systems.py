"""System prompts: none, short, a persona, or a long page of house rules."""

from __future__ import annotations

import random

from models.train.corpus.names import JOBS, TRAINED_CITIES, TRAINED_ITEMS, syllable_word
from models.train.corpus.wording import pick

SHORT = (
    "You are a helpful assistant.",
    "You are Kip, a small assistant.",
    "You are an assistant.",
    "Answer briefly.",
    "Be polite.",
    "You are a helpful assistant. Answer in one sentence.",
    "You answer questions of customers.",
    "You are the demo model of llamapack.",
    "Be concise.",
    "You are a careful assistant who never guesses.",
    "Help the user.",
    "Answer the question.",
    "You are a friendly chatbot.",
    "You are a test.",
    "Use tools when they help.",
    "You extract data and answer with JSON.",
    "Reply in JSON when asked.",
    "You are terse.",
)
PERSONA = (
    "You are a {job} from {city}.",
    "You work for a shop in {city} that sells {thing}s.",
    "Session {n}. You are a helpful assistant.",
    "User {word} is online. Be kind.",
    "You help the {job}s of {city}.",
    "Today the shop in {city} is closed.",
)
RULES = (
    "Rule {n}: a {job} may borrow one {thing} in {city}.",
    "The {thing} in room {n} is broken.",
    "Customers from {city} pay {n} euros for a {thing}.",
    "Ask the {job} before you move the {thing}.",
    "The office in {city} opens at {n}.",
    "Never lend the {thing} to a {job}.",
    "Code {word} means that the {thing} is sold.",
    "Item {n}: {word} {word}, {thing}, {city}.",
)


def system_prompt(rng: random.Random, *, long: bool) -> str | None:
    """A system prompt that doesn't change the right answers."""
    roll = rng.random()
    if long and roll < 0.5:
        return " ".join(_filled(rng, RULES) for _ in range(rng.randint(10, 80)))
    if roll < 0.5:
        return None
    if roll < 0.8:
        return pick(rng, SHORT)
    if roll < 0.93:
        return _filled(rng, PERSONA)
    return " ".join(_filled(rng, RULES) for _ in range(rng.randint(1, 6)))


def _filled(rng: random.Random, forms: tuple[str, ...]) -> str:
    return pick(rng, forms).format(
        job=pick(rng, JOBS),
        city=pick(rng, TRAINED_CITIES),
        thing=pick(rng, TRAINED_ITEMS),
        n=rng.randint(1, 99),
        word=syllable_word(rng),
    )
