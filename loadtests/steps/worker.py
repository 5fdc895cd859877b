"""The engine's loop with a model: counts the CPU time of its thread by phase, without computing.

A program of its own, so that it can measure the packages of another checkout too:
`python worker.py ORDERS`, with that checkout as PYTHONPATH. It prints a `Reading` as JSON.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from llama_cpp import llama_cpp as lib

from protocol.codec import Codec
from protocol.commands import AddRequest, SequenceSpec, Shutdown
from protocol.config import EngineConfig
from protocol.messages import StepOutputs
from protocol.sampling import SamplingParams
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.engine.calibration import costs_of
from scheduler.engine.channel import CommandChannel
from scheduler.engine.engine import Engine
from scheduler.engine.loop import run

PROMPT_TOKENS = 8
WARM_UP_STEPS = 20
READ_BYTES = 1 << 20

IDLE = "between"
"""The time in which a GPU is idle: from the end of waiting for a batch to the next batch."""

COMPUTING = "llama.cpp"
"""Beginning batches, and waiting for them; sampling is in `IDLE`."""

BESIDE = "beside"
"""The time in which a GPU computes: from the begin of a batch to waiting for its end."""

PHASES = ("schedule", "draft", "decode", "sample", "update")


@dataclasses.dataclass(frozen=True)
class Orders:
    """What to run."""

    model: str
    num_slots: int
    num_steps: int
    num_threads: int
    temperature: float

    @property
    def num_tokens(self) -> int:
        """Cells that a slot needs."""
        return PROMPT_TOKENS + 2 * (WARM_UP_STEPS + self.num_steps)


class EndlessBackend(LlamaBackend):
    """Computes answers that no token ends."""

    @property
    def end_tokens(self) -> frozenset[int]:
        return frozenset()


class Stopwatch:
    """Counts the thread's seconds in steps that compute a token of each slot."""

    def __init__(self, orders: Orders, on_end: Callable[[], None]) -> None:
        """`on_end` is called when there were enough steps."""
        self.num_steps = -WARM_UP_STEPS
        self.seconds: dict[str, float] = dict.fromkeys([COMPUTING, IDLE, BESIDE, *PHASES], 0.0)
        self._orders = orders
        self._on_end = on_end
        self._step = {IDLE: 0.0, BESIDE: 0.0}
        """Seconds of the step that is under way."""
        self._computing = 0.0
        self._last = time.thread_time()
        lib.llama_decode = self._counted(lib.llama_decode, IDLE)
        lib.llama_synchronize = self._counted(lib.llama_synchronize, BESIDE)

    def _counted(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            begin = time.thread_time()
            self._step[name] += begin - self._last
            result = call(*args)
            self._last = time.thread_time()
            self._computing += self._last - begin
            return result

        return counted

    def take(self) -> dict[str, float]:
        """Seconds of the step that has just ended."""
        step = {**self._step, COMPUTING: self._computing}
        self._step, self._computing = {IDLE: 0.0, BESIDE: 0.0}, 0.0
        return step

    def add(self, outputs: StepOutputs, step: dict[str, float]) -> None:
        """Add what a step took, if it was one of answers alone."""
        stats = outputs.stats
        if stats is None or stats.num_decode_tokens != self._orders.num_slots:
            return
        self.num_steps += 1
        if self.num_steps == self._orders.num_steps:
            self._on_end()
        if 0 < self.num_steps <= self._orders.num_steps:
            step |= {phase: getattr(stats, f"{phase}_seconds") for phase in PHASES}
            step["decode"] -= step[COMPUTING]
            for name, seconds in step.items():
                self.seconds[name] += seconds


class _Counted:
    """A `StepReport` whose outputs are seen when they are sent."""

    def __init__(self, report: Any, see: Callable[[StepOutputs], None]) -> None:
        self.end = report.end
        self._report = report
        self._see = see

    def outputs(self) -> StepOutputs:
        outputs: StepOutputs = self._report.outputs()
        self._see(outputs)
        return outputs

    take = outputs

    def settle(self) -> None:
        self._report.settle()


def main(arguments: list[str]) -> int:
    """Run the orders, and print the seconds of all steps together."""
    orders = Orders(**json.loads(arguments[1]))
    engine_end, api_end = socket.socketpair()
    codec = Codec()
    for number in range(orders.num_slots):
        api_end.sendall(codec.frame(_request(orders, number)))
    if os.fork() == 0:
        engine_end.close()
        while api_end.recv(READ_BYTES):
            pass
        os._exit(0)
    watch = Stopwatch(orders, lambda: api_end.sendall(codec.frame(Shutdown())))
    _run(orders, engine_end, watch)
    print(json.dumps(watch.seconds))
    return 0


def _request(orders: Orders, number: int) -> AddRequest:
    prompt = tuple(range(number + 3, number + 3 + PROMPT_TOKENS))
    sampling = SamplingParams(seed=number, temperature=orders.temperature)
    return AddRequest(request_id=number, spec=SequenceSpec(prompt=prompt, sampling=sampling))


def _run(orders: Orders, engine_end: socket.socket, watch: Stopwatch) -> None:
    config = EngineConfig(
        model_path=orders.model,
        n_slots=orders.num_slots,
        n_ctx=orders.num_slots * orders.num_tokens,
        n_threads=orders.num_threads,
        n_threads_batch=orders.num_threads,
        flash_attn="on",
    )
    backend = EndlessBackend(config)
    costs = costs_of(config, backend, time.monotonic)
    engine = Engine(backend, time.thread_time, itl_target=0.1, costs=costs)
    channel = CommandChannel(engine_end)
    step = engine.step

    def counted_step(*args: Any) -> Any:
        report: Any = step(*args)
        seconds = watch.take()
        if isinstance(report, StepOutputs):  # as other versions return
            watch.add(report, seconds)
            return report
        return _Counted(report, lambda outputs: watch.add(outputs, seconds))

    engine.step = counted_step  # type: ignore[assignment, method-assign]
    gc.freeze()
    run(engine, channel)
    channel.close()
    engine.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
