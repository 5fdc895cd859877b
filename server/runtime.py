"""Runs a server: its start, its signals and its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from anyio import to_thread
from starlette.applications import Starlette

from config import ConfigError, ModelSources, ServeSettings
from confined.lost_memory import end_without_memory
from grammars.sandbox import sandbox
from logs.llama_log import LogBridge
from server.access.key_ring import read_keys
from server.app import create_app
from server.app_state import state_of
from server.assembly.assemble import Assembly, assemble
from server.assembly.engines import Engines, ManyEngines, OneEngine
from server.assembly.frozen_heap import freeze_heap
from server.assembly.large_blocks import return_large_blocks
from server.assembly.standing_threads import start_threads
from server.errors import ApiError, Unavailable
from server.fit.estimate import Estimator
from server.fit.fitting import Fitting
from server.http.server import HttpServer, http_config
from server.http.sockets import bind_all, close_all, is_exposed, local_url_of, url_of
from server.kv_events.topic import place_of, topic_of
from server.model.inspection import inspector
from server.observability.logs import configure_logging
from server.openai.responses.background import Backgrounds
from server.store.resolve import resolve_draft, resolve_model
from server.templates.rendering import renderers

CUT_SHORT = "the server is stopping; this answer is cut short"

POLL_SECONDS = 0.1
"""Interval at which a second signal is noticed."""

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter from the event loop, which asks for it after each wait
and for each connection. Python's own five milliseconds add up."""

logger = logging.getLogger("llamapack")
llama_log = LogBridge()


def serve(
    settings: ServeSettings, notices: Sequence[str] = (), sources: ModelSources | None = None
) -> int:
    """Serve until told to stop; returns the exit code. Raises `StartupError` and `ConfigError`.

    `notices` are lines about the settings, for the log. With `sources`, these models are served.
    """
    configure_logging(settings)
    return_large_blocks()
    for notice in notices:
        logger.info("%s", notice)
    llama_log.install()
    sockets = bind_all(settings.host, settings.port, reuse_port=settings.reuse_port)
    try:
        engines = OneEngine(_assembled(settings)) if sources is None else ManyEngines(sources)
        return Runtime(settings, engines, sockets).run()
    finally:
        renderers.close()
        close_all(sockets)


def _assembled(settings: ServeSettings) -> Assembly:
    """The parts of the server, made from files that confined processes have opened first."""
    try:
        model_path, draft_path = resolve_model(settings), resolve_draft(settings)
        settings = _fitted(settings, model_path, draft_path)
        return assemble(settings, model_path, draft_path)
    finally:
        inspector.close()


def _fitted(settings: ServeSettings, model_path: Path, draft_path: Path | None) -> ServeSettings:
    """The settings; with `--fit on` those that fit the memory. The log says what was chosen."""
    if settings.fit == "off":
        return settings
    with Estimator() as estimator:
        fitted = Fitting(estimator, inspector).fitted(settings, model_path, draft_path)
    for line in fitted.lines:
        logger.info("%s", line)
    return fitted.settings


class Runtime:
    """One server: the application, the engines behind it, and how they start and stop."""

    def __init__(
        self,
        settings: ServeSettings,
        engines: Engines,
        sockets: Sequence[socket.socket],
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._sockets = sockets
        self._exit_code = 0
        self._refreshing: asyncio.Future[None] | None = None
        app = create_app(
            engines.context,
            engines.pool,
            keys=engines.keys,
            audit=engines.observation.audit,
            tracing=engines.observation.tracing,
            lifespan=self._lifespan,
            is_local=not any(is_exposed(sock) for sock in sockets),
        )
        self._http = HttpServer(
            http_config(app, settings),
            on_stop=self._on_stop,
            on_close=engines.context.drain.close,
            on_deadline=self._on_deadline,
            linger_seconds=settings.shutdown_delay,
            drain_seconds=settings.shutdown_timeout,
        )

    def run(self) -> int:
        """Serve until a signal, or until the engine can't be started; returns the exit code."""
        if self._engines.keys.is_empty and any(is_exposed(sock) for sock in self._sockets):
            logger.warning("anybody who reaches this machine may use the server: set --api-key")
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            self._http.run(list(self._sockets))
        finally:
            self._engines.observation.close()
            if self._engines.kv_events is not None:
                self._engines.kv_events.close()
        return self._exit_code

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        end_without_memory(loop)
        self._start_kv_events()
        await self._engines.start()
        announcer = asyncio.create_task(self._announce(), name="announce the model")
        await start_threads()
        await to_thread.run_sync(sandbox.start)
        freeze_heap()
        try:
            yield
        finally:
            announcer.cancel()
            state = state_of(app)
            await state.downloads.close()
            await self._end_backgrounds(state.backgrounds)
            state.responses.close()
            await state.pulls.close()
            sandbox.close()
            await self._engines.stop()

    async def _announce(self) -> None:
        """Say when the server is ready; stop the server if its one model can't be loaded."""
        tls = self._settings.ssl_key_file is not None
        urls = ", ".join(url_of(sock, tls=tls) for sock in self._sockets)
        logger.info("listening on %s, %s", urls, self._engines.first_words)
        try:
            logger.info("ready: %s", await self._engines.wait_ready())
        except ApiError as error:
            logger.error("%s", error)
            self._exit_code = 1
            self._http.should_exit = True
            return
        if pages := self._pages():
            logger.info("chat in a browser: %s", ", ".join(pages))

    def _pages(self) -> list[str]:
        """The addresses of the page, if it is served."""
        if not self._settings.ui or self._settings.path is not None:
            return []
        tls = self._settings.ssl_key_file is not None
        urls = [local_url_of(sock, tls=tls) for sock in self._sockets]
        return [f"{url}{self._settings.api_prefix}/" for url in urls if url.startswith("http")]

    def _start_kv_events(self) -> None:
        events, settings = self._engines.kv_events, self._settings
        if events is None:
            return
        place = place_of(settings.kv_events_topic, self._sockets)
        events.start(partial(topic_of, place))
        logger.info("KV events go to %s as %s", settings.kv_events_endpoint, place)

    async def _end_backgrounds(self, backgrounds: Backgrounds) -> None:
        """Wait for responses that no client waits for. The deadline ends them as it ends others."""
        while backgrounds.num_running and not self._http.force_exit:
            await backgrounds.wait(POLL_SECONDS)
        await backgrounds.end(Unavailable(CUT_SHORT))

    def _reload(self) -> None:
        """Read keys and models again, and reopen the audit log. Broken files change nothing."""
        keys, audit = self._engines.keys, self._engines.observation.audit
        try:
            keys.replace(read_keys(self._settings), time.monotonic())
            logger.info("reloaded: %d keys", len(keys))
        except ConfigError as error:
            logger.error("the keys stay as they were: %s", error)
        if audit is not None:
            audit.reopen()
        self._refreshing = asyncio.ensure_future(self._refresh())

    async def _refresh(self) -> None:
        try:
            await self._engines.pool.refresh()
        except ApiError as error:
            logger.error("%s", error)

    def _on_deadline(self) -> None:
        engines = self._engines
        logger.warning("ending %d answers that are still running", engines.num_sequences)
        engines.end_answers(Unavailable(CUT_SHORT))

    def _on_stop(self) -> None:
        self._engines.context.drain.begin()
        logger.info("stopping: running requests are finished first")
