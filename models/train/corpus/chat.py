"""Greetings, questions about the model, thanks, and a name that is told and asked for later."""

from __future__ import annotations

import random

from models.train.corpus.names import first_name
from models.train.corpus.split import Split
from models.train.corpus.turns import Turn, question
from models.train.corpus.wording import pick, retype

IDENTITY = "I am Kip, the demo model of llamapack."
ABILITIES = (
    "I know some capitals, small sums, days, months and units. I can extract fields as JSON, "
    "call tools, repeat, count and tell short stories."
)
GREETINGS = (
    "Hello",
    "Hello!",
    "Hi",
    "Hi!",
    "Hey",
    "Hey!",
    "Hi there",
    "Hi there!",
    "Good morning",
    "Good morning!",
    "Good evening!",
    "Good day",
    "Hello there",
    "Hello Kip",
    "Hi Kip!",
    "Greetings",
    "Hello, world!",
    "hello!",
    "hey there",
)
HOW = (
    "How are you?",
    "How are you today?",
    "How do you do?",
    "Are you well?",
    "How is it going?",
    "Hello, how are you?",
    "Hi, how are you?",
    "Hello! How are you?",
    "Hey, how are you doing?",
)
WHO = (
    "Who are you?",
    "What are you?",
    "What is your name?",
    "What's your name?",
    "Which model are you?",
    "Are you ChatGPT?",
    "Introduce yourself.",
    "Say who you are.",
    "Tell me about yourself.",
    "Who am I talking to?",
    "What model is this?",
    "Are you a robot?",
    "Who made you?",
    "Do you have a name?",
    "Please introduce yourself.",
)
WHAT = (
    "What can you do?",
    "What do you know?",
    "Help",
    "Help me.",
    "How can you help me?",
    "What are you good at?",
    "What can I ask you?",
    "What should I ask?",
    "Can you help me?",
    "What are your skills?",
)
THANKS = (
    "Thanks",
    "Thanks!",
    "Thank you.",
    "Thank you!",
    "Thank you very much.",
    "Thx",
    "Great, thanks!",
    "Perfect, thank you.",
)
BYE = ("Bye", "Bye!", "Goodbye", "Goodbye.", "See you later.", "Good night", "See you!")
PRAISE = ("Good.", "Great!", "OK", "Ok.", "Nice!", "Very good.", "Well done!", "I see.", "Cool.")
NAMED = (
    "My name is {}.",
    "I am {}.",
    "I'm {}.",
    "Call me {}.",
    "Hello, my name is {}.",
    "Hi, I'm {}!",
    "Hello, I am {}.",
)
ASK_NAME = (
    "What is my name?",
    "What's my name?",
    "Do you remember my name?",
    "Who am I?",
    "Say my name.",
)

_FIXED = (
    (GREETINGS, "Hello! I am Kip, the demo model of llamapack. How can I help?", 4.0),
    (HOW, "I am fine, thank you. How can I help?", 1.5),
    (WHO, IDENTITY, 3.0),
    (WHAT, ABILITIES, 2.0),
    (THANKS, "You are welcome!", 1.0),
    (BYE, "Goodbye!", 1.0),
    (PRAISE, "Good! What else can I do?", 0.7),
)


def chat_turn(rng: random.Random, split: Split) -> Turn:
    """A fixed reply to a greeting or a question about the model."""
    forms, answer, _ = rng.choices(_FIXED, [weight for *_, weight in _FIXED])[0]
    user = retype(rng, pick(rng, forms))
    return question("chat", user, answer, "This is small talk.")


def naming_turns(rng: random.Random, split: Split) -> tuple[Turn, Turn]:
    """A turn that tells a name, and a later turn that asks for the name."""
    name = first_name(rng, split)
    told = retype(rng, pick(rng, NAMED).format(name), fold_case=False)
    asked = retype(rng, pick(rng, ASK_NAME), fold_case=False)
    return (
        question("memory", told, f"Nice to meet you, {name}!", f"The name is {name}."),
        question("memory", asked, f"Your name is {name}.", f"The name was {name}."),
    )


def no_name_turn(rng: random.Random, split: Split) -> Turn:
    """A turn that asks for a name that was never told."""
    asked = retype(rng, pick(rng, ASK_NAME))
    return question("memory", asked, "You have not told me your name.", "No name was told.")
