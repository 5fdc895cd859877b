"""The plan of a chat completion: the sequences to generate, each with the parser of its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.chat.constraint import calls_are_free, chat_constraint
from server.chat.options import AnswerOptions
from server.chat.partings import partings
from server.chat.prompt import ChatPrompt, render_chat
from server.chat.request import ChatRequest
from server.chat.signatures import tool_signatures
from server.context import ServerContext
from server.generation.types import GenerationRequest
from server.parsers.events import AnswerParser, PlainText
from server.parsers.reasoning import ReasoningSplitter
from server.requests.kept_logprobs import with_room
from server.requests.model_name import check_model
from server.requests.prompt_size import check_messages, check_parts, check_size
from server.requests.sequence import resolve_sampling, sequences_of
from server.structured_output.tool_calls import ToolCalls
from server.structured_output.tool_grammar import ToolSignature


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """The sequences to generate, and how to write their answers."""

    sequences: Sequence[GenerationRequest]
    options: AnswerOptions
    left_out: Sequence[str] = ()
    """The places of what the tools' schemas ask for and the model is left free to do."""


def plan_chat(body: ChatRequest, context: ServerContext) -> ChatPlan:
    """Render, tokenize and compile. This takes milliseconds: callers keep it off the event loop.

    Raises `NotFound` for another model, `InvalidRequest`, `ContextExceeded`, and `Unavailable`
    while loading.
    """
    check_model(body.model, context)
    body.check()
    tokenizer, n_ctx = context.tokenizer, context.engine.model.n_ctx_slot
    check_messages(len(body.messages), n_ctx)
    prompt = render_chat(body, context)
    check_parts((prompt.text,), tokenizer, n_ctx, param="messages")
    tokens = prompt.tokens(tokenizer)
    check_size(len(tokens), n_ctx, param="messages")
    is_single = _is_single_call(body, prompt)
    calls, tools = ToolCalls(prompt.template.tool_format, tokenizer), []
    if prompt.has_tools and not calls_are_free(body, prompt):
        tools = tool_signatures(body, calls)
    sampling = resolve_sampling(body, context, top_logprobs=body.num_logprobs)
    sequences = sequences_of(
        body,
        [tokens],
        context,
        sampling=sampling,
        constraint=chat_constraint(
            body, prompt, context, calls=calls, tools=tools, is_single_call=is_single
        ),
        visible_marks=_visible_marks(body, prompt),
    )
    if not context.engine.model.can_trim:
        places = partings(body.messages, prompt.text, tokens, tokenizer)
        sequences = [sequence.with_spec(partings=places) for sequence in sequences]
    return ChatPlan(
        sequences=[
            replace(sequence, make_parser=lambda: _make_parser(body, prompt, tools))
            for sequence in with_room(body, sequences, n_ctx)
        ],
        options=AnswerOptions(
            max_calls=1 if is_single else None,
            with_logprobs=body.num_logprobs >= 0,
            with_tokens=body.return_tokens,
            timings_per_token=body.timings_per_token,
        ),
        left_out=[f"{tool.name}#{place}" for tool in tools for place in tool.left_out],
    )


def _is_single_call(body: ChatRequest, prompt: ChatPrompt) -> bool:
    if body.parallel_tool_calls is not None:
        return not body.parallel_tool_calls
    capabilities = prompt.template.capabilities
    return capabilities.tool_calls and not capabilities.parallel_tool_calls


def _visible_marks(body: ChatRequest, prompt: ChatPrompt) -> set[str]:
    """The marks that the parser needs in the text, even if they are control tokens."""
    template = prompt.template
    marks: set[str] = set()
    if prompt.has_tools or template.tool_format.has_channels:
        marks |= template.tool_format.visible_marks()
    if not prompt.keeps_thinking and template.reasoning_markers is not None:
        marks |= {template.reasoning_markers.opening, template.reasoning_markers.closing}
    return marks


def _make_parser(
    body: ChatRequest, prompt: ChatPrompt, tools: Sequence[ToolSignature]
) -> AnswerParser:
    """A parser for one answer. Answers with channels are always split into their channels."""
    template = prompt.template
    parser: AnswerParser = PlainText()
    if prompt.has_tools or template.tool_format.has_channels:
        schemas: dict[str, Mapping[str, Any]] = {
            tool.function.name: {} for _, tool in body.callable_tools()
        }
        schemas |= {tool.name: json.loads(tool.outline) for tool in tools}
        parser = template.tool_format.make_parser(schemas)
        parser.feed(prompt.header)
    if template.reasoning_markers is None or prompt.keeps_thinking:
        return parser
    return ReasoningSplitter(
        template.reasoning_markers,
        parser,
        is_open=prompt.is_thinking_open,
        is_continued=prompt.continued is not None,
    )
