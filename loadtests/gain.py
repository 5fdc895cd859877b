"""The possible and the actual gain of speculative decoding, as lines for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from loadtests.agreement import draft_model, tokenize
from loadtests.bound import (
    Answer,
    Bound,
    Costs,
    best_length,
    draft_places,
    lookup_places,
    right_by_position,
)
from loadtests.harness.measure import StepCosts
from loadtests.harness.report import Cell
from loadtests.harness.scenario import Plan, Record, Request, Speculation

SHOWN_POSITIONS = 8
MOST_SHOWN = 64
"""Maximum number of rows of a step whose cost is shown."""
KEY = "stream_tok_s"


@dataclass(frozen=True)
class Exchange:
    """One answer with its prompt."""

    prompt: str
    tokens: tuple[int, ...]


def exchanges(plan: Plan, records: Sequence[Record]) -> list[Exchange]:
    """The answers to a plan's prompts, in the plan's order."""
    requests = [step for client in plan.clients for step in client.steps]
    pairs = zip(requests, records, strict=True)
    return [
        Exchange(_prompt(request), tuple(record.tokens))
        for request, record in pairs
        if isinstance(request, Request)
    ]


def gain_lines(
    speculation: Speculation, cell: Cell, answers: Sequence[Exchange], model: Path, threads: int
) -> list[str]:
    """The bound, the speed-up, and its share of the bound.

    Raises ValueError if the draft model can't be used.
    """
    name = f"  {speculation.variant} at {cell.clients} clients"
    told = _costs(cell, speculation.variant)
    if told is None:
        return [f"{name}: no bound, because the server tells no measured costs of a step"]
    places, draft_token = _places(speculation, answers, model, threads)
    costs = Costs(told.by_rows, told.by_streams, draft_token)
    bound = best_length(places, costs, speculation.max_draft, cell.clients)
    reached = cell.ratio(KEY, (speculation.variant, speculation.plain)).median
    return [
        f"{name}, the bound: {_bound_text(bound)}",
        f"    a step by rows of a stream, in ms: {_costs_text(told.by_rows)}",
        f"    a step by streams: {_costs_text(told.by_streams)}; "
        f"a draft token: {1e3 * draft_token:.2f}",
        f"    drafts accepted at their first token, first two, ...: {_shares_text(places)}",
        f"    reached: {reached:.2f} times, {100 * reached / bound.speed_up:.0f}% of the bound",
    ]


def _places(
    speculation: Speculation, answers: Sequence[Exchange], model: Path, threads: int
) -> tuple[list[Answer], float]:
    """The places of every answer, and the seconds of one draft token."""
    prompts = tokenize(model, [answer.prompt for answer in answers])
    pairs = list(zip(prompts, answers, strict=True))
    max_draft = speculation.max_draft
    if speculation.draft is None:
        size = speculation.lookup
        return [lookup_places(prompt, one.tokens, size, max_draft) for prompt, one in pairs], 0.0
    with draft_model(speculation.draft, threads) as draft:
        places = [
            draft_places(draft.is_right(prompt, one.tokens), max_draft) for prompt, one in pairs
        ]
        return [*places], draft.seconds_per_token()


def _costs(cell: Cell, variant: str) -> StepCosts | None:
    """The step costs of the last round that reported some."""
    told = [run.costs for run in cell.runs.get(variant, []) if run and run.costs]
    return told[-1] if told else None


def _bound_text(bound: Bound) -> str:
    if not bound.length:
        return "1.00 times, without a draft"
    return (
        f"{bound.speed_up:.2f} times, by {bound.length} tokens a draft "
        f"({bound.tokens_per_step:.2f} tokens a step)"
    )


def _costs_text(costs: dict[int, float]) -> str:
    points = sorted(costs.items())
    return ", ".join(f"{n}: {1e3 * seconds:.1f}" for n, seconds in points if n <= MOST_SHOWN)


def _shares_text(places: Sequence[Answer]) -> str:
    shares = right_by_position(places, SHOWN_POSITIONS)
    return " ".join(f"{100 * share:.0f}%" for share in shares) or "none was offered"


def _prompt(request: Request) -> str:
    body: dict[str, Any] = msgspec.json.decode(request.payload)
    return str(body["prompt"])
