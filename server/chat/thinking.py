"""The thinking of an answer: its budget, and the constraint that begins after it."""

from __future__ import annotations

from dataclasses import dataclass

from config import ServeSettings
from grammars.constraint import Constraint, ThinkingConstraint
from protocol.commands import UNLIMITED
from server.chat.prompt import ChatPrompt
from server.chat.request import ChatRequest
from server.model.tokenizer import Tokenizer
from server.parsers.harmony import FINAL
from server.parsers.reasoning import ReasoningMarkers

EFFORT_BUDGETS = {"minimal": 512, "low": 1024, "medium": 8192}
"""Tokens of thinking by effort, where the chat template doesn't read the effort. Other efforts are
unlimited."""

GAPS = ("\n\n", "\n")
"""White space that models write between their thinking and their answer."""


@dataclass(frozen=True, slots=True)
class ThinkingBudget:
    """The limit of an answer's thinking."""

    max_tokens: int
    """`UNLIMITED` means no limit."""
    message: str
    """Text put at the end of thinking that has reached its budget."""
    can_be_ended: bool = False
    """Whether the thinking may be ended from outside too."""

    @property
    def is_needless(self) -> bool:
        """Whether nothing will ever end the thinking but the model."""
        return self.max_tokens == UNLIMITED and not self.can_be_ended


def thinking_budget(
    body: ChatRequest, prompt: ChatPrompt, settings: ServeSettings
) -> ThinkingBudget:
    """The request's own budget, else the budget of its effort, else the server's budget."""
    message = body.reasoning_budget_message
    if message is None:
        message = settings.reasoning_budget_message
    return ThinkingBudget(_max_tokens(body, prompt, settings), message, body.reasoning_control)


def _max_tokens(body: ChatRequest, prompt: ChatPrompt, settings: ServeSettings) -> int:
    if body.reasoning_budget_tokens != UNLIMITED:
        return body.reasoning_budget_tokens
    if "reasoning_effort" not in prompt.template.source and prompt.effort in EFFORT_BUDGETS:
        return EFFORT_BUDGETS[prompt.effort]
    return settings.reasoning_budget


def after_thinking(
    constraint: Constraint | None, prompt: ChatPrompt, budget: ThinkingBudget, tokenizer: Tokenizer
) -> Constraint | None:
    """The constraint from the end of the thinking on. The thinking is free up to its budget."""
    markers = _markers(prompt)
    if markers is None or isinstance(constraint, ThinkingConstraint):
        return constraint
    if constraint is None and budget.is_needless:
        return None
    if constraint and prompt.keeps_thinking and not prompt.is_thinking_open:
        # The thinking stays in the content here, and the content has to follow the constraint.
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
    """The markers of the thinking that the answer may begin with."""
    template = prompt.template
    if prompt.header == FINAL:
        return None
    if template.tool_format.has_channels or prompt.may_think:
        return template.thinking_markers
    return None


def _tokens(text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    return tuple(tokenizer.tokenize(text, add_special=False, parse_special=True))


def _gaps(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The gaps that are one token."""
    found = (_tokens(gap, tokenizer) for gap in GAPS)
    return tuple(tokens[0] for tokens in found if len(tokens) == 1)
