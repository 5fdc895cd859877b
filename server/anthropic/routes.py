"""The endpoints of Anthropic's dialect."""

from __future__ import annotations

from server.anthropic.handler import count_tokens, create_message, render_message
from server.anthropic.request import MessagesRequest, TokenCountRequest
from server.endpoints import STREAMABLE, post

PREFIX = "/v1/messages"
"""All paths that begin so answer errors in Anthropic's shape."""

ENDPOINTS = (
    post(create_message, PREFIX, body=MessagesRequest, media=STREAMABLE, is_queued=True),
    post(count_tokens, f"{PREFIX}/count_tokens", body=TokenCountRequest, by_model=True),
    post(render_message, f"{PREFIX}/render", body=TokenCountRequest, by_model=True),
)
