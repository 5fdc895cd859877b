"""Engines of a server with several models: each is a process, and what reads its model here."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from config import ConfigError, ServeSettings
from server.assembly.assemble import config_of, make_client, make_context, watched_blocks
from server.assembly.foreseen import foreseen
from server.assembly.loaded_model import load_vocabulary, model_with
from server.assembly.observation import Observation
from server.context import ServerContext, SharedContext
from server.engine.client import EngineClient
from server.engine.supervisor import EngineProcess
from server.errors import ApiError
from server.fit.errors import FitError
from server.fit.estimate import estimate
from server.generation.observed_generator import ObservedGenerator
from server.kv_events.events import ModelBlocks
from server.model.guarded_tokenizer import GuardedTokenizer
from server.model.inspection import inspector
from server.observability.metrics import ServerMetrics
from server.observability.process_memory import device_bytes, is_alive, resident_bytes
from server.pool.engines import Fetched, LoadFailed
from server.pool.entries import ModelEntry
from server.pool.memory import NO_MEMORY, MemoryUse
from server.startup import StartupError
from server.store.progress import PullProgress, PullStatus
from server.store.resolve import PullWatch, resolve_draft, resolve_model

MOST_STARTS = 2
"""Starts of an engine whose model was never loaded: a crash may be due to repacked weights."""

FREE_SECONDS = 5.0
"""How long a driver may take to free the memory of a process that has ended."""

COLLECT_SECONDS = 0.5
"""After this time nobody uses what read an unloaded model."""

_POLL_SECONDS = 0.05

logger = logging.getLogger("llamapack")


class PooledEngine:
    """Implements `ModelEngine` on an engine process."""

    def __init__(
        self,
        context: ServerContext,
        variants: Mapping[str, ServerContext],
        client: EngineClient,
        process: EngineProcess,
        tokenizer: GuardedTokenizer,
        blocks: ModelBlocks | None,
    ) -> None:
        self.context = context
        self.variants = variants
        self._client = client
        self._process = process
        self._tokenizer = tokenizer
        self._blocks = blocks

    @property
    def num_sequences(self) -> int:
        return self._client.num_sequences

    @property
    def outage(self) -> str:
        return self._client.outage

    async def load(self) -> None:
        await self._process.start()
        self._tokenizer.start()
        try:
            await self._client.wait_loaded()
        except ApiError as error:
            text = without_folder(error.message, Path(self.context.model_path))
            raise LoadFailed(text, self._process.exit_code) from None

    async def memory(self) -> MemoryUse:
        pid = self._process.pid
        return NO_MEMORY if pid is None else await asyncio.to_thread(_memory_of, pid)

    def end_answers(self, error: ApiError) -> None:
        self._client.end_streams(error)

    def close_vocabulary(self) -> None:
        """End the processes that split long texts."""
        self._tokenizer.close()

    async def stop(self, seconds: float) -> None:
        pid = self._process.pid
        await self._process.stop(seconds)
        if self._blocks is not None:
            self._blocks.engine_ended()
        await asyncio.to_thread(self.close_vocabulary)
        if pid is not None:
            await _gone(pid)
        # What read the model refers to itself in circles, and would stay in memory for long.
        asyncio.get_running_loop().call_later(COLLECT_SECONDS, gc.collect)


class PooledEngines:
    """Implements `EngineMaker`."""

    def __init__(
        self, shared: SharedContext, observation: Observation, *, are_several: bool
    ) -> None:
        """`are_several`: blocks of equal tokens must have other names in each model."""
        self._shared = shared
        self._are_several = are_several
        self._observation = observation
        self._lock = threading.Lock()
        self._num_reading = 0

    async def make(self, entry: ModelEntry, metrics: ServerMetrics) -> PooledEngine:
        reading = asyncio.ensure_future(asyncio.to_thread(self._read, entry, metrics))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            reading.add_done_callback(_close_vocabulary)
            raise
        except (StartupError, ConfigError, OSError) as error:
            raise _load_failed(entry, error) from None

    async def prepare(
        self,
        entry: ModelEntry,
        told: Callable[[Fetched], None],
        check: Callable[[MemoryUse], None],
    ) -> MemoryUse:
        loop, is_left = asyncio.get_running_loop(), threading.Event()
        fetch = _Fetch(lambda fetched: loop.call_soon_threadsafe(told, fetched))
        watch = PullWatch(fetch.report, is_left.is_set)
        try:
            expected = await asyncio.to_thread(foreseen, entry, is_left.is_set)
            if expected is not None:
                check(expected)
            return await asyncio.to_thread(_prepared, entry, watch)
        except asyncio.CancelledError:
            is_left.set()
            raise
        except (StartupError, OSError) as error:
            raise _load_failed(entry, error) from None

    def _read(self, entry: ModelEntry, metrics: ServerMetrics) -> PooledEngine:
        """The engine, after its files were found. Raises `StartupError` and `ConfigError`."""
        with self._lock:
            self._num_reading += 1
        try:
            return self._made(entry, metrics)
        finally:
            with self._lock:
                self._num_reading -= 1
                if not self._num_reading:
                    inspector.close()  # it keeps the last vocabulary in memory

    def _made(self, entry: ModelEntry, metrics: ServerMetrics) -> PooledEngine:
        settings = entry.settings
        path, draft = resolve_model(settings), resolve_draft(settings)
        tokenizer = load_vocabulary(settings, path)
        blocks = watched_blocks(
            self._shared.kv_events,
            entry.name,
            lambda lora: context.adapter_scales.name_of(client.model.adapters, lora),
        )
        client = make_client(metrics, blocks)
        try:
            context = self._context(settings, path, tokenizer, client, metrics)
            variants = {
                alias: _variant(self._context(own, path, tokenizer, client, metrics), context)
                for alias, own in entry.variants.items()
            }
        except BaseException:
            tokenizer.close()
            raise
        if blocks is not None:
            context.adapter_scales.on_change = blocks.adapters_changed
        config = config_of(settings, path, draft)
        process = EngineProcess(
            msgspec.structs.replace(config, block_names=entry.name if self._are_several else ""),
            client,
            settings.hang_timeout,
            most_first_starts=MOST_STARTS,
        )
        metrics.engine_pid = lambda: process.pid
        return PooledEngine(context, variants, client, process, tokenizer, blocks)

    def _context(
        self,
        settings: ServeSettings,
        path: Path,
        tokenizer: GuardedTokenizer,
        client: EngineClient,
        metrics: ServerMetrics,
    ) -> ServerContext:
        model = model_with(settings, path, tokenizer)
        context = make_context(settings, model, client, self._observation, metrics)
        shared = self._shared
        return dataclasses.replace(
            context,
            drain=shared.drain,
            plain_places=shared.plain_places,
            structured_places=shared.structured_places,
            answer_turns=shared.answer_turns,
            created=shared.created,
            kv_events=shared.kv_events,
        )


def _variant(context: ServerContext, base: ServerContext) -> ServerContext:
    """The context of an alias: its own settings and template, and the one queue of the model."""
    generator: ObservedGenerator = base.generator
    return dataclasses.replace(
        context,
        generator=generator,
        enter_queue=base.enter_queue,
        adapter_scales=base.adapter_scales,
    )


def without_folder(text: str, path: Path) -> str:
    """A message for clients, who must not learn where files are."""
    return text.replace(f"{path.parent}/", "") if path.parent != Path() else text


def _load_failed(entry: ModelEntry, error: Exception) -> LoadFailed:
    if isinstance(error, OSError):
        return LoadFailed(f"its files can't be read: {error.strerror or error}")
    path = entry.path
    return LoadFailed(str(error) if path is None else without_folder(str(error), path))


class _Fetch:
    """Adds up the files of one model's downloads. Reports come from one thread."""

    def __init__(self, told: Callable[[Fetched], object]) -> None:
        self._told = told
        self._files: dict[str, tuple[int, int]] = {}

    def report(self, progress: PullProgress) -> None:
        """Take a report. Files that are here already are none of a download."""
        if progress.status not in _FETCHING:
            return
        self._files[progress.file] = (progress.completed, progress.total or 0)
        completed, totals = zip(*self._files.values(), strict=True)
        self._told(Fetched(sum(completed), sum(totals)))


_FETCHING = (PullStatus.WAITING, PullStatus.DOWNLOADING, PullStatus.CHECKING, PullStatus.RETRYING)


def _prepared(entry: ModelEntry, watch: PullWatch) -> MemoryUse:
    """The memory as llama.cpp plans it; of a file that it can't plan, the size of the file.

    What is missing is downloaded first. Raises `StartupError`.
    """
    settings = entry.settings
    path, draft = resolve_model(settings, watch=watch), resolve_draft(settings, watch=watch)
    try:
        footprint = estimate(path, config_of(settings, path, draft))
    except FitError as error:
        logger.warning("the memory of %s is guessed by the files' size: %s", entry.name, error)
        return MemoryUse(sum(file.stat().st_size for file in (path, draft) if file is not None))
    return MemoryUse(footprint.host.total, footprint.device_bytes)


def _memory_of(pid: int) -> MemoryUse:
    return MemoryUse(resident_bytes(pid), device_bytes(pid))


async def _gone(pid: int) -> None:
    """Wait until the system and the driver have taken a dead process's memory back."""
    for _ in range(int(FREE_SECONDS / _POLL_SECONDS)):
        if not is_alive(pid) and not await asyncio.to_thread(device_bytes, pid):
            return
        await asyncio.sleep(_POLL_SECONDS)
    logger.warning("the memory of the engine process %d is not free after %g s", pid, FREE_SECONDS)


def _close_vocabulary(reading: asyncio.Future[PooledEngine]) -> None:
    """End what a load had begun that nobody waits for any more."""
    if not reading.cancelled() and reading.exception() is None:
        engine = reading.result()
        asyncio.get_running_loop().run_in_executor(None, engine.close_vocabulary)
