"""The engine's step counters, read from a /metrics page. Pure.

llamapack exposes `llamapack_steps_total` and `llamapack_step_seconds_total{phase="..."}`; a server
without them has no step counters, which is no error.
"""

from __future__ import annotations

import re

from loadtests.measure import Steps

_SAMPLE = re.compile(r"^(llamapack_step\w*_total)(?:\{(.*)\})?\s+(\S+)")
_PHASE = re.compile(r'phase="([^"]*)"')


def parse_steps(page: str) -> Steps | None:
    """The counters at one moment; None where the page has none. Other labels are summed over."""
    seconds: dict[str, float] = {}
    count: float | None = None
    for line in page.splitlines():
        sample = _SAMPLE.match(line)
        if sample is None:
            continue
        name, labels, value = sample.groups()
        phase = _PHASE.search(labels or "")
        if name == "llamapack_steps_total":
            count = (count or 0.0) + float(value)
        elif name == "llamapack_step_seconds_total" and phase:
            seconds[phase[1]] = seconds.get(phase[1], 0.0) + float(value)
    return Steps(seconds, count) if seconds and count is not None else None


def steps_between(before: Steps | None, after: Steps | None) -> Steps | None:
    """What was counted between two moments."""
    if before is None or after is None:
        return None
    seconds = {
        phase: value - before.seconds.get(phase, 0.0) for phase, value in after.seconds.items()
    }
    return Steps(seconds, after.count - before.count)
