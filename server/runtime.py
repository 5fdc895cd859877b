"""Puts a server together out of its settings, and runs it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from starlette.applications import Starlette

from config import ConfigError, ServeSettings, file_settings
from grammars.sandbox import sandbox
from logs.llama_log import LogBridge
from server.access.audit_log import AuditLog
from server.access.key_ring import KeyRing, read_keys
from server.app import create_app
from server.context import ServerContext
from server.engine.client import EngineClient
from server.engine.config import engine_config
from server.engine.supervisor import EngineProcess
from server.errors import ApiError, Unavailable
from server.generation.admission_queue import AdmissionQueue
from server.generation.deadlines import Deadlines
from server.generation.generator import EngineGenerator
from server.generation.observed_generator import Observe, ObservedGenerator
from server.http.server import HttpServer, http_config
from server.http.sockets import bind_all, close_all, is_exposed, url_of
from server.model.adapters import AdapterScales
from server.model.files import resolve_draft, resolve_model
from server.model.tokenizer import LlamaTokenizer
from server.observability.answer_metrics import AnswerMetrics
from server.observability.logs import configure_logging, level_of
from server.observability.metrics import ServerMetrics
from server.observability.tracing.open_tracing import open_tracing
from server.parsers.reasoning import effort_variables
from server.structured_output.default import default_constraint
from server.templates.chat_template import ChatTemplate, load

logger = logging.getLogger("llamapack")
llama_log = LogBridge()


def serve(settings: ServeSettings) -> int:
    """Serve until told to stop; returns the exit code. Raises `StartupError`."""
    configure_logging(settings)
    llama_log.install()
    sockets = bind_all(settings.host, settings.port)
    try:
        model_path, draft_path = resolve_model(settings), resolve_draft(settings)
        return Runtime(settings, model_path, sockets, draft_path).run()
    finally:
        close_all(sockets)


class Runtime:
    """One server: the application, the engine behind it, and how they start and stop."""

    def __init__(
        self,
        settings: ServeSettings,
        model_path: Path,
        sockets: Sequence[socket.socket],
        draft_path: Path | None = None,
    ) -> None:
        self._settings = settings
        self._sockets = sockets
        self._exit_code = 0
        tokenizer = LlamaTokenizer(model_path)
        name = settings.alias[0] if settings.alias else model_path.stem
        metrics = ServerMetrics(name, settings.max_queue)
        admission = AdmissionQueue(settings.max_queue, settings.max_queue_tokens)
        level = logging.getLevelName(level_of(settings.verbosity))
        self._client = EngineClient(metrics.observe_step, metrics.observe_death)
        self._keys = KeyRing(read_keys(settings), time.monotonic())
        self._audit = _open_audit_log(settings, tokenizer)
        config = engine_config(settings, model_path, level, draft_path)
        self._process = EngineProcess(config, self._client, settings.hang_timeout)
        metrics.engine_pid = lambda: self._process.pid
        deadlines = Deadlines(settings.queue_timeout, settings.request_timeout)
        sequences = EngineGenerator(self._client, tokenizer, admission, deadlines)
        self._tracing = open_tracing(settings, name)
        observers: list[Observe] = [partial(AnswerMetrics, metrics)]
        if self._tracing is not None:
            observers.append(self._tracing.observe)
        self._context = ServerContext(
            settings=settings,
            model_name=name,
            model_path=str(model_path),
            tokenizer=tokenizer,
            generator=ObservedGenerator(sequences, observers),
            enter_queue=sequences.enter_queue,
            engine=self._client,
            metrics=metrics,
            chat_template=_load_template(settings, tokenizer),
            adapter_scales=AdapterScales.of(settings),
            default_constraint=default_constraint(settings, tokenizer),
        )
        app = create_app(
            self._context,
            keys=self._keys,
            audit=self._audit,
            tracing=self._tracing,
            lifespan=self._lifespan,
        )
        self._http = HttpServer(
            http_config(app, settings),
            on_stop=self._on_stop,
            on_close=self._context.drain.close,
            on_deadline=self._on_deadline,
            linger_seconds=settings.shutdown_delay,
            drain_seconds=settings.shutdown_timeout,
        )

    def run(self) -> int:
        """Serve until a signal, or until the engine can't be started."""
        if self._keys.is_empty and any(is_exposed(sock) for sock in self._sockets):
            logger.warning("anybody who reaches this machine may use the server: set --api-key")
        try:
            self._http.run(list(self._sockets))
        finally:
            if self._audit is not None:
                self._audit.close()
            if self._tracing is not None:
                self._tracing.close()
        return self._exit_code

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        await self._process.start()
        announcer = asyncio.create_task(self._announce(), name="announce the model")
        await asyncio.to_thread(sandbox.start)
        try:
            yield
        finally:
            announcer.cancel()
            sandbox.close()
            await self._process.stop()

    async def _announce(self) -> None:
        """Say when the model is there; stop the server if it can't be loaded."""
        tls = self._settings.ssl_key_file is not None
        urls = ", ".join(url_of(sock, tls=tls) for sock in self._sockets)
        logger.info("listening on %s, loading the model", urls)
        try:
            model = await self._client.wait_loaded()
        except ApiError as error:
            logger.error("%s", error)
            self._exit_code = 1
            self._http.should_exit = True
            return
        logger.info(
            "ready: %s (%s), %.1f M parameters, %d slots of %d tokens",
            self._context.model_name,
            model.file_type,
            model.n_params / 1e6,
            model.n_slots,
            model.n_ctx_slot,
        )

    def _reload(self) -> None:
        """Read the keys again and reopen the audit log; what is broken leaves the old keys."""
        try:
            self._keys.replace(read_keys(self._settings), time.monotonic())
            logger.info("reloaded: %d keys", len(self._keys))
        except ConfigError as error:
            logger.error("the keys stay as they were: %s", error)
        if self._audit is not None:
            self._audit.reopen()

    def _on_deadline(self) -> None:
        logger.warning("ending %d answers that are still running", len(self._client.streams))
        self._client.end_streams(Unavailable("the server is stopping; this answer is cut short"))

    def _on_stop(self) -> None:
        self._context.drain.begin()
        logger.info("stopping: running requests are finished first")


def _open_audit_log(settings: ServeSettings, tokenizer: LlamaTokenizer) -> AuditLog | None:
    if settings.audit_log is None:
        return None

    def text(prompt: Sequence[int]) -> str:
        return tokenizer.text(prompt, special=True)

    return AuditLog(settings.audit_log, text if settings.audit_log_prompts else None)


def _load_template(settings: ServeSettings, tokenizer: LlamaTokenizer) -> ChatTemplate:
    return load(
        tokenizer,
        override=file_settings.chat_template(settings),
        variables=_template_variables(settings),
    )


def _template_variables(settings: ServeSettings) -> dict[str, object]:
    """Those of all chats; what is given by its name counts."""
    effort = None if settings.reasoning_effort == "default" else settings.reasoning_effort
    switch = {} if settings.reasoning == "auto" else {"enable_thinking": settings.reasoning == "on"}
    return {**effort_variables(effort), **switch, **settings.chat_template_kwargs}
