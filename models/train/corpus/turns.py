"""The values that generators produce: turns and conversations as chat messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]
Tool = Mapping[str, Any]


@dataclass(frozen=True)
class Turn:
    """One question and everything up to its final answer.

    `messages` starts with a user message and ends with an assistant message. If the turn calls
    tools, the calls and their results stand between these two. `thought` is what the model thinks
    before its first reply when thinking is on.
    """

    skill: str
    messages: tuple[Message, ...]
    thought: str


@dataclass(frozen=True)
class Conversation:
    """A system prompt, tools and turns; with `thinking`, the last turn shows its thought."""

    system: str | None
    tools: tuple[Tool, ...]
    turns: tuple[Turn, ...]
    thinking: bool = False

    @property
    def messages(self) -> list[Message]:
        """All messages in order, the system prompt first."""
        head: list[Message] = []
        if self.system is not None:
            head.append({"role": "system", "content": self.system})
        return head + [message for turn in self.turns for message in turn.messages]


def question(skill: str, user: str, answer: str, thought: str) -> Turn:
    """A plain turn: one user message, one answer."""
    messages = ({"role": "user", "content": user}, {"role": "assistant", "content": answer})
    return Turn(skill, messages, thought)
