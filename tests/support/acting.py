"""A server whose model plays given texts, so that clients do real work without a real model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from server.app import create_app
from server.generation.types import GenerationRequest, Item
from server.templates.chat_template import ChatTemplate
from tests.http.openai.conftest import TEMPLATE
from tests.support import fake_server
from tests.support.fake_server import ScriptedGenerator, make_server
from tests.support.live import serving
from tests.support.recorded_requests import recording

CONTEXT = 1_000_000
"""Tokens, which are bytes here; an agent's instructions have some ten thousands."""


@dataclass
class Actor(ScriptedGenerator):
    """Plays one text after the other: the next one when one more tool has answered."""

    lines: Sequence[str] = ()
    prompts: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, request: GenerationRequest) -> AsyncIterator[AsyncIterator[Item]]:
        tokens = (token for token in request.spec.prompt if token < 256)
        prompt = bytes(tokens).decode(errors="replace")
        self.prompts.append(prompt)
        line = self.lines[min(prompt.count("<|tool|>"), len(self.lines) - 1)]
        self.pieces = [line[at : at + 5] for at in range(0, len(line), 5)]
        async with super().open(request) as items:
            yield items


@contextmanager
def acting(
    monkeypatch: pytest.MonkeyPatch, lines: Sequence[str], client: str = ""
) -> Iterator[tuple[str, Actor]]:
    """The URL of a server with an actor. What a named client sends is recorded if a variable asks
    for it (see `recorded_requests`)."""
    monkeypatch.setattr(fake_server, "N_CTX_SLOT", CONTEXT)
    actor = Actor(lines=lines)
    context = dataclasses.replace(
        make_server(generator=actor).context, chat_template=ChatTemplate(TEMPLATE)
    )
    app: ASGIApp = create_app(context)
    if client and "LLAMAPACK_RECORD" in os.environ:
        app = recording(app, Path(os.environ["LLAMAPACK_RECORD"]), client)
    with serving(app) as url:
        yield url, actor


def call(name: str, **arguments: str) -> str:
    """A call as the template's model writes it."""
    fields = ", ".join(f'"{key}": "{value}"' for key, value in arguments.items())
    return f'<tool_call>\n{{"name": "{name}", "arguments": {{{fields}}}}}\n</tool_call>'
