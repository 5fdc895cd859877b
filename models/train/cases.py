"""Test cases: every assistant reply of held-out conversations, and the check of the model's
reply."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from models.train.corpus.mixture import conversation
from models.train.corpus.split import Split
from models.train.corpus.turns import Conversation, Message, Turn
from models.train.render import answer_text, prompt

TEST_SEED = 7
_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)


@dataclass(frozen=True)
class Case:
    """A prompt, the expected reply, and the row of the score table that the case belongs to."""

    row: str
    prompt: str
    expected: str
    thinking: bool

    def passed(self, reply: str) -> bool:
        """Whether `reply`, without its thought, is right."""
        if self.thinking:
            if "</think>\n\n" not in reply:
                return False
            reply = reply.split("</think>\n\n", 1)[1]
        return CHECKS.get(self.row, _same_text)(self.expected, reply)

    def has_valid_shape(self, reply: str) -> bool:
        """Whether `reply` is JSON that is valid for a schema made from the expected answer."""
        expected, given = json.loads(self.expected), _parsed(reply.split("</think>\n\n")[-1])
        return isinstance(given, dict) and _types(given) == _types(expected)


def cases(conversations: int, seed: int = TEST_SEED) -> Iterator[Case]:
    """The cases of `conversations` held-out conversations, in their natural mix of skills."""
    for index in range(conversations):
        yield from conversation_cases(conversation(seed, index, Split.TEST))


def conversation_cases(talk: Conversation) -> Iterator[Case]:
    """One case for each reply, with the right replies before it as history."""
    history: list[Message] = []
    if talk.system is not None:
        history.append({"role": "system", "content": talk.system})
    for place, turn in enumerate(talk.turns):
        thinking = talk.thinking and place == len(talk.turns) - 1
        for message in turn.messages:
            if message["role"] == "assistant":
                text = prompt(history, talk.tools, thinking=thinking)
                yield Case(_row(turn, message, talk), text, answer_text(message), thinking)
                thinking = False
            history.append(message)


def _row(turn: Turn, message: Message, talk: Conversation) -> str:
    if turn.skill == "tools":
        return "tool calls" if message.get("tool_calls") else "answers from tool results"
    return turn.skill


def _same_text(expected: str, reply: str) -> bool:
    return reply == expected


def _same_json(expected: str, reply: str) -> bool:
    return bool(json.loads(expected) == _parsed(reply))


def _types(fields: dict[str, Any]) -> dict[str, str]:
    numbers = {"int": "number", "float": "number"}
    names = {key: type(value).__name__ for key, value in fields.items()}
    return {key: numbers.get(name, name) for key, name in names.items()}


def _same_calls(expected: str, reply: str) -> bool:
    def calls(text: str) -> list[Any]:
        return [_parsed(call) for call in _CALL.findall(text)]

    return calls(expected) == calls(reply) and _CALL.sub("", reply).strip() == ""


def _whole_story(expected: str, reply: str) -> bool:
    """Whether the story has a similar length and an end; the model may choose the events."""
    return reply.endswith("The end.") and 0.6 < len(reply) / len(expected) < 1.6


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


CHECKS: dict[str, Callable[[str, str], bool]] = {
    "extraction": _same_json,
    "tool calls": _same_calls,
    "story": _whole_story,
}
