"""The endpoints of responses."""

from __future__ import annotations

from server.endpoints import STREAMABLE, Endpoint, get, post
from server.openai.responses.handler import (
    cancel_response,
    count_input_tokens,
    create_response,
    delete_response,
    get_response,
    list_input_items,
)
from server.openai.responses.request import ResponseRequest
from server.openai.responses.stream_query import QUERY

PREFIX = "/v1/responses"
"""All paths that begin so answer errors with the codes of OpenAI's responses."""

ENDPOINTS = (
    post(create_response, PREFIX, body=ResponseRequest, media=STREAMABLE, is_queued=True),
    post(count_input_tokens, f"{PREFIX}/input_tokens", body=ResponseRequest, by_model=True),
    Endpoint(
        (f"{PREFIX}/{{id}}",),
        {"GET": get_response, "DELETE": delete_response},
        media=STREAMABLE,
        query=QUERY,
    ),
    post(cancel_response, f"{PREFIX}/{{id}}/cancel", is_counted=False),
    get(list_input_items, f"{PREFIX}/{{id}}/input_items"),
)
