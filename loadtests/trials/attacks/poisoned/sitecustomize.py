"""Makes certain seeds deadly for the engine; Python imports this file if its folder is searched.

The faults in llama.cpp that killed engines were mended one by one. So the trial puts faults there.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

DIES_WHEN_ADDED, HANGS_WHEN_ADDED, DIES_WHEN_RUN, DIES_LATER = 6660, 6661, 6662, 6663
LATER_STEPS = 5
"""From the adding of a request to the death that the request causes."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _poison() -> None:
    from scheduler.engine.engine import Engine

    add, step = Engine.add_request, Engine.step
    left: list[int] = []

    def add_request(self: Engine, request: Any) -> None:
        seed = request.spec.sampling.seed
        if seed == DIES_WHEN_ADDED:
            _die()
        if seed == HANGS_WHEN_ADDED:
            time.sleep(10**6)
        steps = {DIES_WHEN_RUN: 0, DIES_LATER: LATER_STEPS}
        if seed in steps:
            left.append(steps[seed])
        add(self, request)

    def do_step(self: Engine, *arguments: Any, **named: Any) -> Any:
        if 0 in left:
            _die()
        left[:] = [steps - 1 for steps in left]
        return step(self, *arguments, **named)

    poisoned: dict[str, Callable[..., Any]] = {"add_request": add_request, "step": do_step}
    for name, method in poisoned.items():
        setattr(Engine, name, method)


if "scheduler" in sys.orig_argv:
    _poison()
