"""How long an answer may think, and what it has to follow once it has thought."""

from __future__ import annotations

from grammars.constraint import Constraint, ThinkingConstraint
from protocol.commands import UNLIMITED
from server.context import ServerContext
from server.model.tokenizer import Tokenizer
from server.openai.chat.prompt import ChatPrompt
from server.openai.chat.request import ChatRequest
from server.parsers.harmony import ANALYSIS
from server.parsers.reasoning import ReasoningMarkers

EFFORT_BUDGETS = {"minimal": 512, "low": 1024, "medium": 8192}
"""Tokens of thinking for an effort that the chat template doesn't know; others are unlimited."""

GAPS = ("\n\n", "\n")
"""White space that models write between their thinking and their answer."""


def after_thinking(
    constraint: Constraint | None, body: ChatRequest, prompt: ChatPrompt, context: ServerContext
) -> Constraint | None:
    """The same constraint from the end of the thinking on, which is free but for its length."""
    markers = _markers(prompt)
    budget = thinking_budget(body, prompt, context)
    if markers is None or isinstance(constraint, ThinkingConstraint):
        return constraint
    if constraint is None and budget == UNLIMITED:
        return None
    if constraint and prompt.keeps_thinking and not prompt.is_thinking_open:
        # The thinking would end up in the content, which has to follow the constraint.
        return constraint
    message = body.reasoning_budget_message
    if message is None:
        message = context.settings.reasoning_budget_message
    tokenizer = context.tokenizer
    return ThinkingConstraint(
        opening=() if prompt.is_thinking_open else _tokens(markers.opening, tokenizer),
        closing=markers.closing,
        end=_tokens(message + markers.closing, tokenizer),
        max_tokens=budget,
        gaps=_gaps(tokenizer),
        constraint=constraint,
    )


def thinking_budget(body: ChatRequest, prompt: ChatPrompt, context: ServerContext) -> int:
    """Tokens that this answer may think; `UNLIMITED` is any number."""
    if body.reasoning_budget_tokens != UNLIMITED:
        return body.reasoning_budget_tokens
    if "reasoning_effort" not in prompt.template.source and prompt.effort in EFFORT_BUDGETS:
        return EFFORT_BUDGETS[prompt.effort]
    return context.settings.reasoning_budget


def _markers(prompt: ChatPrompt) -> ReasoningMarkers | None:
    """Those of the thinking that may come first."""
    template = prompt.template
    if template.tool_format.has_channels:
        return ANALYSIS
    return template.reasoning_markers if prompt.may_think else None


def _tokens(text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    return tuple(tokenizer.tokenize(text, add_special=False, parse_special=True))


def _gaps(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Those that are one token."""
    found = (_tokens(gap, tokenizer) for gap in GAPS)
    return tuple(tokens[0] for tokens in found if len(tokens) == 1)
