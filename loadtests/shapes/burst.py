"""A quarter of the users all the time, and all users for ten seconds of every minute."""

from __future__ import annotations

from locust import LoadTestShape

from loadtests.shapes.options import SPAWN_RATE

EVERY, LENGTH = 60.0, 10.0
FIRST = 20.0
"""Seconds to the first burst."""


class Burst(LoadTestShape):  # type: ignore[misc]
    """Tests whether the queue takes a burst, and whether the server recovers after the burst."""

    def tick(self) -> tuple[int, float] | None:
        options, now = self.runner.environment.parsed_options, self.get_run_time()
        if now > options.seconds:
            return None
        is_burst = (now - FIRST) % EVERY < LENGTH and now >= FIRST
        return (options.peak if is_burst else max(options.peak // 4, 1)), SPAWN_RATE
