"""The application on the real generator, client and engine loop; only the model is fake."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from starlette.applications import Starlette

from config import ServeSettings
from server.access.key import ApiKey
from server.access.key_ring import KeyRing
from server.app import create_app
from server.context import ServerContext
from server.engine.client import EngineClient
from server.generation.admission_queue import AdmissionQueue
from server.generation.generator import EngineGenerator
from server.generation.observed_generator import ObservedGenerator
from server.observability.answer_metrics import AnswerMetrics
from server.observability.metrics import ServerMetrics
from server.runtime import SWITCH_SECONDS
from server.templates.chat_template import ChatTemplate
from tests.support.fake_backend import FakeBackend, hashed_token
from tests.support.fake_server import EOS, ByteTokenizer
from tests.support.inprocess import Pair
from tests.support.live import DEADLINE, serving


def letter(tokens: list[int]) -> int:
    """The next token of a fake model that writes small letters."""
    return 97 + hashed_token(tokens) % 26


class LetterBackend(FakeBackend):
    """A fake backend whose tokens are bytes, as `ByteTokenizer` reads them."""

    @property
    def end_tokens(self) -> frozenset[int]:
        return frozenset((EOS,))


def letter_backend() -> LetterBackend:
    """Two slots of 512 tokens."""
    return LetterBackend(n_slots=2, n_ctx_slot=512, n_vocab=259, next_token=letter)


@dataclass
class Live:
    """A running server and its engine."""

    app: Starlette
    client: httpx.Client
    pair: Pair
    loop: asyncio.AbstractEventLoop

    def call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the server's event loop."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE)

    def complete(self, prompt: str, **fields: Any) -> httpx.Response:
        return self.client.post("/completion", json={"prompt": prompt, "temperature": 0, **fields})

    def is_idle(self) -> bool:
        return not self.pair.engine.has_work and not self.pair.client.streams


@contextmanager
def live_server(
    make_backend: Callable[[], FakeBackend],
    settings: ServeSettings | None = None,
    *,
    keys: Sequence[ApiKey] | KeyRing = (),
    is_local: bool = False,
    cache_bytes: int = 0,
    client_seconds: float = DEADLINE,
) -> Iterator[Live]:
    """A server whose engine has `cache_bytes` of host memory; it stops when the block ends."""
    started: list[tuple[Pair, asyncio.AbstractEventLoop]] = []
    pair = Pair(make_backend, cache_bytes=cache_bytes)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await pair.start_engine()
        started.append((pair, asyncio.get_running_loop()))
        try:
            yield
        finally:
            await pair.stop()

    settings = settings or ServeSettings()
    context = _context(pair, settings)
    ring = keys if isinstance(keys, KeyRing) else KeyRing(keys)
    app = create_app(context, keys=ring, lifespan=lifespan, is_local=is_local)
    with (
        _quick_switches(),
        serving(app, settings) as url,
        httpx.Client(base_url=url, timeout=client_seconds) as client,
    ):
        yield Live(app, client, *started[0])


@contextmanager
def _quick_switches() -> Iterator[None]:
    """Threads take turns as in a server, whose engine is not one of them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _context(pair: Pair, settings: ServeSettings) -> ServerContext:
    metrics = ServerMetrics("fake", 100)
    pair.client = EngineClient(metrics.observe_step, metrics.observe_death)
    tokenizer = ByteTokenizer()
    generator = EngineGenerator(pair.client, tokenizer, AdmissionQueue(max_queue=100))
    return ServerContext(
        settings=settings,
        model_name="fake",
        model_path="fake.gguf",
        tokenizer=tokenizer,
        generator=ObservedGenerator(generator, [partial(AnswerMetrics, metrics)]),
        engine=pair.client,
        metrics=metrics,
        chat_template=ChatTemplate(),
    )
