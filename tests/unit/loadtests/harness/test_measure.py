from __future__ import annotations

import dataclasses
import math

import pytest

from loadtests.harness.measure import Cost, Steps, failures, measure, token_gaps
from loadtests.harness.scenario import Plan, Record

COST = Cost(
    wall_s=10.0,
    server_cpu_s=8.0,
    client_cpu_s=0.4,
    others_cpu_s=1.0,
    peak_pss_mib=100.0,
    peak_rss_mib=150.0,
)


def record(started: float, arrivals: list[float], role: str = "main", prompt: int = 10) -> Record:
    return Record(
        role,
        started,
        arrivals=arrivals,
        pieces=[1] * len(arrivals),
        finished=arrivals[-1],
        predicted=len(arrivals),
        prompt=prompt,
    )


def test_throughput_counts_from_the_first_sending_to_the_last_answer() -> None:
    run = measure(Plan(()), [record(1.0, [2.0, 3.0]), record(2.0, [4.0, 5.0])], COST)
    assert run.wall_s == 4.0
    assert run.output_tok_s == 1.0
    assert run.total_tok_s == 6.0
    assert run.request_mean_ms == pytest.approx(2500.0)


def test_latencies_in_milliseconds() -> None:
    run = measure(Plan(()), [record(1.0, [1.5, 1.6, 1.9])], COST)
    assert run.ttft_p50_ms == pytest.approx(500.0)
    assert run.itl_p50_ms == pytest.approx(200.0)
    assert run.itl_max_ms == pytest.approx(300.0)


def test_shares_of_the_machine() -> None:
    run = measure(Plan(()), [record(0.0, [1.0, 2.0])], COST)
    assert run.client_cpu_share == pytest.approx(0.04)
    assert run.client_server_ratio == pytest.approx(0.05)
    assert run.others_cpu_share == pytest.approx(0.1)
    assert run.server_cpu_ms_per_token == pytest.approx(4000.0)
    assert math.isnan(run.outside_decode)


def test_the_share_of_the_prompts_that_was_computed() -> None:
    answers = [dataclasses.replace(record(0.0, [1.0]), prompt=40, computed=n) for n in (40, 8)]
    assert measure(Plan(()), answers, COST).computed_share == pytest.approx(0.6)
    assert math.isnan(measure(Plan(()), [record(0.0, [1.0])], COST).computed_share)


def test_several_tokens_in_an_event_are_one_gap_and_many_tokens() -> None:
    answer = Record("main", 0.0, arrivals=[1.0, 2.0], pieces=[1, 3], finished=2.0, predicted=4)
    run = measure(Plan(()), [answer], COST)
    assert run.tokens_per_event == 2.0
    assert run.itl_p50_ms == pytest.approx(1000.0)


def test_only_gaps_of_the_measured_role_that_overlap_the_window_count() -> None:
    plan = Plan((), latency_role="steady", latency_during="long", first_token_role="long")
    #  steady:  0   1   2       5   6
    #  long:          [1.5 ... 5.5]
    steady = record(-1.0, [0.0, 1.0, 2.0, 5.0, 6.0], "steady")
    long = record(1.5, [5.2, 5.5], "long")
    assert list(token_gaps(plan, [steady, long])) == [1.0, 3.0, 1.0]
    run = measure(plan, [steady, long], COST)
    assert run.itl_max_ms == pytest.approx(3000.0)
    assert run.ttft_p50_ms == pytest.approx(3700.0)


def test_share_of_a_step_outside_decode() -> None:
    steps = Steps({"schedule": 0.05, "decode": 9.0, "sample": 0.95}, 100)
    assert steps.outside_decode == pytest.approx(0.1)
    assert Steps({"draft": 1.0, "decode": 8.0, "sample": 1.0}, 1).outside_decode == pytest.approx(
        0.1
    )
    assert math.isnan(Steps({}, 0).outside_decode)


def test_speed_of_a_stream_is_that_after_its_first_tokens() -> None:
    answer = Record("main", 0.0, arrivals=[5.0, 6.0, 7.0], pieces=[2, 3, 1], finished=7.0)
    answer.predicted = 6
    assert measure(Plan(()), [answer], COST).stream_tok_s == 2.0
    at_once = Record("main", 0.0, arrivals=[5.0], pieces=[6], finished=7.0, predicted=6)
    assert math.isnan(measure(Plan(()), [at_once], COST).stream_tok_s)


def test_failures_name_the_request_and_the_verdicts() -> None:
    good, bad, wrong = (Record("main", 0.0) for _ in range(3))
    bad.error = "HTTP 500"
    lines = failures([good, bad, wrong], {0: "", 2: "not JSON"})
    assert lines == ["request 2 (main): HTTP 500", "request 3 (main): not JSON"]


def sent(started: float, prompt: list[int], tokens: list[int]) -> Record:
    return dataclasses.replace(record(started, [started + 1]), sent=tuple(prompt), tokens=tokens)


@pytest.mark.parametrize(
    ("exchanges", "share"),
    [
        ([([1, 2, 3, 4], [5])], 1.0),
        ([([1, 2, 3, 4], [5]), ([1, 2, 8, 9], [5])], 6 / 8),
        ([([1, 2], [3, 4]), ([1, 2, 3, 4, 5], [6])], 4 / 7),
        ([([1, 2, 3, 4], [5]), ([1, 2, 3, 4], [5])], 5 / 8),
        ([([1, 2], []), ([2, 1], [])], 1.0),
    ],
    ids=["alone", "branch", "conversation without its last token", "again", "order"],
)
def test_the_share_that_no_cache_can_have(
    exchanges: list[tuple[list[int], list[int]]], share: float
) -> None:
    records = [sent(float(n), prompt, tokens) for n, (prompt, tokens) in enumerate(exchanges)]
    assert measure(Plan(()), records, COST).distinct_share == pytest.approx(share)


def test_prompts_of_text_have_no_distinct_share() -> None:
    assert math.isnan(measure(Plan(()), [record(0.0, [1.0])], COST).distinct_share)
