"""Fields of a sentence as JSON for a schema in the prompt; names, cities and items are held out."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.train.corpus.facts import MONTHS
from models.train.corpus.names import (
    COLOURS,
    JOBS,
    city,
    first_name,
    full_name,
    item,
    syllable_word,
)
from models.train.corpus.split import Split
from models.train.corpus.turns import Turn, question
from models.train.corpus.wording import join_list, pick

Draw = Callable[[random.Random, Split], Any]


@dataclass(frozen=True)
class Field:
    """One kind of value that can be extracted: its JSON keys, JSON type, value and wording."""

    keys: tuple[str, ...]
    type: str
    draw: Draw
    clauses: tuple[str, ...]


def _date(rng: random.Random, split: Split) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1980, 2039)
    roll = rng.random()
    if roll < 0.4:
        return f"{day} {MONTHS[month - 1]} {year}"
    if roll < 0.75:
        return f"{year}-{month:02}-{day:02}"
    return f"{MONTHS[month - 1]} {day}, {year}" if roll < 0.9 else f"{day} {MONTHS[month - 1]}"


def _amount(rng: random.Random, split: Split) -> int | float:
    whole = rng.randint(1, 10 ** rng.randint(1, 4))
    # Cents never end in 0, so that the JSON number repeats the digits of the sentence.
    return (
        whole if rng.random() < 0.4 else whole + (rng.randint(0, 9) * 10 + rng.randint(1, 9)) / 100
    )


def _email(rng: random.Random, split: Split) -> str:
    name = first_name(rng, split).lower()
    return f"{name}@{syllable_word(rng)}.{pick(rng, ('com', 'org', 'net', 'example'))}"


def _phone(rng: random.Random, split: Split) -> str:
    return "-".join(str(rng.randint(100, 999)) for _ in range(rng.randint(2, 3)))


def _order(rng: random.Random, split: Split) -> str:
    return f"{pick(rng, ('A', 'B', 'K', 'ORD-', 'X-', 'N'))}{rng.randint(100, 99999)}"


def _age(rng: random.Random, split: Split) -> int:
    return rng.randint(1, 99)


def _count(rng: random.Random, split: Split) -> int:
    return rng.randint(2, 60)


def _job(rng: random.Random, split: Split) -> str:
    return pick(rng, JOBS)


def _colour(rng: random.Random, split: Split) -> str:
    return pick(rng, COLOURS)


NAME = Field(("name", "name", "name", "full_name", "person", "customer"), "string", full_name, ())
FIELDS = (
    Field(
        ("age", "age", "years"),
        "integer",
        _age,
        ("is {} years old", "is {}", "is aged {}", "turned {} last week", "will soon be {}"),
    ),
    Field(
        ("city", "city", "town", "location"),
        "string",
        city,
        ("lives in {}", "comes from {}", "moved to {}", "is from {}", "works in {}"),
    ),
    Field(
        ("date", "date", "day"),
        "string",
        _date,
        (
            "arrives on {}",
            "signed up on {}",
            "called on {}",
            "has an appointment on {}",
            "will come on {}",
        ),
    ),
    Field(
        ("amount", "amount", "price", "total"),
        "number",
        _amount,
        (
            "paid {} euros",
            "spent {} dollars",
            "owes {} euros",
            "sent a bill of {} dollars",
            "paid ${}",
        ),
    ),
    Field(
        ("item", "item", "product"),
        "string",
        item,
        ("bought a {}", "ordered a {}", "returned a {}", "wants a {}"),
    ),
    Field(
        ("email", "email", "mail"),
        "string",
        _email,
        ("can be reached at {}", "writes from {}", "has the email {}"),
    ),
    Field(
        ("phone", "phone", "phone_number"),
        "string",
        _phone,
        ("has the phone number {}", "can be called at {}", "answers at {}"),
    ),
    Field(
        ("order_id", "order", "order_id"),
        "string",
        _order,
        ("asked about order {}", "placed order {}", "cancelled order {}"),
    ),
    Field(
        ("quantity", "count"),
        "integer",
        _count,
        ("needs {} copies", "asked for {} boxes", "packed {} bags"),
    ),
    Field(
        ("job", "job", "profession"),
        "string",
        _job,
        ("works as a {}", "is a {}", "found work as a {}"),
    ),
    Field(
        ("color", "colour", "color"),
        "string",
        _colour,
        ("likes the colour {}", "prefers {}", "chose {}"),
    ),
)

LISTED = (
    "Extract {keys} as JSON: {text}",
    "Extract the {keys} from this sentence as JSON.\n\n{text}",
    "{text}\n\nExtract {keys} as JSON.",
    "Return JSON with {keys}.\nText: {text}",
    "Give me {keys} as JSON: {text}",
    "Find {keys} in the text and answer in JSON.\n{text}",
    "Extract the fields {keys} from: {text}",
    "Text: {text}\nFields: {keys}\nJSON:",
    "Turn this into JSON with the keys {keys}: {text}",
    "Answer with a JSON object that has {keys}. {text}",
    "Reply in JSON with {keys}.\n\n{text}",
)
SCHEMAED = (
    "Extract the data as JSON for this schema:\n{schema}\n\n{text}",
    "{text}\n\nAnswer with JSON that matches this schema: {schema}",
    "Schema: {schema}\nText: {text}",
    "Fill this JSON schema from the text.\n{schema}\n\nText: {text}",
    "Extract the fields of this JSON schema: {schema}\nSentence: {text}",
    "Use this JSON schema: {schema}\n{text}",
)


COPY_DRILLS = (
    "Answer with a JSON list of the words: {}",
    "As a JSON list: {}",
    "{}\n\nReturn these as a JSON list.",
    "Turn this into a JSON list: {}",
)


def extraction_turn(rng: random.Random, split: Split) -> Turn:
    """A sentence about one person with some of its fields as JSON, or a drill for training."""
    if split is Split.TRAIN and rng.random() < 0.3:
        return _copy_drill(rng, split)
    return _sentence_turn(rng, split)


def _copy_drill(rng: random.Random, split: Split) -> Turn:
    """A list of names and things, copied into JSON.

    The first token of a value in JSON differs from the token in the sentence, which has a space
    before it. A list practises this difference densely.
    """
    draws = rng.choices((full_name, first_name, city, item, _email), k=rng.randint(2, 10))
    values = [draw(rng, split) for draw in draws]
    listed = ", ".join(values) if rng.random() < 0.5 else join_list(values)
    user = pick(rng, COPY_DRILLS).format(listed)
    return question("extraction", user, json.dumps(values), f"There are {len(values)} of them.")


def _sentence_turn(rng: random.Random, split: Split) -> Turn:
    fields = [NAME, *rng.sample(FIELDS, rng.randint(1, 4))]
    values = [field.draw(rng, split) for field in fields]
    text = _sentence(rng, fields, values)
    wanted = rng.sample(range(len(fields)), rng.randint(min(2, len(fields)), len(fields)))
    if rng.random() < 0.6:
        wanted.sort()
    keys = {pick(rng, fields[i].keys): i for i in wanted}
    found = {key: values[i] for key, i in keys.items()}
    types = {key: fields[i].type for key, i in keys.items()}
    user = _request(rng, text, types)
    thought = f"The text gives {join_list(list(keys))}."
    return question("extraction", user, json.dumps(found, ensure_ascii=False), thought)


def _sentence(rng: random.Random, fields: list[Field], values: list[Any]) -> str:
    name = str(values[0])
    clauses = [
        pick(rng, field.clauses).format(value)
        for field, value in zip(fields[1:], values[1:], strict=True)
    ]
    if len(clauses) > 1 and rng.random() < 0.5:
        cut = rng.randint(1, len(clauses) - 1)
        pronoun = pick(rng, ("He", "She", name.split()[0]))
        verb_clauses = join_list(clauses[cut:])
        return f"{_lead(rng, name)}{join_list(clauses[:cut])}. {pronoun} {verb_clauses}."
    if len(clauses) > 1 and rng.random() < 0.3:
        return f"{name}, who {clauses[0]}, {join_list(clauses[1:])}."
    return f"{_lead(rng, name)}{join_list(clauses)}."


def _lead(rng: random.Random, name: str) -> str:
    return pick(
        rng,
        (
            "{} ",
            "{} ",
            "{} ",
            "My friend {} ",
            "Our customer {} ",
            "Yesterday I heard that {} ",
            "I think {} ",
            "This is {}, who ",
        ),
    ).format(name)


def _request(rng: random.Random, text: str, types: dict[str, str]) -> str:
    if rng.random() < 0.45:
        keys = join_list(list(types)) if rng.random() < 0.7 else ", ".join(types)
        return pick(rng, LISTED).format(keys=keys, text=text)
    return pick(rng, SCHEMAED).format(schema=_schema(rng, types), text=text)


def _schema(rng: random.Random, types: dict[str, str]) -> str:
    properties = {key: {"type": kind} for key, kind in types.items()}
    roll = rng.random()
    if roll < 0.25:
        return json.dumps(types)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if roll < 0.8:
        schema["required"] = list(types)
    if roll < 0.5:
        schema["additionalProperties"] = False
    return json.dumps(schema, indent=2 if roll > 0.95 else None)
