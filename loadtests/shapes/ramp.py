"""From one user to all of them, evenly: where does latency begin to rise?"""

from __future__ import annotations

from locust import LoadTestShape

from loadtests.shapes.options import SPAWN_RATE


class Ramp(LoadTestShape):  # type: ignore[misc]
    """One step up after the other."""

    def tick(self) -> tuple[int, float] | None:
        options, now = self.runner.environment.parsed_options, self.get_run_time()
        if now > options.seconds:
            return None
        return max(round(options.peak * now / options.seconds), 1), SPAWN_RATE
