"""Conversations that share instructions in groups, told turn by turn to whichever replica."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

WORDS = (
    *("river", "stone", "bread", "light", "winter", "garden", "paper", "horse", "music", "silver"),
    *("window", "letter", "forest", "summer", "market", "bridge", "candle", "shadow", "kitchen"),
    *("mountain", "button", "feather", "lantern", "harbour"),
)

Message = dict[str, str]


@dataclass
class Shape:
    """How large the load is."""

    num_conversations: int = 200
    num_groups: int = 4
    """Conversations of a group have the same instructions."""
    num_turns: int = 4
    instruction_words: int = 120
    question_words: int = 20
    answer_tokens: int = 16
    num_open: int = 16
    """Conversations that are under way at a time."""
    num_clients: int = 3
    """Requests that are under way at a time."""
    seed: int = 1


@dataclass
class Conversation:
    """Its messages so far, and how many questions are left."""

    messages: list[Message]
    questions: list[str]


@dataclass
class Usage:
    """Tokens of all prompts."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    num_requests: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The share that came from caches."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Sends the body of a chat completion to a replica; returns the answer."""


async def hold(shape: Shape, ask: Ask) -> Usage:
    """Hold all conversations, and count."""
    usage = Usage()
    waiting = deque(_conversations(shape))
    open_ones = deque(waiting.popleft() for _ in range(min(shape.num_open, len(waiting))))

    async def client() -> None:
        while open_ones:
            conversation = open_ones.popleft()
            await _turn(conversation, shape, ask, usage)
            if conversation.questions:
                open_ones.append(conversation)
            elif waiting:
                open_ones.append(waiting.popleft())

    await asyncio.gather(*(client() for _ in range(shape.num_clients)))
    return usage


async def _turn(conversation: Conversation, shape: Shape, ask: Ask, usage: Usage) -> None:
    question = {"role": "user", "content": conversation.questions.pop(0)}
    conversation.messages.append(question)
    answer = await ask(
        {
            "messages": conversation.messages,
            "max_tokens": shape.answer_tokens,
            "ignore_eos": True,
            "temperature": 0,
        }
    )
    usage.num_requests += 1
    if "usage" not in answer:
        usage.errors.append(str(answer)[:200])
        return
    counts = answer["usage"]
    usage.prompt_tokens += counts["prompt_tokens"]
    usage.cached_tokens += counts["prompt_tokens_details"]["cached_tokens"]
    text = answer["choices"][0]["message"]["content"]
    conversation.messages.append({"role": "assistant", "content": text})


def _conversations(shape: Shape) -> Iterator[Conversation]:
    dice = random.Random(shape.seed)
    groups = [_words(dice, shape.instruction_words) for _ in range(shape.num_groups)]
    for _ in range(shape.num_conversations):
        system = {"role": "system", "content": dice.choice(groups)}
        questions = [_words(dice, shape.question_words) for _ in range(shape.num_turns)]
        yield Conversation([system], questions)


def _words(dice: random.Random, count: int) -> str:
    return " ".join(dice.choices(WORDS, k=count))
