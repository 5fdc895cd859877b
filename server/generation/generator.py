"""The generator that the server runs: sequences on the engine, tokens made into text."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from server.engine.client import EngineClient
from server.errors import ContextExceeded, NotSupported
from server.generation.admission import Admission
from server.generation.answer import Answer
from server.generation.deadlines import NO_DEADLINES, Deadlines
from server.generation.queue_places import QueuePlaces
from server.generation.types import GenerationRequest, Item
from server.model.tokenizer import Tokenizer


class EngineGenerator:
    """Implements `generation.Generator` on an `EngineClient`."""

    def __init__(
        self,
        client: EngineClient,
        tokenizer: Tokenizer,
        admission: Admission,
        deadlines: Deadlines = NO_DEADLINES,
    ) -> None:
        self._client = client
        self._tokenizer = tokenizer
        self._admission = admission
        self._deadlines = deadlines
        self._places = QueuePlaces()

    @asynccontextmanager
    async def open(self, request: GenerationRequest) -> AsyncIterator[AsyncIterator[Item]]:
        """Submit a sequence and stream its items; leaving the block early aborts it."""
        self._admit(request)
        stream = self._client.add_request(request.spec, len(self._places))
        timers = self._deadlines.watch(stream, self._retry_after)
        try:
            n_ctx = self._client.model.n_ctx_slot
            yield Answer(request, self._tokenizer, n_ctx).items(stream)
        finally:
            for timer in timers:
                timer.cancel()
            self._client.release(stream)
            self._admission.finished(time.monotonic())

    @contextmanager
    def enter_queue(self, tenant: str) -> Iterator[None]:
        """Hold a place for a request while it is read. Entering raises `Overloaded`."""
        self._check_room(tenant, num_tokens=0)
        with self._places.hold(tenant):
            yield

    def _admit(self, request: GenerationRequest) -> None:
        """Raise what refuses a request before it is queued."""
        model = self._client.model
        if not (request.spec.embedding or model.can_generate):
            raise NotSupported("this model computes embeddings only")
        if len(request.spec.prompt) >= model.n_ctx_slot + request.spec.embedding:
            raise ContextExceeded(len(request.spec.prompt), model.n_ctx_slot)
        holds_place = self._places.redeem()
        self._check_room(request.spec.tenant, len(request.spec.prompt), holds_place=holds_place)

    def _check_room(self, tenant: str, num_tokens: int, *, holds_place: bool = False) -> None:
        client = self._client
        waits = client.has_waiting(tenant) or self._places.has(tenant)
        self._admission.check(
            num_tokens,
            in_flight=client.num_sequences + len(self._places),
            n_slots=client.model.n_slots,
            queued_tokens=client.num_queued_tokens,
            now=time.monotonic(),
            is_first=bool(tenant) and not waits,
            holds_place=holds_place,
        )

    def _retry_after(self) -> int:
        """Seconds after which who has waited too long should come back."""
        waiting = self._client.num_sequences - self._client.model.n_slots
        return self._admission.retry_after(waiting, time.monotonic())
