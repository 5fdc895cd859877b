"""Prompts of chats: the first token of a model stands at their beginning once."""

from __future__ import annotations

import pytest

from server.chat.prompt import ChatPrompt
from server.templates.chat_template import ChatTemplate
from tests.support.fake_server import BOS, ByteTokenizer


def prompt(text: str) -> ChatPrompt:
    return ChatPrompt(
        text=text,
        template=ChatTemplate().for_tools(False),
        has_tools=False,
        is_thinking_open=False,
        may_think=False,
        effort=None,
        keeps_thinking=False,
    )


class ZeroIsBos(ByteTokenizer):
    """A vocabulary whose BOS is token 0, as DeepSeek's."""

    bos: int | None = 0


@pytest.mark.parametrize(
    ("text", "expected"), [("ab", [BOS, 97, 98]), ("<s>ab", [BOS, 97, 98]), ("", [BOS])]
)
def test_bos_comes_once(text: str, expected: list[int]) -> None:
    assert prompt(text).tokens(ByteTokenizer()) == expected


def test_a_bos_whose_number_is_0() -> None:
    assert prompt("\0a").tokens(ZeroIsBos()) == [0, 97]
