"""Runs of a load test, as if they had been measured."""

from __future__ import annotations

import dataclasses

from loadtests.harness.measure import Cost, Counters, Run, Steps, measure
from loadtests.harness.scenario import Plan, Record


def run(output_tok_s: float, others: float = 0.01, steps: Steps | None = None) -> Run:
    """A run with this speed, and with this use of the processors by others."""
    cost = Cost(1.0, 0.5, 0.01, others, 100.0, 120.0)
    answer = Record("main", 0.0, arrivals=[0.5, 1.0], pieces=[1, 1], finished=1.0, predicted=2)
    made = measure(Plan(()), [answer], cost, Counters(steps))
    return dataclasses.replace(made, output_tok_s=output_tok_s)
