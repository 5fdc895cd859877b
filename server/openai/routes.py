"""The endpoints of OpenAI's dialect."""

from __future__ import annotations

from server.chat.request import ChatRequest
from server.endpoints import STREAMABLE, post
from server.openai.chat.control import ControlRequest, control_completion
from server.openai.chat.handler import create_chat_completion
from server.openai.chat.input_tokens import count_input_tokens
from server.openai.chat.template import apply_template
from server.openai.completions.handler import create_completion
from server.openai.render import render_chat_completion, render_completion
from server.requests.text_completion import TextCompletionRequest

ENDPOINTS = (
    post(
        create_chat_completion,
        "/v1/chat/completions",
        "/chat/completions",
        body=ChatRequest,
        media=STREAMABLE,
        is_queued=True,
    ),
    post(
        count_input_tokens,
        "/v1/chat/completions/input_tokens",
        "/chat/completions/input_tokens",
        body=ChatRequest,
        by_model=True,
    ),
    post(
        create_completion,
        "/v1/completions",
        body=TextCompletionRequest,
        media=STREAMABLE,
        is_queued=True,
    ),
    post(
        control_completion,
        "/v1/chat/completions/control",
        "/chat/completions/control",
        body=ControlRequest,
        by_model=True,
        is_counted=False,
    ),
    post(render_chat_completion, "/v1/chat/completions/render", body=ChatRequest, by_model=True),
    post(render_completion, "/v1/completions/render", body=TextCompletionRequest, by_model=True),
    post(apply_template, "/apply-template", body=ChatRequest, by_model=True),
)
