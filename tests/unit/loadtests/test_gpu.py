"""The loads and the table of the comparison on a GPU."""

from __future__ import annotations

import dataclasses

import pytest

from loadtests.gpu import NEARLY, STREAM, TRIALS, Results, Trial, table
from loadtests.harness.measure import Cost, Run, measure
from loadtests.harness.prompts import PromptSource
from loadtests.harness.scenario import OURS, PEER, Load, Plan, Record, Request

COST = Cost(1.0, 0.5, 0.01, 0.0, 100.0, 120.0)


def run(output_tok_s: float) -> Run:
    answer = Record("main", 0.0, arrivals=[0.5, 1.0], pieces=[1, 1], finished=1.0, predicted=2)
    return dataclasses.replace(measure(Plan(()), [answer], COST), output_tok_s=output_tok_s)


def lines(results: Results) -> dict[str, list[str]]:
    """The cells of each trial's line, by its name."""
    found = {}
    for trial in TRIALS:
        line = next(line for line in table(results) if line.startswith(trial.name + "  "))
        found[trial.name] = line.removeprefix(trial.name).split()
    return found


def test_ratios_to_the_goal_and_to_the_peer() -> None:
    results = {(trial.name, OURS): run(300.0) for trial in TRIALS}
    results |= {(trial.name, PEER): run(200.0) for trial in TRIALS}
    found = lines(results)
    assert found["plain 1"][:5] == ["300", "235", "1.28", "200", "1.50"]
    assert found["plain 32, unified"][:3] == ["300", f"{300 * NEARLY:.0f}", f"{1 / NEARLY:.2f}"]
    assert found["beside prompts 8"][:3] == ["300", "200", "1.50"]


def test_without_a_peer_its_columns_are_empty() -> None:
    found = lines({(trial.name, OURS): run(470.0) for trial in TRIALS})
    assert found["plain 1"] == ["470", "235", "2.00", "500", "500"]


def test_a_load_that_failed_is_named() -> None:
    found = lines({(TRIALS[0].name, OURS): run(1.0)})
    assert found["plain 8"] == ["FAILED"]


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_prompts_fit_a_slot_and_differ(trial: Trial) -> None:
    plan = trial.prepare(
        Load(trial.clients, trial.layout.slots, 0, PromptSource(tuple(range(3, 900))))
    )
    requests = [step for client in plan.clients for step in client.steps]
    assert all(isinstance(request, Request) for request in requests)
    prompts = [request.prompt for request in requests if isinstance(request, Request)]
    assert len({*prompts}) == len(prompts)
    assert max(map(len, prompts)) + 128 <= 2048
    assert sum(client.role in ("main", STREAM) for client in plan.clients) == trial.clients
