"""What is left out of chats and prompts that are too long, so that the newest text stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.ollama.request import Message


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a completion is made of that a template is applied to."""

    messages: Sequence[Message]
    """Instructions, and what was said; the last one is the prompt."""
    before: Sequence[int] = ()
    """The tokens of the conversation before."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A prompt as it is, and the text behind the answer."""

    prompt: str
    suffix: str = ""


def without_oldest(messages: Sequence[Message], share: float) -> Sequence[Message] | None:
    """About this share of the messages' text, from their end, after the instructions before it.

    What is left begins with a message of the user's. None if only the last one is left.
    """
    sizes = [len(message.model_dump_json()) for message in messages]
    left, limit = sum(sizes), share * sum(sizes)
    has_turns, start = False, 0
    for index, (message, size) in enumerate(zip(messages, sizes, strict=True)):
        if has_turns and message.role == "user":
            start = index
            if left <= limit:
                break
        has_turns = has_turns or message.role != "system"
        left -= size
    if not start:
        return None
    return [*(one for one in messages[:start] if one.role == "system"), *messages[start:]]


def shorter_conversation(asked: Conversation, share: float) -> Conversation | None:
    """Less of the conversation before, then of the messages, then of the prompt's beginning."""
    if asked.before:
        return replace(asked, before=asked.before[_cut(asked.before, share) :])
    if messages := without_oldest(asked.messages, share):
        return replace(asked, messages=messages)
    *first, prompt = asked.messages
    content = prompt.content[_cut(prompt.content, share) :]
    if not content:
        return None
    return replace(asked, messages=[*first, prompt.model_copy(update={"content": content})])


def shorter_gap(asked: Gap, share: float) -> Gap | None:
    """Less of what is far from the answer: the prompt's beginning, and the suffix's end."""
    prompt = asked.prompt[_cut(asked.prompt, share) :]
    suffix = asked.suffix[: len(asked.suffix) - _cut(asked.suffix, share)]
    return Gap(prompt, suffix) if prompt or suffix else None


def _cut(text: str | Sequence[int], share: float) -> int:
    """How many characters or tokens go."""
    return len(text) - int(len(text) * share)
