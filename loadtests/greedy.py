"""Asks a server questions at temperature 0, and keeps the tokens with their probabilities."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from loadtests.harness.servers import Side, running

QUESTIONS = (
    "What is the capital of France?",
    "Which country has the capital Oslo?",
    "What is the capital of Japan?",
    "Hello!",
    "Who are you?",
    "What is 17 plus 25?",
    "What is 61 minus 38?",
    "What is 8 + 9?",
    "Which day comes after Tuesday?",
    "Which month comes before June?",
    "How many minutes are in 3 hours?",
    "Count from 1 to 12.",
    "Tell me a short story.",
    "Tell me a story about a fox.",
    "Tell me a long story about a sailor and a storm.",
    "Repeat: the quick brown fox jumps over the lazy dog",
    "What is the weight of the moon?",
    "Who won the football match yesterday?",
    "What is the capital of Atlantis?",
    "Thanks, goodbye!",
    "How many days are in a week?",
    "What is 90 minus 45?",
    "Is Rome the capital of Italy?",
    "Name the capital of Brazil.",
)

N_TOP = 5
"""Likeliest tokens that are asked for at each place of an answer."""


@dataclass(frozen=True)
class Place:
    """A token of an answer, and the log-probabilities of the likeliest tokens there."""

    token: int
    logprob: float
    top: Mapping[int, float]


@dataclass(frozen=True)
class Answer:
    """One answer as text, as tokens and as places. The token that ends it may have no place."""

    text: str
    tokens: tuple[int, ...]
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Answers:
    """The answers of one server to all questions, asked one by one and with every slot busy."""

    alone: Sequence[Answer]
    busy: Sequence[Answer]


async def ask(
    side: Side, flags: Sequence[str], *, num_questions: int, num_tokens: int, num_slots: int
) -> Answers:
    """Start a server, ask the first questions twice, stop it.

    Raises `ServerError` if it doesn't start, and httpx's errors if it refuses a question.
    """
    questions = QUESTIONS[:num_questions]
    with running(side, list(flags)) as server:
        await server.wait_ready()
        base = f"http://{server.address}"
        async with httpx.AsyncClient(base_url=base, timeout=600) as client:
            alone = [await _answer(client, question, num_tokens) for question in questions]
            gate = asyncio.Semaphore(num_slots)
            crowd = [_gated(gate, client, question, num_tokens) for question in questions]
            return Answers(alone, await asyncio.gather(*crowd))


async def _gated(
    gate: asyncio.Semaphore, client: httpx.AsyncClient, question: str, num_tokens: int
) -> Answer:
    async with gate:
        return await _answer(client, question, num_tokens)


async def _answer(client: httpx.AsyncClient, question: str, num_tokens: int) -> Answer:
    messages = [{"role": "user", "content": question}]
    prompt = (await _post(client, "/apply-template", {"messages": messages}))["prompt"]
    fields = {"temperature": 0, "n_predict": num_tokens, "n_probs": N_TOP, "return_tokens": True}
    answer = await _post(client, "/completion", {"prompt": prompt, **fields})
    places = map(_place, answer["completion_probabilities"])
    return Answer(answer["content"], tuple(answer["tokens"]), tuple(places))


def _place(entry: Mapping[str, Any]) -> Place:
    top = {likely["id"]: likely["logprob"] for likely in entry["top_logprobs"]}
    return Place(entry["id"], entry["logprob"], top)


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(path, json=body)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer
