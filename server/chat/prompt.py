"""The prompt of a chat, and the facts about its answer that follow from the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.chat.messages import AssistantMessage, Message, to_template
from server.chat.request import ChatRequest
from server.context import ServerContext
from server.documents.pdf import UnreadableDocument, within
from server.model.guarded_tokenizer import texts_of
from server.model.tokenizer import Tokenizer
from server.parsers.harmony import ANALYSIS, FINAL
from server.templates.chat_template import ChatTemplate, JinjaTemplate
from server.templates.continuation import ContinuedField


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
    continued: ContinuedField | None = None
    """The field of the last message that the prompt ends in."""

    @property
    def header(self) -> str:
        """The header of the channel that the prompt ends in. The answer continues without one."""
        if self.continued is None or not self.template.tool_format.has_channels:
            return ""
        return ANALYSIS.opening if self.continued == "reasoning_content" else FINAL

    def tokens(self, tokenizer: Tokenizer) -> list[int]:
        """The tokens of the prompt.

        The template may have written the first token (BOS) itself. A second one would hurt.
        """
        bos = tokenizer.bos
        first = "" if bos is None else tokenizer.text([bos], special=True)
        add_special = not (first and self.text.startswith(first))
        with texts_of("messages"):
            return tokenizer.tokenize(self.text, add_special=add_special, parse_special=True)


def render_chat(body: ChatRequest, context: ServerContext) -> ChatPrompt:
    """Apply the chat template. Raises `InvalidRequest` when the template refuses the chat."""
    tools = body.offered_tools()
    text = render_text(body, context.chat_template)
    template = context.chat_template.for_tools(bool(tools))
    variables = {**context.chat_template.variables, **body.template_variables}
    is_open = _is_open(template, text, body)
    may_begin = not _continued_text(body) and _may_begin(template, text, variables)
    return ChatPrompt(
        text=text,
        template=template,
        has_tools=bool(tools),
        is_thinking_open=is_open,
        may_think=is_open or may_begin,
        effort=variables.get("reasoning_effort"),
        keeps_thinking=(body.reasoning_format or context.settings.reasoning_format) == "none",
        continued=body.continued if _continued_text(body) else None,
    )


def render_text(body: ChatRequest, template: ChatTemplate) -> str:
    """The text of a chat. Raises `InvalidRequest` when the template refuses the chat."""
    return template.render(
        [_to_template(message, at) for at, message in enumerate(body.messages)],
        tools=[tool.to_template() for tool in body.offered_tools()] or None,
        documents=body.documents,
        add_generation_prompt=body.add_generation_prompt,
        continued=body.continued,
        variables=body.template_variables,
    )


def _to_template(message: Message, at: int) -> dict[str, Any]:
    try:
        with within("messages", str(at)):
            return to_template(message)
    except UnreadableDocument as error:
        raise error.refusal() from error


def _continued_text(body: ChatRequest) -> str:
    """The text for the user, or the thinking, that the prompt ends with."""
    last = body.messages[-1]
    if body.continued is None or not isinstance(last, AssistantMessage):
        return ""
    return last.text or last.thinking_text


def _is_open(template: JinjaTemplate, text: str, body: ChatRequest) -> bool:
    """Whether the prompt ends inside the thinking."""
    markers, continued = template.thinking_markers, _continued_text(body)
    if markers is None:
        return False
    if continued:
        return body.continued == "reasoning_content" or markers.left_open_in(continued)
    is_answer = body.add_generation_prompt or body.continued is not None
    return is_answer and markers.opened_by(text)


def _may_begin(template: JinjaTemplate, text: str, variables: Mapping[str, Any]) -> bool:
    """Whether the model may open its thinking itself."""
    markers = template.reasoning_markers
    is_off = variables.get("enable_thinking", variables.get("thinking")) is False
    return markers is not None and not (is_off or text.rstrip().endswith(markers.closing))
