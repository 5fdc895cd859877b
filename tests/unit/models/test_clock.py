"""The clock that the learning rate of a training follows."""

from __future__ import annotations

import pytest

from models.train import clock


def test_a_stopped_process_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("models.train.clock.time.monotonic", lambda: now)
    working = clock.WorkingTime(minutes=2)
    now += 12
    assert working.tick() == pytest.approx(0.1)
    now += 3600  # the process was stopped for an hour
    assert working.tick() == pytest.approx(0.35)
    now += 24
    assert working.tick() == pytest.approx(0.55)
