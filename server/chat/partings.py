"""Where other chats are likely to part from a prompt: before what its user says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from server.chat.messages import Message, to_template
from server.model.tokenizer import Tokenizer
from server.templates.messages import text_of


def partings(
    messages: Sequence[Message], text: str, tokens: Sequence[int], tokenizer: Tokenizer
) -> tuple[int, ...]:
    """Numbers of tokens before the first message of a user, and before the last message.

    Before the first lie instructions and tools, which many chats share. Where the template writes
    a message otherwise than it was sent, its place is not found.
    """
    sizes = list(accumulate(len(tokenizer.piece(token, special=True)) for token in tokens))
    if not sizes:
        return ()
    # Tokens may have bytes that the text has not: a BOS, or a space before the first word.
    added = sizes[-1] - len(text.encode(errors="replace"))
    found = []
    for place in _places(messages, text):
        end = added + len(text[:place].encode(errors="replace"))
        found.append(sum(size <= end for size in sizes))
    return tuple(sorted({position for position in found if position > 0}))


def _places(messages: Sequence[Message], text: str) -> list[int]:
    """The characters at which the two messages begin in the text."""
    users = [_content(message) for message in messages if message.role == "user"]
    places = [text.find(content) for content in users[:1] if content]
    if messages[-1].role in ("user", "tool"):
        places += [text.rfind(content) for content in [_content(messages[-1])] if content]
    return [place for place in places if place > 0]


def _content(message: Message) -> str:
    return text_of(to_template(message).get("content")).strip()
