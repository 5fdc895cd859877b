"""The bound of the speed-up in the report, on the demo pair."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from loadtests.agreement import draft_model, tokenize
from loadtests.gain import exchanges, gain_lines
from loadtests.harness.measure import Run, StepCosts
from loadtests.harness.report import Cell
from loadtests.harness.scenario import Client, Plan, Record, Request, Speculation
from loadtests.inflated import DRAFT, TARGET
from tests.support.measured_runs import run

PROMPT = "<|im_start|>user\nCount from 1 to 9.<|im_end|>\n<|im_start|>assistant\n"
SPECULATION = Speculation("draft", "plain", max_draft=4, draft=DRAFT)
FREE_ROWS = {1: 1.0, 2: 1.0, 64: 1.0}


def stream(speed: float, costs: dict[int, float]) -> Run:
    told = StepCosts(costs, costs) if costs else None
    return dataclasses.replace(run(1.0), stream_tok_s=speed, costs=told)


def cell(costs: dict[int, float]) -> Cell:
    made = Cell("speculative", 1)
    made.add("plain", stream(10.0, {}))
    made.add("draft", stream(15.0, costs))
    return made


def answered(text: str) -> tuple[Plan, list[Record]]:
    payload = msgspec.json.encode({"prompt": PROMPT})
    [tokens] = tokenize(TARGET, [text])
    plan = Plan((Client((Request("/completion", payload, None, 1.0),)),))
    return plan, [Record("main", 0.0, tokens=tokens)]


def test_bound_reached_and_share() -> None:
    given = exchanges(*answered("1, 2, 3, 4, 5, 6, 7, 8, 9"))
    [bound, costs, others, shares, reached] = gain_lines(
        SPECULATION, cell(FREE_ROWS), given, TARGET, 1
    )
    speed_up = float(bound.split("the bound: ")[1].split(" times")[0])
    assert 1.0 < speed_up <= 5.0
    assert "by 4 tokens a draft" in bound
    assert "1: 1000.0, 2: 1000.0, 64: 1000.0" in costs
    assert "a draft token: " in others
    assert float(shares.split(": ")[1].split("%")[0]) > 50
    assert f"reached: 1.50 times, {100 * 1.5 / speed_up:.0f}% of the bound" in reached


def test_lookup_needs_no_model() -> None:
    plan, records = answered("a b c d e f g h a b c d e f g h")
    speculation = Speculation("draft", "plain", max_draft=8, lookup=3)
    lines = gain_lines(speculation, cell(FREE_ROWS), exchanges(plan, records), TARGET, 1)
    assert "a draft token: 0.00" in lines[2]
    assert float(lines[0].split("the bound: ")[1].split(" times")[0]) > 1.2


def test_where_rows_cost_in_proportion_no_draft_is_best() -> None:
    given = exchanges(*answered("1, 2, 3, 4"))
    [bound, *_] = gain_lines(SPECULATION, cell({1: 0.001, 64: 0.064}), given, TARGET, 1)
    assert "1.00 times, without a draft" in bound


def test_without_measured_costs_there_is_no_bound() -> None:
    [line] = gain_lines(SPECULATION, cell({}), [], TARGET, 1)
    assert "no bound" in line


def test_a_context_that_is_too_short_is_told() -> None:
    with draft_model(DRAFT, threads=1) as draft, pytest.raises(ValueError, match="more than 4096"):
        draft.is_right([1] * 4096, [1, 2])
