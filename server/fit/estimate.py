"""Estimates the memory that a model takes, before it is loaded.

llama.cpp plans the buffers in a confined process, which is gone afterwards, with all that it took
of a GPU. So an estimate takes about a second, most of it for the start of the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from confined.child import Child, Died, TooSlow
from protocol.config import EngineConfig
from protocol.footprint import DeviceMemory, Footprint, FootprintAnswer, FootprintQuestion
from server.fit.errors import FitError

LoadOptions = EngineConfig
"""How a model is loaded, as `engine_config` makes it of settings. The path in it does not count."""

CPU_SECONDS = 60.0
"""CPU time for one model; the largest vocabularies take some seconds."""

WALL_SECONDS = 300.0
"""Wall-clock limit, while a slow disk or network delivers the header."""

PROGRAM = "scheduler.backends.llama.count_memory"
ENVIRONMENT = {"GGML_NO_BACKTRACE": "1"}  # llama.cpp would call a debugger at every crash


def estimate(path: Path, options: LoadOptions) -> Footprint:
    """The memory of the model with these options. Blocks for about a second. Raises `FitError`."""
    with Estimator() as estimator:
        return estimator.estimate(path, [options])[0]


class Estimator:
    """A confined process for several estimates. One thread at a time may use it."""

    def __init__(self) -> None:
        self._child = Child(PROGRAM, ENVIRONMENT)

    def __enter__(self) -> Estimator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def estimate(self, path: Path, options: Sequence[LoadOptions]) -> list[Footprint]:
        """The memory of the model with each of the options. Raises `FitError`.

        Options that differ in the context alone take some milliseconds each.
        """
        named = (msgspec.structs.replace(one, model_path=str(path)) for one in options)
        return list(self._ask(FootprintQuestion(tuple(named)), f"planning {path}").footprints)

    def plan(self, path: Path, options: LoadOptions) -> tuple[Footprint, tuple[DeviceMemory, ...]]:
        """The memory of the model, and this machine's devices besides the CPU. Raises `FitError`.

        The devices are as they were without the model.
        """
        named = msgspec.structs.replace(options, model_path=str(path))
        answer = self._ask(FootprintQuestion((named,)), f"planning {path}")
        return answer.footprints[0], answer.devices

    def devices(self) -> tuple[DeviceMemory, ...]:
        """This machine's devices besides the CPU. Raises `FitError`."""
        return self._ask(FootprintQuestion(()), "looking for devices").devices

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def _ask(self, question: FootprintQuestion, doing: str) -> FootprintAnswer:
        data = msgspec.msgpack.encode(question)
        try:
            answer = self._child.ask(data, cpu_seconds=CPU_SECONDS, wall_seconds=WALL_SECONDS)
        except TooSlow:
            raise FitError(f"{doing} takes more than {CPU_SECONDS:g} s") from None
        except Died:
            raise FitError(f"{doing} needs too much memory, or crashes llama.cpp") from None
        content = msgspec.msgpack.decode(answer, type=FootprintAnswer)
        if content.error:
            raise FitError(content.error)
        return content
