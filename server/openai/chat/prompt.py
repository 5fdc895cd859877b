"""The prompt of a chat, and the facts about its answer that follow from the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.context import ServerContext
from server.model.tokenizer import Tokenizer
from server.openai.chat.messages import to_template
from server.openai.chat.request import ChatRequest
from server.parsers.reasoning import ReasoningMarkers
from server.templates.chat_template import ChatTemplate, JinjaTemplate


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A rendered chat."""

    text: str
    template: JinjaTemplate
    has_tools: bool
    is_thinking_open: bool
    """Whether the prompt ends inside the model's thinking."""
    may_think: bool
    """Whether the answer may begin with thinking, or continue it."""
    effort: str | None
    """How much to think, in the words of the request."""
    keeps_thinking: bool
    """Whether thinking stays in the content."""

    def tokens(self, tokenizer: Tokenizer) -> list[int]:
        """The tokens of the prompt.

        The template may have written the first token (BOS) itself. A second one would hurt.
        """
        bos = tokenizer.bos
        first = "" if bos is None else tokenizer.text([bos], special=True)
        add_special = not (first and self.text.startswith(first))
        return tokenizer.tokenize(self.text, add_special=add_special, parse_special=True)


def render_chat(body: ChatRequest, context: ServerContext) -> ChatPrompt:
    """Apply the chat template. Raises `InvalidRequest` when the template refuses the chat."""
    tools = body.offered_tools()
    text = render_text(body, context.chat_template)
    template = context.chat_template.for_tools(bool(tools))
    variables = {**context.chat_template.variables, **body.template_variables}
    markers = template.reasoning_markers
    is_open = markers is not None and _is_open(markers, text, body)
    may_begin = markers is not None and not body.continues and _may_begin(markers, text, variables)
    return ChatPrompt(
        text=text,
        template=template,
        has_tools=bool(tools),
        is_thinking_open=is_open,
        may_think=is_open or may_begin,
        effort=variables.get("reasoning_effort"),
        keeps_thinking=(body.reasoning_format or context.settings.reasoning_format) == "none",
    )


def render_text(body: ChatRequest, template: ChatTemplate) -> str:
    """The text of a chat. Raises `InvalidRequest` when the template refuses the chat."""
    return template.render(
        [to_template(message) for message in body.messages],
        tools=[tool.to_template() for tool in body.offered_tools()] or None,
        documents=body.documents,
        add_generation_prompt=body.add_generation_prompt,
        continue_final_message=body.continues,
        variables=body.template_variables,
    )


def _is_open(markers: ReasoningMarkers, text: str, body: ChatRequest) -> bool:
    if body.continues:
        content = str(to_template(body.messages[-1]).get("content") or "")
        return markers.left_open_in(content)
    return body.add_generation_prompt and markers.opened_by(text)


def _may_begin(markers: ReasoningMarkers, text: str, variables: Mapping[str, Any]) -> bool:
    """Whether the model may open its thinking itself."""
    is_off = variables.get("enable_thinking", variables.get("thinking")) is False
    return not (is_off or text.rstrip().endswith(markers.closing))
