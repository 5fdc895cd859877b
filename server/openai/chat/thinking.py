"""How long an answer may think, and what it has to follow once it has thought."""

from __future__ import annotations

from dataclasses import dataclass

from config import ServeSettings
from grammars.constraint import Constraint, ThinkingConstraint
from protocol.commands import UNLIMITED
from server.model.tokenizer import Tokenizer
from server.openai.chat.prompt import ChatPrompt
from server.openai.chat.request import ChatRequest
from server.parsers.harmony import ANALYSIS
from server.parsers.reasoning import ReasoningMarkers

EFFORT_BUDGETS = {"minimal": 512, "low": 1024, "medium": 8192}
"""Tokens of thinking for an effort that the chat template doesn't know; others are unlimited."""

GAPS = ("\n\n", "\n")
"""White space that models write between their thinking and their answer."""


@dataclass(frozen=True, slots=True)
class ThinkingBudget:
    """How long an answer may think, and what is written when that is over."""

    max_tokens: int
    """`UNLIMITED` is any number."""
    message: str
    """Text put at the end of thinking that has reached its budget."""


def thinking_budget(
    body: ChatRequest, prompt: ChatPrompt, settings: ServeSettings
) -> ThinkingBudget:
    """The request's own budget, or that of its effort, or the server's."""
    message = body.reasoning_budget_message
    if message is None:
        message = settings.reasoning_budget_message
    return ThinkingBudget(_max_tokens(body, prompt, settings), message)


def _max_tokens(body: ChatRequest, prompt: ChatPrompt, settings: ServeSettings) -> int:
    if body.reasoning_budget_tokens != UNLIMITED:
        return body.reasoning_budget_tokens
    if "reasoning_effort" not in prompt.template.source and prompt.effort in EFFORT_BUDGETS:
        return EFFORT_BUDGETS[prompt.effort]
    return settings.reasoning_budget


def after_thinking(
    constraint: Constraint | None, prompt: ChatPrompt, budget: ThinkingBudget, tokenizer: Tokenizer
) -> Constraint | None:
    """The constraint from the end of the thinking on; only the thinking's length is limited."""
    markers = _markers(prompt)
    if markers is None or isinstance(constraint, ThinkingConstraint):
        return constraint
    if constraint is None and budget.max_tokens == UNLIMITED:
        return None
    if constraint and prompt.keeps_thinking and not prompt.is_thinking_open:
        # The thinking would end up in the content, which has to follow the constraint.
        return constraint
    return ThinkingConstraint(
        opening=() if prompt.is_thinking_open else _tokens(markers.opening, tokenizer),
        closing=markers.closing,
        end=_tokens(budget.message + markers.closing, tokenizer),
        max_tokens=budget.max_tokens,
        gaps=_gaps(tokenizer),
        constraint=constraint,
    )


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
