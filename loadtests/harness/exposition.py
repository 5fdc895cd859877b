"""Reads a server's own counters from a /metrics page. Pure.

llamapack exposes `llamapack_steps_total`, `llamapack_step_seconds_total{phase="..."}` and
`llamapack_step_cost_seconds{rows="...",slots="..."}`. Both servers expose
`llamacpp:spec_decode_num_*_total`. Missing counters are no error.
"""

from __future__ import annotations

import re

from loadtests.harness.measure import Counters, Drafts, StepCosts, Steps

_SAMPLE = re.compile(r"^([\w:]+)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_KINDS = ("phase", "position", "rows", "slots")
"""Labels that distinguish the values of a metric."""
_DRAFTS = "llamacpp:spec_decode_num"


def parse_counters(page: str) -> Counters:
    """The counters at one moment, summed over all other labels."""
    values: dict[str, dict[str, float]] = {}
    for line in page.splitlines():
        sample = _SAMPLE.match(line)
        if sample is None:
            continue
        name, labels, value = sample.groups()
        told = dict(_LABEL.findall(labels or ""))
        kind = ":".join(told[name] for name in _KINDS if name in told)
        by_kind = values.setdefault(name, {})
        by_kind[kind] = by_kind.get(kind, 0.0) + float(value)
    return Counters(_steps(values), _drafts(values), _costs(values))


def counters_between(before: Counters, after: Counters) -> Counters:
    """The difference between two moments; step costs are the values at the end."""
    return Counters(
        _steps_between(before.steps, after.steps),
        _drafts_between(before.drafts, after.drafts),
        after.costs,
    )


def _steps(values: dict[str, dict[str, float]]) -> Steps | None:
    seconds, count = values.get("llamapack_step_seconds_total"), values.get("llamapack_steps_total")
    return Steps(seconds, count[""]) if seconds and count else None


def _drafts(values: dict[str, dict[str, float]]) -> Drafts | None:
    kinds = ("drafts", "draft_tokens", "accepted_tokens")
    found = [values.get(f"{_DRAFTS}_{kind}_total", {}).get("") for kind in kinds]
    count, tokens, accepted = found
    if count is None or tokens is None or accepted is None:
        return None
    places = values.get(f"{_DRAFTS}_accepted_tokens_per_pos_total", {})
    ordered = sorted((int(place), number) for place, number in places.items())
    return Drafts(count, tokens, accepted, tuple(number for _, number in ordered))


def _costs(values: dict[str, dict[str, float]]) -> StepCosts | None:
    by_rows: dict[int, float] = {}
    by_streams: dict[int, float] = {}
    for kind, seconds in values.get("llamapack_step_cost_seconds", {}).items():
        rows, slots = map(int, kind.split(":"))
        if slots == 1:
            by_rows[rows] = seconds
        if slots == rows:
            by_streams[slots] = seconds
    return StepCosts(by_rows, by_streams) if by_rows and by_streams else None


def _steps_between(before: Steps | None, after: Steps | None) -> Steps | None:
    if before is None or after is None:
        return None
    seconds = {
        phase: value - before.seconds.get(phase, 0.0) for phase, value in after.seconds.items()
    }
    return Steps(seconds, after.count - before.count)


def _drafts_between(before: Drafts | None, after: Drafts | None) -> Drafts | None:
    if before is None or after is None:
        return None
    earlier = (*before.accepted_by_position, *[0.0] * len(after.accepted_by_position))
    places = zip(after.accepted_by_position, earlier, strict=False)
    return Drafts(
        after.count - before.count,
        after.tokens - before.tokens,
        after.accepted - before.accepted,
        tuple(late - early for late, early in places),
    )
