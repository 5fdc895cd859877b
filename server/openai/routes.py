"""Where OpenAI's dialect is served."""

from __future__ import annotations

from server.openai.chat import create_chat_completion
from server.openai.completions import create_completion
from server.routes import post

ENDPOINTS = (
    post(create_chat_completion, "/v1/chat/completions", "/chat/completions"),
    post(create_completion, "/v1/completions"),
)
