"""The generator that the server runs: sequences on the engine, tokens made into text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from server.engine.client import EngineClient
from server.errors import ContextExceeded, NotSupported
from server.generation.admission_queue import AdmissionQueue, Permit
from server.generation.answer import Answer
from server.generation.deadlines import NO_DEADLINES, Deadlines
from server.generation.types import GenerationRequest, Item
from server.model.tokenizer import Tokenizer


class EngineGenerator:
    """Implements `Generator` on an `EngineClient`."""

    def __init__(
        self,
        client: EngineClient,
        tokenizer: Tokenizer,
        queue: AdmissionQueue,
        deadlines: Deadlines = NO_DEADLINES,
    ) -> None:
        self._client = client
        self._tokenizer = tokenizer
        self._queue = queue
        self._deadlines = deadlines

    @asynccontextmanager
    async def open(self, request: GenerationRequest) -> AsyncIterator[AsyncIterator[Item]]:
        """Submit a sequence and stream its items; leaving the block early aborts it.

        Entering raises `NotSupported`, `ContextExceeded`, `Overloaded` and `Unavailable`;
        iterating raises `EngineFailed`, `Overloaded`, `TimedOut` and `Unavailable`.
        """
        with self._admit(request) as permit:
            stream = self._client.add_request(
                request.spec, self._queue.num_reading, permit, request.handle
            )
            timers = self._deadlines.watch(stream, self._retry_after)
            try:
                n_ctx = self._client.model.n_ctx_slot
                yield Answer(request, self._tokenizer, n_ctx).items(stream)
            finally:
                for timer in timers:
                    timer.cancel()
                self._client.release(stream)

    @contextmanager
    def enter_queue(self, tenant: str) -> Iterator[None]:
        """Hold a place for a request while it is read.

        Entering raises `Overloaded` and `Unavailable`.
        """
        with self._queue.enter(tenant, self._client.model.n_slots):
            yield

    def _admit(self, request: GenerationRequest) -> Permit:
        """Raise what refuses a request before it is queued."""
        model, spec = self._client.model, request.spec
        if not (spec.embedding or model.can_generate):
            raise NotSupported("this model computes embeddings only")
        if len(spec.prompt) >= model.n_ctx_slot + spec.embedding:
            raise ContextExceeded(len(spec.prompt), model.n_ctx_slot)
        return self._queue.admit(spec.tenant, len(spec.prompt), model.n_slots)

    def _retry_after(self) -> int:
        """Seconds after which a request that waited too long should come back."""
        return self._queue.retry_after(self._client.model.n_slots)
