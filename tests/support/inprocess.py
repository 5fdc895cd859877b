"""The engine's real loop on a fake backend, in a thread, at the other end of a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from protocol.config import EngineConfig
from protocol.messages import Ready, StepStats
from scheduler.core.host_memory import HostMemory
from scheduler.engine.channel import CommandChannel
from scheduler.engine.engine import Engine
from scheduler.engine.loop import first_config, run
from scheduler.engine.outbox import ChannelClosed
from server.engine.client import EngineClient
from tests.support.fake_backend import FakeBackend
from tests.support.live import DEADLINE

CONFIG = EngineConfig(model_path="fake.gguf")


class Gate:
    """Limits how many steps an engine does; without a limit at first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._left: int | None = None

    def allow(self, steps: int | None) -> None:
        """Allow this many more steps; None for any number."""
        with self._changed:
            self._left = steps
            self._changed.notify_all()

    def pass_through(self) -> None:
        """Wait for permission; the engine calls this before each step."""
        with self._changed:
            self._changed.wait_for(lambda: self._left != 0, timeout=DEADLINE)
            if self._left is not None:
                self._left -= 1


class EngineThread:
    """One life of an engine; `socket` is the client's end."""

    def __init__(self, backend: FakeBackend, gate: Gate, cache_bytes: int = 0) -> None:
        self.backend = backend
        self.socket, theirs = socket.socketpair()
        gated = _gated(backend, gate)
        self.engine = Engine(
            gated, time.monotonic, itl_target=0.1, host_memory=HostMemory(cache_bytes)
        )
        self._gate = gate
        self._channel = CommandChannel(theirs)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(ChannelClosed):
            first_config(self._channel)
            self._channel.send(Ready(self.backend.info))
            run(self.engine, self._channel)
        self._channel.close()

    def join(self) -> None:
        """Wait until the thread ends."""
        self._gate.allow(None)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


def _gated(backend: FakeBackend, gate: Gate) -> FakeBackend:
    fails = backend.fail_on

    def fail_on(chunks: object) -> bool:
        gate.pass_through()
        return fails(chunks)  # type: ignore[arg-type]

    backend.fail_on = fail_on
    return backend


class Pair:
    """A client, and the engines that it talks to one after the other."""

    def __init__(self, make_backend: Callable[[], FakeBackend], *, cache_bytes: int = 0) -> None:
        self.steps: list[StepStats] = []
        self.client = EngineClient(self.steps.append)
        self.gate = Gate()
        self._make_backend = make_backend
        self._cache_bytes = cache_bytes
        self.lives: list[EngineThread] = []

    @property
    def engine(self) -> Engine:
        """The engine of the latest life."""
        return self.lives[-1].engine

    async def start_engine(self) -> None:
        """Start an engine, and wait until it is ready."""
        life = EngineThread(self._make_backend(), self.gate, self._cache_bytes)
        self.lives.append(life)
        await self.client.connect(life.socket, CONFIG)
        await wait_until(lambda: self.client.is_ready)

    async def kill_engine(self) -> None:
        """End an engine without a message, as a killed process ends."""
        self.client.engine_died()
        await asyncio.to_thread(self.lives[-1].join)

    async def stop(self) -> None:
        """Shut the engine down."""
        self.client.shut_down()
        await asyncio.to_thread(self.lives[-1].join)
        self.client.engine_died()
        await asyncio.sleep(0)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until a condition holds; fails after `DEADLINE`."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        await asyncio.sleep(0.002)


@asynccontextmanager
async def engine_pair(
    make_backend: Callable[[], FakeBackend] = FakeBackend,
) -> AsyncIterator[Pair]:
    """A client with a running engine."""
    pair = Pair(make_backend)
    await pair.start_engine()
    try:
        yield pair
    finally:
        await pair.stop()
