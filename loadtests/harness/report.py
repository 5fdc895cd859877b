"""Writes the comparison as a table for people and as JSON for scripts. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from loadtests.harness.machine import Machine
from loadtests.harness.measure import Run
from loadtests.harness.scenario import AS_THEY_ARE, OURS, PEER
from loadtests.harness.stats import Spread, ratio, spread

DISTURBED = 0.15
"""A run counts as disturbed if other processes use this share of a core."""


@dataclass(frozen=True)
class Metric:
    """A column: an attribute of `Run`, its heading and format, and whether more is better."""

    name: str
    head: str
    show: Callable[[float], str]
    more_is_better: bool = False
    on_demand: bool = False
    """Whether only scenarios about this metric show it."""


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}%"


COMPARED = (
    Metric("output_tok_s", "out tok/s", _number, more_is_better=True),
    Metric("total_tok_s", "all tok/s", _number, more_is_better=True),
    Metric("stream_tok_s", "stream tok/s", _number, more_is_better=True, on_demand=True),
    Metric("ttft_p50_ms", "TTFT p50", _number),
    Metric("ttft_p95_ms", "TTFT p95", _number),
    Metric("itl_p50_ms", "ITL p50", _number),
    Metric("itl_p99_ms", "ITL p99", _number),
    Metric("peak_pss_mib", "PSS MiB", _number),
    Metric("peak_rss_mib", "RSS MiB", _number),
    Metric("server_cpu_ms_per_token", "CPU/tok", _number),
)
SHOWN_ALONE = (
    Metric("computed_share", "computed", _percent),
    Metric("distinct_share", "distinct", _percent),
    Metric("outside_decode", "Python", _percent),
    Metric("client_cpu_share", "client", _percent),
    Metric("others_cpu_share", "others", _percent),
)

LEGEND = """\
out tok/s: output tokens a second; all tok/s: prompt tokens too; stream tok/s: of one stream after
its first token. TTFT: time to first token, ITL: gap between the tokens of a stream, both in ms.
PSS: peak memory, shared pages counted once; RSS: sum of the processes' peaks. CPU/tok: the server's
CPU time in ms per output token. computed: share of the prompts' tokens that no cache had; distinct:
what it would be if each distinct token were computed once. Python: share of the engine's step time
outside llama.cpp's decode, a draft model's included. client, others: CPU time of this client and of
everything else on the machine, as a share of one core (others should be near nothing).
Each number is the median over the rounds. ratio: round by round, median and range;
* marks what the scenario is about (tokens a second: more is better; all else: less is better)."""


@dataclass
class Cell:
    """One scenario with one number of clients: the runs of all sides, by round."""

    scenario: str
    clients: int
    runs: dict[str, list[Run | None]] = field(default_factory=dict)
    """Runs by side; None stands for a failed run."""
    failures: list[str] = field(default_factory=list)

    def add(self, side: str, run: Run | None) -> None:
        self.runs.setdefault(side, []).append(run)

    def values(self, side: str, metric: str) -> list[float]:
        """The metric of each round; NaN for a failed run."""
        runs = self.runs.get(side, [])
        return [float(getattr(run, metric)) if run else math.nan for run in runs]

    def median(self, side: str, metric: str) -> float:
        """The median over the rounds that succeeded."""
        return spread(self.values(side, metric)).median

    def others(self, side: str) -> list[float]:
        """The share of a core that other processes used, for each round that succeeded."""
        return [value for value in self.values(side, "others_cpu_share") if not math.isnan(value)]

    def ratio(self, metric: str, sides: tuple[str, str] = (OURS, PEER)) -> Spread:
        """One side's metric divided by the other's: the ratio of each round as median and range."""
        pairs = zip(*(self.values(side, metric) for side in sides), strict=False)
        return spread([ratio(first, second) for first, second in pairs])


@dataclass(frozen=True)
class Group:
    """One scenario's cells and the settings that they share."""

    scenario: str
    title: str
    key_metrics: tuple[str, ...]
    model: str
    flags: tuple[str, ...]
    cells: tuple[Cell, ...]
    sides: tuple[str, ...] = tuple(variant.name for variant in AS_THEY_ARE)
    ratios: tuple[tuple[str, str], ...] = ((OURS, PEER),)
    notes: tuple[str, ...] = ()
    """Further lines below the table."""

    @property
    def compared(self) -> tuple[Metric, ...]:
        """The columns by which its sides are compared."""
        return tuple(m for m in COMPARED if not m.on_demand or m.name in self.key_metrics)


@dataclass(frozen=True)
class Report:
    machine: Machine
    command: tuple[str, ...]
    rounds: int
    groups: tuple[Group, ...]

    @property
    def failures(self) -> list[str]:
        return [
            f"{cell.scenario} at {cell.clients} clients: {failure}"
            for group in self.groups
            for cell in group.cells
            for failure in cell.failures
        ]


def to_json(report: Report) -> bytes:
    """The complete report: each round's numbers, and the medians and ratios of the table."""
    document = {
        "machine": report.machine,
        "command": report.command,
        "rounds": report.rounds,
        "failures": report.failures,
        "scenarios": [_group_json(group) for group in report.groups],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _group_json(group: Group) -> dict[str, object]:
    return {
        "name": group.scenario,
        "title": group.title,
        "key_metrics": group.key_metrics,
        "model": group.model,
        "flags": group.flags,
        "notes": group.notes,
        "cells": [_cell_json(cell, group.ratios) for cell in group.cells],
    }


def _cell_json(cell: Cell, ratios: Sequence[tuple[str, str]]) -> dict[str, object]:
    metrics = (*COMPARED, *SHOWN_ALONE)
    return {
        "clients": cell.clients,
        "failures": cell.failures,
        "median": {
            side: {m.name: cell.median(side, m.name) for m in metrics} for side in cell.runs
        },
        "ratios": {
            " / ".join(pair): {m.name: cell.ratio(m.name, pair) for m in COMPARED}
            for pair in ratios
        },
        "rounds": cell.runs,
    }


def to_text(report: Report) -> str:
    """The tables, one per scenario, under a line of machine facts."""
    parts = [report.machine.line()]
    parts += [_group_text(group) for group in report.groups]
    parts.append(LEGEND)
    if warning := _disturbed(report):
        parts.append(warning)
    if report.failures:
        parts.append("FAILED\n" + "\n".join(f"  {line}" for line in report.failures))
    return "\n\n".join(parts) + "\n"


def _disturbed(report: Report) -> str:
    """A warning if other processes used part of the machine; otherwise an empty text."""
    cells = [cell for group in report.groups for cell in group.cells]
    shares = [share for cell in cells for side in cell.runs for share in cell.others(side)]
    worst = max(shares, default=0.0)
    if worst < DISTURBED:
        return ""
    return (
        f"NOTE: other processes used up to {_percent(worst)} of a core during a run. Ratios are "
        f"less sure than they look; the times are not the machine's best."
    )


def _group_text(group: Group) -> str:
    head = f"{group.scenario}: {group.title}\n{group.model} · {' '.join(group.flags)}"
    metrics = (*group.compared, *SHOWN_ALONE)
    rows = [["clients", "", *(_head(m, group.key_metrics) for m in metrics)]]
    for cell in group.cells:
        rows += _cell_rows(group, cell)
    lines = [
        line
        for cell in group.cells
        for side in group.sides
        for line in (_steps_line(cell, side), _drafts_line(cell, side))
        if line
    ]
    return "\n".join([head, "", align(rows), *lines, *group.notes])


def _head(metric: Metric, key_metrics: Sequence[str]) -> str:
    return ("*" if metric.name in key_metrics else "") + metric.head


def _cell_rows(group: Group, cell: Cell) -> list[list[str]]:
    rows = [_side_row(group, cell, side) for side in group.sides]
    for pair in group.ratios:
        ratios = [cell.ratio(metric.name, pair) for metric in group.compared]
        name = "ratio" if len(group.ratios) == 1 else " / ".join(pair)
        rows.append(["", name, *(_ratio_text(r.median) for r in ratios)])
        rows.append(["", "range", *(_range_text(r) for r in ratios)])
    return rows


def _side_row(group: Group, cell: Cell, side: str) -> list[str]:
    metrics = (*group.compared, *SHOWN_ALONE)
    mark = " FAILED" if any(failure.startswith(side) for failure in cell.failures) else ""
    shown = [m.show(cell.median(side, m.name)) for m in metrics]
    return [str(cell.clients), side + mark, *shown]


def _ratio_text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _range_text(value: Spread) -> str:
    return "-" if math.isnan(value.low) else f"{value.low:.2f}–{value.high:.2f}"  # noqa: RUF001


def _steps_line(cell: Cell, side: str) -> str:
    """The engine's phases in milliseconds per step, summed over the rounds."""
    steps = [run.steps for run in cell.runs.get(side, []) if run and run.steps and run.steps.count]
    if not steps:
        return ""
    count = sum(step.count for step in steps)
    phases: dict[str, float] = {}
    for step in steps:
        for phase, seconds in step.seconds.items():
            phases[phase] = phases.get(phase, 0.0) + seconds
    shown = " · ".join(f"{name} {_number(1e3 * s / count)}" for name, s in phases.items() if s)
    return f"  a step of {side} at {cell.clients} clients, in ms: {shown}"


def _drafts_line(cell: Cell, side: str) -> str:
    """Draft tokens and accepted tokens, summed over the rounds."""
    drafts = [run.drafts for run in cell.runs.get(side, []) if run and run.drafts]
    count = sum(each.count for each in drafts)
    if not count:
        return ""
    tokens, accepted = sum(d.tokens for d in drafts), sum(d.accepted for d in drafts)
    return (
        f"  drafts of {side} at {cell.clients} clients: {count:.0f} of {tokens / count:.2f} "
        f"tokens, {_percent(accepted / tokens)} of them accepted"
    )


def align(rows: Sequence[Sequence[str]]) -> str:
    """Make columns as wide as their longest entry; the second column is flush left, the others
    right."""
    width = [0] * max(len(row) for row in rows)
    for row in rows:
        for column, entry in enumerate(row):
            width[column] = max(width[column], len(entry))
    lines = []
    for row in rows:
        entries = [
            entry.ljust(width[column]) if column == 1 else entry.rjust(width[column])
            for column, entry in enumerate(row)
        ]
        lines.append("  ".join(entries).rstrip())
    return "\n".join(lines)
