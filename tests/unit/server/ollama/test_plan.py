"""The plan of a chat: the limits that the engine and the constraint are told."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from config import ServeSettings
from grammars.constraint import ThinkingConstraint
from server.errors import ContextExceeded, InvalidRequest
from server.ollama.plan import OllamaPlan, plan_ollama_chat
from server.ollama.recipes import Recipe
from server.ollama.request import OllamaChatRequest
from server.templates.chat_template import ChatTemplate
from tests.http.openai.conftest import TEMPLATE
from tests.support import fake_server
from tests.support.fake_server import make_server

N_PROMPT = len("<|user|>Hi<|assistant|>") + 1
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.fixture(autouse=True)
def _long_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_server, "N_CTX_SLOT", 1000)


def plan(settings: ServeSettings | None = None, **fields: Any) -> OllamaPlan:
    context = dataclasses.replace(
        make_server(settings).context, chat_template=ChatTemplate(TEMPLATE)
    )
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    body = OllamaChatRequest.model_validate(chat)
    return plan_ollama_chat(body, Recipe(name="m", base="m"), context, None)


def test_a_constraint_is_told_the_room_that_num_ctx_leaves() -> None:
    for num_ctx, room in ((200, 200 - N_PROMPT), (0, 1000 - N_PROMPT), (5000, 1000 - N_PROMPT)):
        spec = plan(format=SCHEMA, options={"num_ctx": num_ctx}).sequence.spec
        assert isinstance(spec.constraint, ThinkingConstraint)
        assert spec.constraint.room == room


SHIFTING = ServeSettings(context_shift=True)


def test_a_context_shift_is_the_servers_unless_it_is_turned_off() -> None:
    assert plan().sequence.spec.context_shift is None
    assert plan(SHIFTING).sequence.spec.context_shift is not None
    assert plan(SHIFTING, shift=True).sequence.spec.context_shift is not None
    assert plan(SHIFTING, shift=False).sequence.spec.context_shift is None
    with pytest.raises(InvalidRequest, match="--context-shift"):
        plan(shift=True)


def test_what_a_context_shift_keeps() -> None:
    kept = plan(SHIFTING, options={"num_keep": 7}).sequence.spec.context_shift
    assert kept is not None
    assert kept.keep == 7 + 1  # and the BOS
    assert plan(options={"num_keep": 7}).sequence.spec.context_shift is None


def test_a_chat_that_cannot_be_shortened() -> None:
    with pytest.raises(ContextExceeded) as caught:
        plan(options={"num_ctx": N_PROMPT})
    assert (caught.value.n_prompt_tokens, caught.value.n_ctx) == (N_PROMPT, N_PROMPT)
