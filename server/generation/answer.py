"""One answer while it grows: the engine's events in, text and counts out."""

from __future__ import annotations

from collections.abc import AsyncIterator

from protocol.events import EmbeddedEvent, Finished, FinishReason, Generated, Prefilled, Started
from server.engine.sequence_stream import SequenceStream, TimedEvent
from server.generation.detokenizer import Detokenizer
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
    FinishReason.EMBEDDED: StopCause.EOS,  # the answer is complete, as in vLLM
    FinishReason.ABORTED: StopCause.NONE,
}


class Answer:
    """What is known of one answer while it grows."""

    def __init__(self, request: GenerationRequest, tokenizer: Tokenizer, n_ctx: int) -> None:
        self._request = request
        self._tokenizer = tokenizer
        self._n_ctx = n_ctx
        self._detokenizer = Detokenizer(request.stop)
        self._pending: list[tuple[int, GeneratedToken]] = []
        """Tokens to hand out, each with the place in the text where its own text begins."""
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
        """Items until the end; the last one is `Ended`."""
        while True:
            for timed in await stream.events():
                for item in self.take(timed):
                    yield item
                    if isinstance(item, Ended):
                        return

    def take(self, timed: TimedEvent) -> list[Item]:
        """The items that an event leads to."""
        match timed.event:
            case Generated() as event:
                return self._generated(event, timed.end)
            case Finished() as event:
                return self._finished(event, timed.end)
            case Started() as event:
                self._slot, self._num_cached = event.slot, event.num_cached_tokens
                self._start = timed.begin
                return self._progress(event.num_cached_tokens, timed.begin)
            case Prefilled() as event:
                return self._progress(event.num_computed_tokens, timed.end)
            case EmbeddedEvent() as event:
                return [EmbeddingItem(event.vectors)]

    def _progress(self, num_computed: int, now: float) -> list[Item]:
        """How much of the prompt the cache holds, if the request asks for that. The first report
        comes before anything is computed."""
        if not self._request.spec.report_progress:
            return []
        progress = Progress(
            total=len(self._request.spec.prompt),
            cache=self._num_cached,
            processed=num_computed,
            time_ms=(now - self._start) * 1000,
        )
        return [progress]

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
        """Keep the pending tokens in which released text begins; drop those of the stop string."""
        end = self._detokenizer.num_released
        self._pending = [(start, token) for start, token in self._pending if start < end]

    def _delta(self, text: str) -> list[Item]:
        if not (text or self._pending):
            return []
        tokens, self._pending = tuple([token for _, token in self._pending]), []
        return [TextDelta(text, tokens, self._slot, self._timings())]

    def _finished(self, event: Finished, now: float) -> list[Item]:
        if self._start and not self._first:  # nothing was to be generated
            self._first = self._last = now
        return self._end(STOP_CAUSES[event.reason])

    def _end(self, cause: StopCause, text: str = "") -> list[Item]:
        """The last items: `text`, then text that was held back as a possible stop string."""
        rest = self._detokenizer.finish()
        if rest.stopping_word:
            self._drop_stopping_tokens()
            cause = StopCause.WORD
        return [*self._delta(text + rest.text), self._ended(cause, rest.stopping_word)]

    def _ended(self, cause: StopCause, word: str = "") -> Ended:
        num_tokens = len(self._request.spec.prompt) + self._num_generated
        can_shift = self._request.spec.context_shift is not None
        return Ended(
            cause=cause,
            stopping_word=word,
            end_token=self._end_token,
            truncated=num_tokens >= self._n_ctx + can_shift,
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
