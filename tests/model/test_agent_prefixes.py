"""Agents send a growing conversation again and again: the next prompt begins as the last one did.

The requests are those of Claude Code and of Codex. The tokens are those of the demo model, and of
SmolLM2 if LLAMAPACK_SMOLLM2 names its file. The templates are the demo model's, and those of the
folder that LLAMAPACK_TEMPLATES names, if they can show tools.
"""

from __future__ import annotations

import copy
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from server.anthropic.conversation import to_chat as chat_of_messages
from server.anthropic.request import MessagesRequest
from server.chat.prompt import render_text
from server.chat.request import ChatRequest
from server.model.tokenizer import LlamaTokenizer
from server.openai.responses.conversation import to_chat as chat_of_response
from server.openai.responses.items import Item
from server.openai.responses.request import ResponseRequest
from server.templates import chat_template
from server.templates.chat_template import ChatTemplate
from tests.support.paths import DEMO_TARGET
from tests.support.recorded_requests import recorded
from tests.support.templates import collected_templates, read_template

REUSED = 0.95
"""Share of a prompt that the next call of its session has to find in the cache."""

SMOLLM2 = Path(os.environ.get("LLAMAPACK_SMOLLM2", "missing"))
VOCABULARIES = [DEMO_TARGET, *([SMOLLM2] if SMOLLM2.exists() else [])]
_ITEMS: TypeAdapter[list[Item]] = TypeAdapter(list[Item])


def claude_chat(body: dict[str, Any]) -> ChatRequest:
    return chat_of_messages(MessagesRequest.model_validate(body)).body


def codex_chat(body: dict[str, Any]) -> ChatRequest:
    return chat_of_response(
        ResponseRequest.model_validate(body), _ITEMS.validate_python(body["input"])
    )


Session = tuple[Callable[[dict[str, Any]], ChatRequest], list[dict[str, Any]]]


def claude() -> Session:
    return claude_chat, recorded("claude")


def claude_with_a_changing_header() -> Session:
    """Clients of other servers than this one get a header that differs in each request."""
    bodies = copy.deepcopy(recorded("claude"))
    for number, body in enumerate(bodies):
        body["system"][0]["text"] += f" cch={number:05x};"
    return claude_chat, bodies


def claude_that_counts_tokens() -> Session:
    """After each result of a tool, a message tells how many tokens are left."""
    bodies = copy.deepcopy(recorded("claude"))
    for body in bodies:
        messages: list[dict[str, Any]] = []
        for message in body["messages"]:
            messages.append(message)
            content = message["content"]
            if isinstance(content, list) and content[0]["type"] == "tool_result":
                left = f"Token usage: {1000 * len(messages)}/200000"
                messages.append({"role": "system", "content": left})
        body["messages"] = messages
    return claude_chat, bodies


def codex() -> Session:
    return codex_chat, recorded("codex")


SESSIONS = [claude, claude_with_a_changing_header, claude_that_counts_tokens, codex]


@functools.cache
def tokenizer(path: Path) -> LlamaTokenizer:
    return LlamaTokenizer(path)


@functools.cache
def demo_template() -> ChatTemplate:
    source = tokenizer(DEMO_TARGET).metadata("tokenizer.chat_template")
    assert source is not None
    return ChatTemplate(source)


def templates() -> Iterator[Any]:
    yield pytest.param(demo_template, id="demo")
    for path in collected_templates():
        yield pytest.param(functools.partial(read_template, path), id=path.stem)


def grows_at_its_end(template: ChatTemplate) -> bool:
    """Whether a plain chat with a system message begins as the chat before did. Mistral's older
    templates write the system message into the last message of the user."""
    chat = [
        {"role": role, "content": f"This is {role}."} for role in ("system", "user", "assistant")
    ]
    short, long = (
        template.render(messages, add_generation_prompt=False)
        for messages in (chat[:2], [*chat, chat[1]])
    )
    return shared([*short.encode()], [*long.encode()]) >= REUSED


class Noon(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: Any = None) -> Noon:
        return cls(2026, 1, 1, 12)


def shared(first: Sequence[int], second: Sequence[int]) -> float:
    """Share of the first tokens that the second ones begin with."""
    pairs = zip(first, second, strict=False)
    count = next((i for i, (one, other) in enumerate(pairs) if one != other), len(first))
    return count / len(first)


@pytest.mark.parametrize("path", VOCABULARIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("session", SESSIONS)
@pytest.mark.parametrize("template", list(templates()))
def test_the_next_call_finds_its_beginning_in_the_cache(
    path: Path,
    session: Callable[[], Session],
    template: Callable[[], ChatTemplate],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat_template, "datetime", Noon)  # some templates tell the time
    found = template()
    if not found.for_tools(True).capabilities.tools:
        pytest.skip("the template shows no tools")
    if not grows_at_its_end(found):
        pytest.skip("the template moves the beginning of a conversation")
    to_chat, bodies = session()
    texts = [render_text(to_chat(body), found) for body in bodies]
    prompts = [
        tokenizer(path).tokenize(text, add_special=True, parse_special=True) for text in texts
    ]
    assert len(prompts[0]) > 5000
    for earlier, later in itertools.pairwise(prompts):
        assert shared(earlier, later) >= REUSED
