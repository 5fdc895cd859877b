from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec
import pytest

from loadtests.harness.machine import Machine
from loadtests.harness.measure import Drafts, Steps
from loadtests.harness.report import Cell, Group, Report, align, to_json, to_text
from loadtests.harness.scenario import OURS, PEER
from tests.support.measured_runs import run

MACHINE = Machine("Fast CPU", 2, 24.0, "Linux 6", "3.12.1", "0.1.0", "0.3.36", "version: 1", 0.1)


def report(cell: Cell) -> Report:
    group = Group("plain", "short", ("output_tok_s",), "m.gguf", ("-np", "8"), (cell,))
    return Report(MACHINE, ("compare",), 3, (group,))


@pytest.fixture
def cell() -> Cell:
    cell = Cell("plain", 4)
    steps = Steps({"schedule": 0.1, "decode": 0.9}, 10)
    for ours, theirs in ((110.0, 100.0), (90.0, 100.0), (120.0, 100.0)):
        cell.add(OURS, run(ours, steps=steps))
        cell.add(PEER, run(theirs))
    return cell


def test_ratios_are_taken_round_by_round(cell: Cell) -> None:
    found = cell.ratio("output_tok_s")
    assert (found.median, found.low, found.high) == pytest.approx((1.1, 0.9, 1.2))


def test_a_failed_round_is_left_out_of_its_own_ratio_only() -> None:
    cell = Cell("plain", 1)
    for ours, theirs in ((None, run(50.0)), (run(100.0), run(50.0))):
        cell.add(OURS, ours)
        cell.add(PEER, theirs)
    assert cell.ratio("output_tok_s").low == 2.0
    assert cell.median(OURS, "output_tok_s") == 100.0


def side_row(text: str) -> str:
    """The first row of our side's numbers in the table."""
    return next(line for line in text.splitlines() if line.split()[1:2] == ["llamapack"])


def test_table(cell: Cell) -> None:
    text = to_text(report(cell))
    lines = text.splitlines()
    assert lines[0].startswith("2 cores of Fast CPU, 24 GiB, Linux 6, Python 3.12.1")
    head = next(line for line in lines if line.startswith("clients"))
    assert "*out tok/s" in head
    assert " TTFT p95" in head
    ours = side_row(text)
    assert ours.split()[:3] == ["4", "llamapack", "110"]
    assert "10.0%" in ours
    ratio_line = next(line for line in lines if line.split()[:1] == ["ratio"])
    assert ratio_line.split()[1] == "1.10"
    assert any("0.90–1.20" in line for line in lines)  # noqa: RUF001
    assert "a step of llamapack at 4 clients, in ms: schedule 10 · decode 90" in text
    assert "FAILED" not in text
    assert "NOTE" not in text


def test_failures_are_loud(cell: Cell) -> None:
    cell.failures.append("llama-server, round 2: request 1 (main): HTTP 500")
    text = to_text(report(cell))
    assert "llama-server FAILED" in text
    assert "FAILED\n  plain at 4 clients: llama-server, round 2: request 1" in text


def test_a_disturbed_machine_is_told() -> None:
    cell = Cell("plain", 1)
    cell.add(OURS, run(1.0, others=0.4))
    cell.add(PEER, run(1.0))
    assert "other processes used up to 40.0% of a core" in to_text(report(cell))


def test_a_cell_without_any_run_can_be_shown() -> None:
    cell = Cell("plain", 1, failures=["llamapack, round 1: it did not start"])
    cell.add(OURS, None)
    text = to_text(report(cell))
    assert "llamapack FAILED" in text


def test_json_has_rounds_medians_and_ratios(cell: Cell) -> None:
    cell.add(OURS, None)
    document: dict[str, Any] = msgspec.json.decode(to_json(report(cell)))
    assert document["machine"]["cpu"] == "Fast CPU"
    found = document["scenarios"][0]["cells"][0]
    assert found["clients"] == 4
    assert found["median"][OURS]["output_tok_s"] == 110.0
    ratios = found["ratios"]["llamapack / llama-server"]
    assert ratios["output_tok_s"] == pytest.approx({"median": 1.1, "low": 0.9, "high": 1.2})
    assert len(found["rounds"][OURS]) == 4
    assert found["rounds"][OURS][3] is None
    assert found["median"][PEER]["outside_decode"] is None


def test_align() -> None:
    assert align([["a", "b", "c"], ["10", "long", ""]]) == " a  b     c\n10  long"


def test_unknown_numbers_are_dashes() -> None:
    cell = Cell("plain", 1)
    cell.add(OURS, dataclasses.replace(run(5.0), peak_pss_mib=math.nan))
    assert side_row(to_text(report(cell))).split().count("-") == 4


def test_a_scenario_may_compare_other_sides_and_by_other_columns() -> None:
    cell = Cell("speculative", 1)
    drafts = Drafts(100, 300, 240)
    for plain, with_draft in ((10.0, 20.0), (10.0, 22.0), (10.0, 18.0)):
        cell.add("plain", run(plain))
        cell.add("draft", dataclasses.replace(run(with_draft), drafts=drafts))
    cell.failures.append("draft, round 1: no")
    group = Group(
        "speculative",
        "with and without",
        ("stream_tok_s",),
        "m.gguf",
        (),
        (cell,),
        sides=("plain", "draft"),
        ratios=(("draft", "plain"), ("plain", "draft")),
        notes=("  the bound",),
    )
    text = to_text(Report(MACHINE, ("compare",), 3, (group,)))
    lines = text.splitlines()
    assert any(line.split()[:3] == ["1", "draft", "FAILED"] for line in lines)
    assert any(line.split()[:4] == ["draft", "/", "plain", "2.00"] for line in lines)
    assert any(line.split()[:4] == ["plain", "/", "draft", "0.50"] for line in lines)
    assert "*stream tok/s" in text
    assert "drafts of draft at 1 clients: 300 of 3.00 tokens, 80.0% of them accepted" in text
    assert "\n  the bound\n" in text


def test_columns_of_other_scenarios_are_left_out(cell: Cell) -> None:
    assert "stream tok/s  " not in to_text(report(cell))
