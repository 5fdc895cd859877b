"""Short runs of the trials; `python -m loadtests.trials NAME` runs one at full length."""

from __future__ import annotations

import subprocess
import sys

import pytest

NO_CLOCK = "1000"
"""Seconds that bystanders may wait; large, so that the tests don't depend on the machine's
speed."""


@pytest.mark.parametrize(
    "command",
    [
        "deaths --seconds 6 --every 2 --clients 4 --tokens 100",
        "drain --rounds 1 --clients 10 --tokens 100 --seconds 1",
        "reload --seconds 2 --tokens 50",
        f"hostile --bodies 200 --examples 2 --slow-seconds 2 --skip-huge --stall {NO_CLOCK}",
        f"hostile --bodies 300 --routes messages|responses|infill|control|render --examples 1 "
        f"--slow-seconds 1 --skip-huge --stall {NO_CLOCK}",
        "attacks --short 1 --no-clock --only 1,2,4,5",
        "attacks --short 1 --no-clock --only 6,7,9,10",
        "attacks --short 1 --no-clock --only 3,8",
        "attacks --short 1 --no-clock --only 11,12,13",
        "routing --conversations 24 --groups 2 --turns 3 --clients 3 --margin 0.15",
    ],
)
def test_a_short_trial(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.trials", *command.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
