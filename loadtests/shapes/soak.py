"""All users for a long time, started within the first minute: shows whether anything grows."""

from __future__ import annotations

from locust import LoadTestShape

from loadtests.shapes.options import SPAWN_RATE

ARRIVAL = 60.0


class Soak(LoadTestShape):  # type: ignore[misc]
    """Keeps the number of users constant for a long time."""

    def tick(self) -> tuple[int, float] | None:
        options, now = self.runner.environment.parsed_options, self.get_run_time()
        if now > options.seconds:
            return None
        arrived = min(now / min(ARRIVAL, options.seconds / 5), 1.0)
        return max(round(options.peak * arrived), 1), SPAWN_RATE
