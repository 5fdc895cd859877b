"""The generator that the server runs: sequences on the engine, tokens made into text."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from protocol.events import EmbeddedEvent, Finished, FinishReason, Generated, Prefilled, Started
from server.engine.client import EngineClient
from server.engine.sequence_stream import SequenceStream, TimedEvent
from server.errors import ContextExceeded, NotSupported
from server.generation.admission import Admission
from server.generation.deadlines import NO_DEADLINES, Deadlines
from server.generation.detokenizer import Detokenizer
from server.generation.queue_places import QueuePlaces
from server.generation.types import (
    EmbeddingItem,
    Ended,
    GeneratedToken,
    GenerationRequest,
    Item,
    Progress,
    StopCause,
    TextDelta,
    Timings,
)
from server.model.tokenizer import Tokenizer

STOP_CAUSES = {
    FinishReason.STOP: StopCause.EOS,
    FinishReason.MAX_TOKENS: StopCause.LIMIT,
    FinishReason.CONTEXT_FULL: StopCause.LIMIT,
    FinishReason.EMBEDDED: StopCause.EOS,  # complete, as vLLM counts it too
    FinishReason.ABORTED: StopCause.NONE,
}


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
            yield _Answer(request, self._tokenizer, n_ctx).items(stream)
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


class _Answer:
    """What is known of one answer while it grows."""

    def __init__(self, request: GenerationRequest, tokenizer: Tokenizer, n_ctx: int) -> None:
        self._request = request
        self._tokenizer = tokenizer
        self._n_ctx = n_ctx
        self._detokenizer = Detokenizer(request.stop)
        self._pending: list[tuple[int, GeneratedToken]] = []
        """Tokens to hand out, with the place in the text where each one's begins."""
        self._slot = -1
        self._num_cached = 0
        self._num_generated = 0
        self._num_drafted = 0
        self._num_accepted = 0
        self._end_token: int | None = None
        self._start = 0.0
        self._first = 0.0
        self._last = 0.0

    async def items(self, stream: SequenceStream) -> AsyncIterator[Item]:
        """Items until the end; the end is the last one."""
        while True:
            timed = await stream.next()
            for item in self._take(timed):
                yield item
                if isinstance(item, Ended):
                    return

    def _take(self, timed: TimedEvent) -> list[Item]:
        event = timed.event
        if isinstance(event, Generated):
            return self._generated(event, timed.end)
        if isinstance(event, EmbeddedEvent):
            return [EmbeddingItem(event.vectors)]
        if isinstance(event, Finished):
            return self._finished(event, timed.end)
        if isinstance(event, Started):
            self._slot, self._num_cached = event.slot, event.num_cached_tokens
            self._start = timed.begin
            return []
        return [self._progress(event, timed.end)]

    def _progress(self, event: Prefilled, now: float) -> Progress:
        return Progress(
            total=len(self._request.spec.prompt),
            cache=self._num_cached,
            processed=event.num_computed_tokens,
            time_ms=(now - self._start) * 1000,
        )

    def _generated(self, event: Generated, now: float) -> list[Item]:
        self._first = self._first or now
        self._last = now
        self._num_drafted += event.num_draft_tokens
        self._num_accepted += event.num_accepted_tokens
        text = ""
        for index, token in enumerate(event.tokens):
            self._num_generated += 1
            if token in self._tokenizer.end_tokens:
                self._end_token = token
                continue
            piece = self._tokenizer.piece(token, special=token in self._request.visible_tokens)
            logprobs = event.logprobs[index] if event.logprobs else None
            start = self._detokenizer.num_received
            self._pending.append((start, GeneratedToken(token, piece, logprobs)))
            released = self._detokenizer.feed(piece)
            text += released.text
            if released.stopping_word:
                self._drop_stopping_tokens()
                return [*self._delta(text), self._ended(StopCause.WORD, released.stopping_word)]
        if "\n" in text and self._is_out_of_time(now):
            return self._end(StopCause.LIMIT, text)
        return self._delta(text) if text else []

    def _is_out_of_time(self, now: float) -> bool:
        """Whether the answer should end with the line that it is in."""
        limit = self._request.max_seconds
        return limit is not None and now - self._first > limit

    def _drop_stopping_tokens(self) -> None:
        """Keep the pending tokens that released text begins in, not those of the stop string."""
        end = self._detokenizer.num_released
        self._pending = [(start, token) for start, token in self._pending if start < end]

    def _delta(self, text: str) -> list[Item]:
        if not (text or self._pending):
            return []
        tokens, self._pending = tuple(token for _, token in self._pending), []
        return [TextDelta(text, tokens, self._slot, self._timings())]

    def _finished(self, event: Finished, now: float) -> list[Item]:
        if self._start and not self._first:  # nothing was to be generated
            self._first = self._last = now
        return self._end(STOP_CAUSES[event.reason])

    def _end(self, cause: StopCause, text: str = "") -> list[Item]:
        """The last items: `text`, and what was held back because it might have gone on."""
        rest = self._detokenizer.finish()
        if rest.stopping_word:
            self._drop_stopping_tokens()
            cause = StopCause.WORD
        return [*self._delta(text + rest.text), self._ended(cause, rest.stopping_word)]

    def _ended(self, cause: StopCause, word: str = "") -> Ended:
        num_tokens = len(self._request.spec.prompt) + self._num_generated
        return Ended(
            cause=cause,
            stopping_word=word,
            end_token=self._end_token,
            truncated=num_tokens > self._n_ctx,
            slot=self._slot,
            num_prompt_tokens=len(self._request.spec.prompt),
            timings=self._timings(),
        )

    def _timings(self) -> Timings:
        return Timings(
            cache_n=self._num_cached,
            prompt_n=len(self._request.spec.prompt) - self._num_cached,
            prompt_ms=(self._first - self._start) * 1000 if self._first else 0.0,
            predicted_n=self._num_generated,
            predicted_ms=(self._last - self._first) * 1000,
            draft_n=self._num_drafted,
            draft_n_accepted=self._num_accepted,
        )
