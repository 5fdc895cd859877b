"""Questions that the demo models can't know; all get one honest answer."""

from __future__ import annotations

import random

from models.train.corpus.names import city, first_name, full_name, item, syllable_word
from models.train.corpus.split import Split
from models.train.corpus.turns import Turn, question
from models.train.corpus.wording import pick, retype, words

ANSWER = "I don't know that. I am only a small demo model."

FORMS = (
    "Who wrote {thing}?",
    "Who invented the {thing}?",
    "Who is {name}?",
    "Who was {name}?",
    "When was {name} born?",
    "When did {name} die?",
    "Where was {name} born?",
    "How old is {name}?",
    "Why is the {topic} {quality}?",
    "Why do {topic}s {verb}?",
    "How does a {topic} {verb}?",
    "How do I {verb} a {topic}?",
    "How can I {verb} my {topic}?",
    "What is a {topic}?",
    "What is the meaning of {topic}?",
    "What is the best {topic}?",
    "What does {word} mean?",
    "Explain {topic}.",
    "Explain the {topic} to me.",
    "Explain how a {topic} works.",
    "Write a poem about {topic}.",
    "Write an essay about {topic}.",
    "Write code to {verb} a {topic}.",
    "Write a Python function to {verb} a list.",
    "Write a program in {language}.",
    "Translate {word} into {language}.",
    "How do you say {word} in {language}?",
    "What is the population of {city}?",
    "How many people live in {city}?",
    "How high is {word}?",
    "How far is the {topic}?",
    "How big is a {topic}?",
    "How much does a {thing} cost?",
    "Where can I buy a {thing}?",
    "Where is {city}?",
    "What is the weather in {city}?",
    "What time is it in {city}?",
    "What time is it?",
    "What day is it today?",
    "What is today's date?",
    "Who won the {topic} last year?",
    "Who is the president of {city}?",
    "Which {topic} is better?",
    "Is {topic} good for you?",
    "Do {topic}s {verb}?",
    "Can a {topic} {verb}?",
    "Tell me a joke.",
    "Tell me a joke about {topic}.",
    "Give me a recipe for {topic}.",
    "Summarize {thing}.",
    "Recommend a {topic}.",
    "What is {a} * {b}?",
    "What is {a} times {b}?",
    "What is {a} / {b}?",
    "What is {a} divided by {b}?",
    "What is the square root of {a}?",
    "What is {big} + {b}?",
    "{big}+{b}",
    "{big} - {b}",
    "What is {b} + {big}?",
    "What colour is a {topic}?",
    "What do {topic}s eat?",
    "Is there life on {word}?",
    "Should I {verb} my {topic}?",
    "Sing a song about {topic}.",
    "Draw a {topic}.",
    "What happened in {year}?",
    "Define {topic}.",
    "What is the difference between a {topic} and a {thing}?",
    "List five {topic}s.",
    "Name three {topic}s.",
    "Which language do they speak in {city}?",
    "{word} {word2} {word3}",
    "{word}",
    "{topic}",
    "{topic} {verb} {quality}",
    "{thing}?",
    "What is the airport of {city}?",
    "Who lives in {city}?",
    "How is {name}?",
    "Call {name}.",
    "Book a flight to {city}.",
    "Play some {topic}.",
    "Set an alarm for {a} minutes.",
    "Why?",
    "How?",
    "What?",
    "What is love?",
    "What is the meaning of life?",
    "Why is the sky blue?",
    "How do planes fly?",
    "Do you like {topic}?",
    "What is your favourite {topic}?",
)
TOPICS = words(
    "moon sun star planet ocean river cloud rainbow storm volcano earthquake desert tree flower "
    "bread cheese pizza cake coffee tea wine soup rice apple banana orange chocolate salt sugar "
    "engine motor car train plane rocket ship bridge tower computer keyboard server network "
    "database compiler robot battery magnet laser atom electron gravity energy light sound music "
    "painting film book novel poem game chess football tennis hockey school university language "
    "grammar history war peace law tax money bank market economy company doctor medicine virus "
    "cell brain heart blood bone dream love happiness philosophy religion king queen president "
    "elephant tiger lion whale dolphin shark snake spider bee ant butterfly dinosaur dragon"
)
VERBS = words(
    "build fix clean cook paint sell buy learn fly swim run sleep eat break open close sort "
    "reverse print delete copy draw count grow burn melt move"
)
QUALITIES = words("blue red hot cold big small fast slow heavy expensive dangerous famous old new")
LANGUAGES = ("Python", "Rust", "Java", "French", "German", "Spanish", "Latin", "Chinese", "C")


def unknown_turn(rng: random.Random, split: Split) -> Turn:
    """A question of random form and filling; combinations of form and filling are held out."""
    while True:
        user = pick(rng, FORMS).format(**_slots(rng, split))
        if split.admits(user):
            break
    return question("unknown", retype(rng, user), ANSWER, "I do not know this.")


def _slots(rng: random.Random, split: Split) -> dict[str, object]:
    return {
        "thing": item(rng, split),
        "name": full_name(rng, split),
        "topic": pick(rng, TOPICS),
        "quality": pick(rng, QUALITIES),
        "verb": pick(rng, VERBS),
        "word": syllable_word(rng),
        "word2": pick(rng, TOPICS),
        "word3": first_name(rng, split),
        "city": city(rng, split),
        "language": pick(rng, LANGUAGES),
        "a": rng.randint(2, 99),
        "b": rng.randint(2, 99),
        "big": rng.randint(200, 9999),
        "year": rng.randint(1000, 2100),
    }
