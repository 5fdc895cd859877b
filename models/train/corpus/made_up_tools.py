"""Invented tools, which teach the model to read declarations instead of recalling known tools."""

from __future__ import annotations

import random

from models.train.corpus.names import city, full_name, syllable_word, unseen_word
from models.train.corpus.split import Split
from models.train.corpus.tool_kinds import Draw, Param, ToolKind
from models.train.corpus.wording import pick, words

VERBS = ("get", "find", "read", "check", "fetch", "show", "load", "look_up")
THINGS = words(
    "color size price owner status level score rank code title address balance speed weight height "
    "version label state count rate value grade name list report profile invoice ticket ticket_id "
    "account stock plan model score_card menu route seat gate room_key permit licence temperature"
)
KEYS = words(
    "id user user_id item animal product team country customer account device sensor flight book "
    "file room branch key number target subject student car plate order host ticket"
)


def made_up_kind(rng: random.Random) -> ToolKind:
    """A look-up of one thing by one or two keys."""
    verb, thing = pick(rng, VERBS), pick(rng, THINGS)
    spoken_verb, spoken = verb.replace("_", " "), thing.replace("_", " ")
    name = f"{verb}_{thing}" if rng.random() < 0.8 else f"{syllable_word(rng)}_{thing}"
    keys = rng.sample(KEYS, 1 if rng.random() < 0.7 else 2)
    params = tuple(_param(rng, key) for key in keys)
    values = " and ".join(f"{key.replace('_', ' ')} {{{key}}}" for key in keys)
    asks = (
        f"{spoken_verb.capitalize()} the {spoken} of {values}.",
        f"{spoken_verb.capitalize()} the {spoken} for {values}.",
        f"What is the {spoken} of {values}?",
        f"Use {name} with {values}.",
        f"Call {name} for {values}.",
        f"I need the {spoken} for {values}.",
        f"Can you {spoken_verb} the {spoken} of {values}?",
    )
    field = pick(rng, ("result", "value", thing))
    numeric = rng.random() < 0.5
    return ToolKind(
        names=(name,),
        about=(
            f"{spoken_verb.capitalize()} the {spoken}",
            f"{spoken_verb.capitalize()} the {spoken} of a {keys[0].replace('_', ' ')}",
        ),
        params=params,
        asks=asks,
        result=lambda r: {field: r.randint(0, 9999) if numeric else syllable_word(r)},
        answer=f"The {spoken} is {{{field}}}.",
    )


def _param(rng: random.Random, key: str) -> Param:
    about = f"The {key.replace('_', ' ')}"
    if rng.random() < 0.35:
        return Param((key,), "integer", about, lambda r, split: r.randint(1, 99999))
    return Param((key,), "string", about, pick_draw(rng))


def pick_draw(rng: random.Random) -> Draw:
    """A random form for the values of an invented string parameter."""
    return rng.choice((city, full_name, unseen_word, _code))


def _code(rng: random.Random, split: Split) -> str:
    return f"{unseen_word(rng, split)[:3].upper()}-{rng.randint(1, 9999)}"
