"""Starts the engine process, watches it, and restarts it when it dies."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress

import msgspec

from confined import python_module
from protocol.config import HUGE_PAGES, EngineConfig
from server.engine.client import EngineClient

logger = logging.getLogger(__name__)

ENGINE_MODULE = "scheduler"
"""What runs as the engine process."""

RESTART_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Waits before the first, second, ... restart in a row; the last one repeats."""

OUTAGE_STARTS = 4
"""Starts in a row without a loaded model after which clients are told of an outage."""

STABLE_SECONDS = 60.0
"""After an engine that lived this long or generated anything, the next restart is immediate.
`server.engine.recovery` finds requests that kill engines."""

WATCH_SECONDS = 1.0
"""The time between two looks at the engine's heartbeat."""

SILENT_LOOKS = 5
"""Looks in a row without a heartbeat before an engine is killed. If both processes were paused
together, as in a frozen container, the heartbeat comes back in that time."""

PAUSE_SECONDS = 1.0
"""How long a supervisor that failed itself waits."""

STOP_SECONDS = 10.0
"""How long the engine may take to end after it is asked to."""

SPINS_PER_POLL = 100
"""`GOMP_SPINCOUNT` for each unit of `--poll`, whose default is 50."""

OPENMP_DEFAULTS = {"KMP_BLOCKTIME": "0"}
"""OpenMP's threads spin at barriers. That is ruinous when another process needs a core, so these
variables make the threads sleep soon. A spin count of 1000 makes steps of 16 to 35 ms about 4 %
longer on two free cores. With one core busy, 1000 is better: eight streams had 103 tokens a second
instead of 72. Both are far better than endless spinning (10). The operator's own values stay."""


ABORT_DEFAULTS = {"GGML_NO_BACKTRACE": "1"}
"""When an assertion fails, ggml would start a debugger for a backtrace, and clients would wait."""


HUGE_TUNABLE = "glibc.malloc.hugetlb=1"
"""Lets glibc ask for huge pages. What comes later in the list of tunables counts."""


class EngineProcess:
    """The engine, kept alive. Belongs to one event loop."""

    def __init__(
        self,
        config: EngineConfig,
        client: EngineClient,
        hang_seconds: float = 0,
        *,
        most_first_starts: int | None = None,
    ) -> None:
        """An engine without a heartbeat for `hang_seconds` is killed; 0 never kills.

        After `most_first_starts` starts without a loaded model, the model counts as one that can't
        be loaded. Without that number, starts go on.
        """
        self.num_restarts = 0
        self.exit_code: int | None = None
        """How the last engine ended; negative for a signal."""
        self._most_first_starts = most_first_starts
        self._has_loaded = False
        self._has_given_up = False
        self._hang_seconds = hang_seconds
        self._config = config
        self._client = client
        self._process: asyncio.subprocess.Process | None = None
        self._is_stopping = False
        self._num_short_lives = 0
        """Engines in a row that died soon."""
        self._num_failed_starts = 0
        """Starts in a row without a loaded model."""
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None before the first start."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the first engine, on the running event loop."""
        self._watch = asyncio.create_task(self._run(), name="engine process")

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask the engine to end, and kill it after some seconds."""
        self._is_stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            if self._client.is_ready:
                self._client.shut_down()
            else:
                _kill(process)  # it is still loading: there is nothing to finish
            try:
                await asyncio.wait_for(process.wait(), seconds)
            except TimeoutError:
                _kill(process)
                await process.wait()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _run(self) -> None:
        while not self._is_stopping and not self._has_given_up:
            try:
                await self._live_and_recover()
            except Exception:  # such as MemoryError: nobody else would start another engine
                logger.exception("the engine's supervisor failed; it goes on")
                await asyncio.sleep(PAUSE_SECONDS)

    async def _live_and_recover(self) -> None:
        """One life of the engine, what it means for its clients, and the wait for the next one."""
        started = asyncio.get_running_loop().time()
        code = await self._live_or_fail()
        if self._is_stopping:
            return
        self.exit_code = code if isinstance(code, int) else None
        was_ready = self._client.is_ready
        self._has_loaded = self._has_loaded or was_ready
        lifetime = asyncio.get_running_loop().time() - started
        if lifetime > STABLE_SECONDS or self._client.has_generated:
            self._num_short_lives = 0
        if not was_ready and not self._may_retry_loading(code):
            self._has_given_up = True
            self._client.give_up(f"the engine could not start ({_described(code)})")
            return
        self._client.engine_died()
        self._num_failed_starts = 0 if was_ready else self._num_failed_starts + 1
        if self._num_failed_starts == OUTAGE_STARTS:
            self._client.declare_outage(f"the engine can't be started ({_described(code)})")
        wait = RESTART_SECONDS[min(self._num_short_lives, len(RESTART_SECONDS) - 1)]
        when = f"in {wait:g} s" if wait else "now"
        logger.error("the engine died (%s); another one starts %s", _described(code), when)
        self._num_short_lives += 1
        self.num_restarts += 1
        await asyncio.sleep(wait)

    async def _live_or_fail(self) -> int | Exception:
        """One life of the engine, or why it could not be started, such as for want of descriptors,
        memory or threads."""
        try:
            return await self._live()
        except Exception as error:
            return error

    def _may_retry_loading(self, code: int | Exception) -> bool:
        """Whether another start may load the model.

        A model that was loaded before will load again. A crash in the kernels for this CPU's
        matrix units may not happen without these kernels. An error that the engine reported
        would come back.
        """
        most = self._most_first_starts
        if not self._has_loaded and most is not None and self.num_restarts + 1 >= most:
            return False
        if self.num_restarts > 0:
            return True
        if isinstance(code, Exception) or code >= 0 or not self._config.use_repack:
            return False
        logger.warning("the engine crashed while loading; trying again without repacked weights")
        self._config = msgspec.structs.replace(self._config, use_repack=False)
        return True

    async def _live(self) -> int:
        """One life of the engine; returns its exit code, negative for a signal."""
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as on_error:
            on_error.callback(ours.close)
            self._process = await asyncio.create_subprocess_exec(
                *python_module.command(ENGINE_MODULE, str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(os.environ, self._config),
            )
            on_error.callback(_kill, self._process)
            await self._client.connect(ours, self._config)
            watchdog = asyncio.create_task(self._kill_if_hung(self._process), name="watchdog")
            on_error.pop_all()
        try:
            code = await self._process.wait()
        finally:
            watchdog.cancel()
        await self._client.wait_disconnected()  # its last message may say why
        return code

    async def _kill_if_hung(self, process: asyncio.subprocess.Process) -> None:
        """Kill the engine after too long without a heartbeat, so that another takes over."""
        silent_looks = 0
        while self._hang_seconds:
            await asyncio.sleep(WATCH_SECONDS)
            age = self._client.heartbeat_age
            is_silent = age is not None and age > self._hang_seconds
            silent_looks = silent_looks + 1 if is_silent else 0
            if silent_looks >= SILENT_LOOKS:
                logger.error("the engine has not moved for %.0f seconds: killing it", age)
                _kill(process)
                return


def _environment(base: Mapping[str, str], config: EngineConfig) -> dict[str, str]:
    """The engine's environment. What the user sets counts."""
    spins = {"GOMP_SPINCOUNT": str(config.poll * SPINS_PER_POLL)}
    environment = {**OPENMP_DEFAULTS, **spins, **ABORT_DEFAULTS, **base}
    if config.load_mode == HUGE_PAGES:
        tunables = environment.get("GLIBC_TUNABLES", "")
        environment["GLIBC_TUNABLES"] = ":".join(filter(None, (HUGE_TUNABLE, tunables)))
    return python_module.environment(environment)


def _described(code: int | Exception) -> str:
    if isinstance(code, Exception):
        return str(code) or type(code).__name__
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):  # it ended just now, and nobody has waited for it yet
        process.kill()
