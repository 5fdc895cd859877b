"""`POST /apply-template`: the prompt that a chat would become."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from server.context import ServerContext, context_of
from server.json_response import JsonResponse
from server.requests import read_body
from server.sampling_fields import Flag


class TemplateRequest(BaseModel):
    """The fields of a chat completion that its prompt depends on."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: Flag | None = None
    continue_final_message: Flag | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def render(self, context: ServerContext) -> str:
        """The prompt. Raises `InvalidRequest` when the template refuses the messages."""
        return context.chat_template.render(
            self.messages,
            tools=self.tools,
            add_generation_prompt=self.add_generation_prompt is not False,
            continue_final_message=self.continue_final_message is True,
            variables=self.chat_template_kwargs,
        )


async def apply_template(request: Request) -> Response:
    """Render the chat, and generate nothing."""
    body = await read_body(request, TemplateRequest)
    prompt = await to_thread.run_sync(body.render, context_of(request))
    return JsonResponse({"prompt": prompt})
