"""A linear rise from one user to all users: shows where latency begins to rise."""

from __future__ import annotations

from locust import LoadTestShape

from loadtests.shapes.options import SPAWN_RATE


class Ramp(LoadTestShape):  # type: ignore[misc]
    """Adds users in equal steps."""

    def tick(self) -> tuple[int, float] | None:
        options, now = self.runner.environment.parsed_options, self.get_run_time()
        if now > options.seconds:
            return None
        return max(round(options.peak * now / options.seconds), 1), SPAWN_RATE
