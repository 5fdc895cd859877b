"""One reading: all streams at once through real HTTP, every event checked, the CPU time taken."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from loadtests.harness.client import Address, stream
from loadtests.harness.scenario import Record, Request
from loadtests.harness.servers import Server, ServerError, Side, running
from loadtests.harness.stats import median
from loadtests.reception import cores, script
from loadtests.reception.script import Orders
from loadtests.reception.streams import problem, request

PACES = {"as-taken": script.AS_TAKEN, "step-by-step": script.STEP_BY_STEP}


@dataclass(frozen=True)
class Reading:
    """What one round gave."""

    num_tokens: int
    num_events: int
    seconds: float
    """From the first token to the end of the last stream."""
    cpu_seconds: float
    """Of the API process in that time."""
    problems: tuple[str, ...] = ()

    @property
    def tokens_per_second(self) -> float:
        """Of all streams together."""
        return self.num_tokens / self.seconds

    @property
    def cpu_ms_per_token(self) -> float:
        """Of the API process."""
        return 1e3 * self.cpu_seconds / self.num_tokens

    @property
    def tokens_per_event(self) -> float:
        """Of the events that have text."""
        return self.num_tokens / max(self.num_events, 1)


@dataclass(frozen=True)
class Row:
    """The readings of one kind of request at one pace."""

    kind: str
    pace: str
    readings: tuple[Reading, ...]

    @property
    def rate(self) -> float:
        """The median of the readings, in tokens per second."""
        return median([one.tokens_per_second for one in self.readings])

    @property
    def cpu_ms(self) -> float:
        """The median of the readings, in milliseconds per token."""
        return median([one.cpu_ms_per_token for one in self.readings])

    @property
    def problems(self) -> list[str]:
        """What was wrong in any reading."""
        return [line for one in self.readings for line in one.problems]


@dataclass(frozen=True)
class Trial:
    """How much is read, and in which words."""

    model: Path
    pieces: Sequence[bytes]
    normal: Sequence[int]
    num_streams: int
    num_tokens: int
    rounds: int

    def orders(self, pace: str) -> Orders:
        """The engine's orders at this pace. Raises `ValueError` for a model without words."""
        tokens_per_second = PACES[pace] if pace in PACES else float(pace)
        return script.orders(self.num_streams, tokens_per_second, self.pieces, self.normal)


def read_rows(trial: Trial, kinds: Sequence[str], pace: str, side: Side) -> list[Row]:
    """One row for each kind of request, all from one server. Raises `ServerError`."""
    orders = trial.orders(pace)
    os.environ[script.VARIABLE] = msgspec.json.encode(orders).decode()
    flags = ["-m", str(trial.model), "-c", "4096", "-np", "1"]
    with running(side, flags) as server:
        return asyncio.run(_read_rows(trial, kinds, pace, orders, server))


async def _read_rows(
    trial: Trial, kinds: Sequence[str], pace: str, orders: Orders, server: Server
) -> list[Row]:
    await server.wait_ready()
    pids = [process.pid for process in server.processes()]
    own, others = cores.split_cores()
    for pid in (os.getpid(), *pids[1:]):
        cores.pin(pid, others)
    cores.pin(pids[0], own)
    rows = []
    for kind in kinds:
        await read(trial, kind, min(trial.num_tokens, 50), orders, server.address, pids[0])
        rounds = [
            await read(trial, kind, trial.num_tokens, orders, server.address, pids[0])
            for _ in range(trial.rounds)
        ]
        rows.append(Row(kind, pace, tuple(rounds)))
    return rows


async def read(
    trial: Trial, kind: str, num_tokens: int, orders: Orders, address: Address, pid: int
) -> Reading:
    """One round of all streams; `pid` is the process whose CPU time is taken.

    Raises `ServerError` if a request is refused: the engine would wait for it for ever.
    """
    watch = _Watch(pid)
    numbers = range(trial.num_streams)
    sent = [_received(address, request(kind, n, num_tokens), watch) for n in numbers]
    records: list[Record] = await asyncio.gather(*sent)
    seconds, cpu = watch.stop()
    found = [problem(record, n, orders, trial.pieces) for n, record in enumerate(records)]
    return Reading(
        num_tokens=trial.num_streams * num_tokens,
        num_events=sum(len(record.arrivals) for record in records),
        seconds=seconds,
        cpu_seconds=cpu,
        problems=tuple(f"{kind}, stream {n}: {what}" for n, what in enumerate(found) if what),
    )


async def _received(address: Address, asked: Request, watch: _Watch) -> Record:
    record = await stream(address, asked, on_first=watch.start)
    if record.error and not record.arrivals:
        raise ServerError(f"{asked.path}: {record.error}")
    return record


@dataclass
class _Watch:
    """Takes the time and the CPU time of a process from the first token on."""

    pid: int
    _began: tuple[float, float] | None = field(default=None)

    def start(self) -> None:
        """Begin, if it has not begun."""
        self._began = self._began or (time.perf_counter(), cores.cpu_seconds(self.pid))

    def stop(self) -> tuple[float, float]:
        """Seconds, and CPU seconds, since the begin."""
        assert self._began is not None
        began, cpu = self._began
        return time.perf_counter() - began, cores.cpu_seconds(self.pid) - cpu
