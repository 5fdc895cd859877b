"""Where other chats are likely to part from a prompt."""

from __future__ import annotations

from typing import Any

import pytest

from server.chat.partings import partings
from server.chat.request import ChatRequest
from tests.support.byte_vocabulary import Bytes

SYSTEM = {"role": "system", "content": "Be brief: always."}
FIRST = {"role": "user", "content": " Wie groß ist der Mond? \n"}
ANSWER = {"role": "assistant", "content": "Groß."}
SECOND = {"role": "user", "content": [{"type": "text", "text": "Und die Sonne?"}]}
CALL = {"role": "tool", "content": "3474 km", "tool_call_id": "a"}


def written(messages: list[dict[str, Any]]) -> str:
    """The chat as a template might write it: without spaces around the contents."""
    text = ""
    for message in messages:
        content = message["content"]
        plain = content if isinstance(content, str) else content[0]["text"]
        text += f"[{message['role']}]{plain.strip()}"
    return text


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([SYSTEM, FIRST], ["Wie"]),
        ([SYSTEM, FIRST, ANSWER, SECOND], ["Wie", "Und"]),
        ([FIRST, ANSWER, FIRST], ["Wie", "Wie"]),
        ([SYSTEM, FIRST, ANSWER, CALL], ["Wie", "3474"]),
        ([SYSTEM, FIRST, ANSWER], ["Wie"]),
        ([SYSTEM], []),
        ([{"role": "user", "content": ""}], []),
    ],
)
@pytest.mark.parametrize("bos", [[], [256]])
def test_prompts_part_before_what_users_say(
    messages: list[dict[str, Any]], expected: list[str], bos: list[int]
) -> None:
    tokenizer, text = Bytes("<s>"), written(messages)
    body = ChatRequest.model_validate({"messages": messages})
    tokens = [*bos, *tokenizer.tokenize(text, add_special=True, parse_special=False)]
    found = partings(body.messages, text, tokens, tokenizer)
    rest = [tokenizer.text(tokens[position:]) for position in found]
    assert len(found) == len(expected)
    assert all(a.startswith(b) for a, b in zip(rest, expected, strict=True))
    if expected:
        assert rest[-1] == text[text.rfind(expected[-1]) :]


def test_what_the_template_writes_otherwise_is_not_found() -> None:
    body = ChatRequest.model_validate({"messages": [SYSTEM, FIRST]})
    tokens = Bytes().tokenize("[user]how large", add_special=True, parse_special=False)
    assert partings(body.messages, "[user]how large", tokens, Bytes()) == ()
