"""`POST /apply-template`: the prompt that a chat would become."""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from server.context import ServerContext, context_of
from server.http.json_response import JsonResponse
from server.openai.chat.messages import to_template
from server.openai.chat.request import ChatRequest
from server.requests.body import read_body


async def apply_template(request: Request) -> Response:
    """Render the body of a chat completion, and generate nothing."""
    body = await read_body(request, ChatRequest)
    prompt = await to_thread.run_sync(_render, body, context_of(request))
    return JsonResponse({"prompt": prompt})


def _render(body: ChatRequest, context: ServerContext) -> str:
    return context.chat_template.render(
        [to_template(message) for message in body.messages],
        tools=[tool.to_template() for tool in body.offered_tools()] or None,
        documents=body.documents,
        add_generation_prompt=body.add_generation_prompt,
        continue_final_message=body.continues,
        variables=body.template_variables,
    )
