"""Starts a server process, measures what it uses, and stops it in every case."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.harness.client import Address, get
from loadtests.harness.exposition import parse_counters
from loadtests.harness.measure import Cost, Counters
from loadtests.harness.ports import free_port
from loadtests.harness.processes import (
    MIB,
    ProcessTree,
    cpu_s,
    machine_busy_s,
    own_cpu_s,
    peak_rss_mib,
    pss_mib,
)

START_TIMEOUT_S = 300.0
SAMPLE_EVERY_S = 1.0


class ServerError(Exception):
    """A server did not start, or ended too early. The message has the end of its log."""


@dataclass(frozen=True)
class Side:
    """One of the two programs that are compared."""

    name: str
    command: tuple[str, ...]
    flags: tuple[str, ...] = ()
    """Flags for this side alone."""


class Server:
    """A running server."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.name = name
        self.address = Address("127.0.0.1", port)
        self._process = process
        self._log = log
        self._tree = ProcessTree(process.pid)

    async def wait_ready(self) -> None:
        """Return when /health answers 200."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            self.check_alive()
            with contextlib.suppress(OSError, TimeoutError):
                status, _ = await get(self.address, "/health", timeout_s=2.0)
                if status == 200:
                    return
            await asyncio.sleep(0.05)
        raise ServerError(f"{self.name} was not ready after {START_TIMEOUT_S:.0f} s{self.tail()}")

    def check_alive(self) -> None:
        """Raise if the process has ended."""
        status = self._process.poll()
        if status is not None:
            raise ServerError(f"{self.name} ended with status {status}{self.tail()}")

    async def post_mortem(self) -> str:
        """After a failed request: whether the process has ended, and the end of its log."""
        await asyncio.sleep(0.5)
        status = self._process.poll()
        ended = "" if status is None else f"; {self.name} ended with status {status}"
        return ended + self.tail()

    def tail(self, lines: int = 20) -> str:
        """The end of the server's log, formatted to follow a message."""
        text = self._log.read_text(errors="replace").splitlines()[-lines:]
        return "; its log ends:\n    " + "\n    ".join(text) if text else ""

    def log_text(self) -> str:
        """All of the server's log so far."""
        return self._log.read_text(errors="replace")

    async def counters(self, *, key: str = "") -> Counters:
        """The server's own counters now, if it has any; `key` is an API key of the server."""
        try:
            status, body = await get(self.address, "/metrics", key=key)
        except (OSError, TimeoutError):
            return Counters()
        return parse_counters(body.decode(errors="replace")) if status == 200 else Counters()

    @contextlib.asynccontextmanager
    async def metered(self) -> AsyncIterator[Meter]:
        """Measure what the machine uses while the block runs."""
        meter = Meter(self.processes())
        sampler = asyncio.create_task(meter.sample_forever())
        try:
            yield meter
        finally:
            sampler.cancel()
            meter.stop()

    def processes(self) -> list[psutil.Process]:
        """The server's living processes."""
        return self._tree.members()

    def resident_mib(self) -> list[float]:
        """Resident memory of each living process now, the largest first."""
        sizes = [process.memory_info().rss / MIB for process in self.processes()]
        return sorted(sizes, reverse=True)

    def stop(self) -> None:
        self._tree.terminate()
        self._process.wait()


class Meter:
    """What the server, this client and the rest of the machine used since the meter was made."""

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self._processes = processes
        self._started = time.perf_counter()
        self._server, self._client = cpu_s(processes), own_cpu_s()
        self._machine = machine_busy_s()
        self._pss = math.nan
        self._cost: Cost | None = None

    @property
    def cost(self) -> Cost:
        if self._cost is None:
            raise RuntimeError("the meter is still running")
        return self._cost

    async def sample_forever(self) -> None:
        """Sample the memory at intervals, in a thread other than the one that takes the time
        stamps."""
        while True:
            await asyncio.sleep(SAMPLE_EVERY_S)
            self._note(await asyncio.to_thread(pss_mib, self._processes))

    def stop(self) -> None:
        wall = time.perf_counter() - self._started
        server = cpu_s(self._processes) - self._server
        client = own_cpu_s() - self._client
        machine = machine_busy_s() - self._machine
        self._note(pss_mib(self._processes))
        self._cost = Cost(
            wall_s=wall,
            server_cpu_s=server,
            client_cpu_s=client,
            others_cpu_s=max(0.0, machine - server - client),
            peak_pss_mib=self._pss,
            peak_rss_mib=peak_rss_mib(self._processes),
        )

    def _note(self, mib: float) -> None:
        if math.isnan(self._pss) or mib > self._pss:
            self._pss = mib


@contextlib.contextmanager
def running(side: Side, flags: Sequence[str]) -> Iterator[Server]:
    """A server of this side with `flags` and a free port, stopped when the block ends.

    The server's cache folder is empty, because step costs measured in a busier hour must not count.
    """
    port = free_port()
    command = [*side.command, *flags, *side.flags, "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryDirectory(prefix="llamapack-bench-") as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            process = _start(command, output.fileno(), cache=folder)
        server = Server(side.name, process, port, log)
        try:
            yield server
        finally:
            server.stop()


def _start(command: Sequence[str], output: int, cache: str) -> subprocess.Popen[bytes]:
    """Start the process in its own process group, so that Ctrl-C reaches the benchmark alone."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment() | {"XDG_CACHE_HOME": cache},
            start_new_session=True,
        )
    except OSError as error:
        raise ServerError(f"{command[0]} cannot be started: {error}") from error


def _environment() -> dict[str, str]:
    """Our environment without variables that would change the settings of only one server."""
    hidden = ("LLAMA_ARG_", "LLAMA_API_KEY", "LLAMAPACK_")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
