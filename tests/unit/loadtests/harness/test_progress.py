from __future__ import annotations

import io

import pytest

from loadtests.harness.progress import Progress, duration


def test_lines_and_time_left() -> None:
    now = [0.0]
    out = io.StringIO()
    progress = Progress(runs=2, work=30.0, out=out, clock=lambda: now[0])
    progress.begin("plain · ours")
    now[0] = 10.0
    progress.end(10.0, "fine")
    progress.begin("plain · theirs")
    progress.end(20.0, "fine too")
    assert out.getvalue() == (
        "[1/2] plain · ours ... fine · about 20 s left\n[2/2] plain · theirs ... fine too\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "about 1 s"), (61, "about 61 s"), (200, "about 3 min")]
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
