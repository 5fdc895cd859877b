"""The prompt that ends inside the last message, so that the model continues this message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from server.errors import InvalidRequest
from server.parsers.reasoning import ReasoningMarkers
from server.templates.messages import REASONING_FIELDS, text_of

ContinuedField = Literal["content", "reasoning_content"]
"""What the model continues: the text for the user, or the thinking before the text."""

Messages = Sequence[Mapping[str, Any]]

_CUT = "\u2063llamapack\u2063cut\u2063"
"""Marks the end of a continued message in the rendered prompt; no text contains it by chance."""


class RenderMessages(Protocol):
    """Renders messages. Raises `InvalidRequest` if the template refuses them."""

    def __call__(self, messages: Messages, *, add_generation_prompt: bool) -> str: ...


def continued_prompt(
    messages: Messages,
    field: ContinuedField,
    render: RenderMessages,
    markers: ReasoningMarkers | None,
) -> str:
    """The prompt up to the end of the last message's text or thinking.

    A message that says nothing is not begun yet: the prompt ends where an answer begins. Raises
    `InvalidRequest` unless the last message is the assistant's and has no calls.
    """
    if not messages or messages[-1].get("role") != "assistant" or messages[-1].get("tool_calls"):
        message = "continue_final_message needs a last message by the assistant, without tool calls"
        raise InvalidRequest(message, param="messages")
    *earlier, last = messages
    # llama-server joins the parts of a continued text in this way, too.
    text = text_of(last.get("content"), separator="\n\n")
    thinking = next((last[name] for name in REASONING_FIELDS if last.get(name)), "")
    if thinking and field == "reasoning_content" and markers is not None:
        return _inside_thinking(earlier, thinking, render, markers)
    if not text and (not thinking or markers is None):
        return render(earlier, add_generation_prompt=True)
    return _inside_text([*earlier, {**last, "content": text}], text, render, markers)


def _inside_text(
    messages: Messages, text: str, render: RenderMessages, markers: ReasoningMarkers | None
) -> str:
    """The prompt up to the end of `text`.

    If the template would change the text, it is appended unchanged after the opening of an answer,
    outside of the thinking.
    """
    if markers is None or not markers.left_open_in(text):
        marked = [*messages[:-1], {**messages[-1], "content": text + _CUT}]
        before, cut, _ = render(marked, add_generation_prompt=False).rpartition(_CUT)
        if cut:
            return before
    opening = render(messages[:-1], add_generation_prompt=True)
    if markers is None or not markers.opened_by(opening):
        return opening + text
    if markers.left_open_in(text):
        return opening + text.lstrip().removeprefix(markers.opening).lstrip("\n")
    return f"{opening}{markers.closing}\n\n{text}"


def _inside_thinking(
    earlier: Messages, thinking: str, render: RenderMessages, markers: ReasoningMarkers
) -> str:
    """The prompt up to the end of `thinking`, as the template writes it or else after a marker."""
    marked = {"role": "assistant", "content": "", "reasoning_content": thinking + _CUT}
    try:
        text = render([*earlier, marked], add_generation_prompt=False)
    except InvalidRequest:
        text = ""  # some templates refuse a message without content
    before, cut, _ = text.rpartition(thinking + _CUT)
    if cut and markers.opened_by(before):
        return before + thinking
    opening = render(earlier, add_generation_prompt=True)
    return (opening if markers.opened_by(opening) else opening + markers.opening) + thinking
