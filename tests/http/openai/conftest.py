"""A live server on fakes, and OpenAI's own clients for the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import openai
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from config import ServeSettings
from server.app import create_app
from server.model.tokenizer import Tokenizer
from server.templates.chat_template import ChatTemplate
from tests.support import fake_server
from tests.support.fake_server import ScriptedGenerator, make_server
from tests.support.live import serving

TEMPLATE = """\
{%- for t in tools or [] %}{{ '<tool_call>' + t.function.name }}{% endfor -%}
{%- for m in messages -%}
{{ '<|' + m.role + '|>' + (m.content or '') }}
{%- for c in m.tool_calls or [] %}{{ c.function.name + c.function.arguments }}{% endfor -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>
{%- if enable_thinking is defined and not enable_thinking %}<think></think>{% endif -%}
{%- endif -%}
"""
"""Hermes' format of calls, and thinking that can be turned off."""

CHANNELS = (
    "{% for m in messages %}<|start|>{{ m.role }}"
    "{% if m.thinking %}<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "<|channel|>final<|message|>{{ m.content }}<|end|>{% for c in m.tool_calls or [] %}"
    "{{ c.function.name + c.function.arguments }}<|call|>{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
"""Answers as gpt-oss writes them."""


class Live:
    """A server and the parts that a test may inspect. Only the official clients use a socket."""

    def __init__(self, app: Starlette, generator: ScriptedGenerator, stack: ExitStack) -> None:
        self.generator = generator
        self._app = app
        self._stack = stack

    @cached_property
    def url(self) -> str:
        return self._stack.enter_context(serving(self._app))

    @cached_property
    def client(self) -> openai.OpenAI:
        client = openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key="none",
            max_retries=0,
            # Loading certificates takes longer than most tests.
            http_client=openai.DefaultHttpxClient(verify=False),
        )
        self._stack.callback(client.close)
        return client

    def async_client(self) -> openai.AsyncOpenAI:
        """The official client for asynchronous tests."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def post(self, path: str, **body: object) -> Any:
        """Send a request that the official client wouldn't make."""
        return TestClient(self._app, raise_server_exceptions=False).post(path, json=body)

    def prompt(self, index: int = -1) -> str:
        """The text of a prompt that the generator received."""
        tokens = self.generator.opened[index].spec.prompt
        return bytes(token for token in tokens if token < 256).decode()


Serve = Callable[..., Live]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Makes a server whose model answers with the given pieces."""
    monkeypatch.setattr(fake_server, "N_CTX_SLOT", 10_000)
    with ExitStack() as stack:

        def start(
            pieces: Sequence[str] = ("Hello", ",", " world"),
            *,
            template: str = TEMPLATE,
            settings: ServeSettings | None = None,
            tokenizer: Tokenizer | None = None,
            **script: Any,
        ) -> Live:
            generator = ScriptedGenerator(pieces=pieces, **script)
            context = make_server(settings, generator).context
            context = dataclasses.replace(
                context,
                chat_template=ChatTemplate(template),
                tokenizer=tokenizer or context.tokenizer,
            )
            return Live(create_app(context), generator, stack)

        yield start
