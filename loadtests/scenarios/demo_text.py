"""Real prompts for the demo model: its held-out test set, answered at natural length."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import msgspec

from loadtests.harness.scenario import Client, Load, Plan, Request
from models.train.cases import Case, cases, conversation_cases
from models.train.corpus.repeating import repeating_turn
from models.train.corpus.split import Split
from models.train.corpus.turns import Conversation

LONGEST_PROMPT = 1400
"""Characters; every token has at least one character."""
LIMIT = 512
"""Maximum number of tokens of an answer; the longest stories have 400."""
SLOT_TOKENS = 2048
CHARACTERS_A_TOKEN = 3
SHORTEST_QUOTE = 160
"""Characters: a few sentences."""

_STRIDE = 5000
"""Conversations per round; more than any plan uses."""


def free_text(load: Load) -> Iterator[Case]:
    """Questions of all kinds, different in each round."""
    first = (100 * load.seed + load.round + 1) * _STRIDE
    return (case for case in cases(_STRIDE, first) if len(case.prompt) <= LONGEST_PROMPT)


def quotes(load: Load) -> Iterator[Case]:
    """Requests to repeat a text of a few sentences, different in each round."""
    rng = random.Random(f"quotes/{load.seed}/{load.round}")
    while True:
        talk = Conversation(None, (), (repeating_turn(rng, Split.TEST),))
        for case in conversation_cases(talk):
            if len(case.expected) >= SHORTEST_QUOTE and case.expected in case.prompt:
                yield case


def demo_plan(load: Load, given: Iterator[Case], count: int) -> Plan:
    """A plan with `count` of the given cases for each client."""
    requests = [_request(case) for case in itertools.islice(given, load.clients * count)]
    return Plan(tuple(Client(tuple(requests[i :: load.clients])) for i in range(load.clients)))


def _request(case: Case) -> Request:
    """The case at temperature 0, until the model ends its answer."""
    body = {"prompt": case.prompt, "n_predict": LIMIT, "temperature": 0.0, "stream": True}
    answer, prompt = (len(text) / CHARACTERS_A_TOKEN for text in (case.expected, case.prompt))
    return Request(
        path="/completion",
        payload=msgspec.json.encode(body),
        exact_tokens=None,
        cost_tokens=answer + 0.3 * prompt,
    )
