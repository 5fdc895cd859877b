"""One answer while it grows: the engine's events in, text and counts out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator

from protocol.context_window import Window
from protocol.events import (
    EmbeddedEvent,
    Finished,
    FinishReason,
    Generated,
    Prefilled,
    Scored,
    Started,
    TokenLogprobs,
)
from server.engine.sequence_stream import SequenceStream, TimedEvent
from server.generation.content_places import ContentTokens
from server.generation.content_reader import ContentReader
from server.generation.detokenizer import Detokenizer, Released, Span
from server.generation.indented_text import IndentedText
from server.generation.joined_items import joined, joined_events
from server.generation.types import (
    CacheInfo,
    EmbeddingItem,
    Ended,
    GeneratedToken,
    GenerationRequest,
    Item,
    Progress,
    PromptScores,
    StopCause,
    TextDelta,
    Timings,
)
from server.model.tokenizer import Tokenizer
from server.parsers.events import AnswerEvent

logger = logging.getLogger(__name__)

TURN_SECONDS = 0.01
"""An answer whose text is there already lets other tasks run this often."""

STOP_CAUSES = {
    FinishReason.STOP: StopCause.EOS,
    FinishReason.MAX_TOKENS: StopCause.LIMIT,
    FinishReason.CONTEXT_FULL: StopCause.LIMIT,
    FinishReason.EMBEDDED: StopCause.EOS,  # the answer is complete, as in vLLM
    FinishReason.ABORTED: StopCause.NONE,
}


class _News:
    """What the tokens of one event of the engine released."""

    def __init__(self) -> None:
        self.text = ""
        self.events: list[AnswerEvent] = []
        self.content: list[Span] = []

    def add(self, released: Released) -> None:
        """Add what the next token released."""
        self.text += released.text
        self.events += released.events
        self.content += released.content


class Answer:
    """What is known of one answer while it grows."""

    def __init__(self, request: GenerationRequest, tokenizer: Tokenizer, n_ctx: int) -> None:
        self._request = request
        self._tokenizer = tokenizer
        self._n_ctx = n_ctx
        self._reader = _reader(request)
        self._content_tokens = ContentTokens()
        self._pending: list[tuple[int, GeneratedToken]] = []
        """Tokens to hand out, each with the place in the text where its own text begins."""
        self._slot = -1
        self._num_cached = 0
        self._cache: CacheInfo | None = None
        self._num_scored = 0
        self._num_generated = 0
        self._num_drafted = 0
        self._num_accepted = 0
        self._end_token: GeneratedToken | None = None
        self._start = 0.0
        self._first = 0.0
        self._last = 0.0

    async def items(self, stream: SequenceStream) -> AsyncIterator[Item]:
        """Items until the end; the last one is `Ended`. What is there already comes at once."""
        while True:
            events = await stream.events()
            begin = time.monotonic()
            for item in joined(self._taken(events)):
                if isinstance(item, Ended):
                    stream.has_enough = True
                    yield item
                    return
                yield item
                if time.monotonic() - begin > TURN_SECONDS:
                    await asyncio.sleep(0)
                    begin = time.monotonic()

    def _taken(self, events: Iterable[TimedEvent]) -> Iterator[Item]:
        """The items of events, up to the last one that counts."""
        for timed in events:
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
                self._note_lookup(event)
                return self._progress(event.num_cached_tokens, timed.begin)
            case Prefilled() as event:
                return self._progress(event.num_computed_tokens, timed.end)
            case Scored() as event:
                return self._scored(event)
            case EmbeddedEvent() as event:
                return [EmbeddingItem(event.vectors)]

    def _note_lookup(self, event: Started) -> None:
        """Keep and log what the search of the cache came to, if the request asks for that."""
        lookup, prompt = event.lookup, self._request.spec.prompt
        if lookup is None or not self._request.report_cache:
            return
        parting = None
        if lookup.num_shared < len(prompt):
            token = prompt[lookup.num_shared]
            piece = self._tokenizer.piece(token, special=True)
            parting = GeneratedToken(token, piece, None)
        self._cache = CacheInfo(lookup, parting)
        logger.info(
            "cache: slot %d has %d of %d prompt tokens (%s%s); a candidate shares %d: %s",
            event.slot,
            lookup.num_reused,
            len(prompt),
            lookup.tier.value,
            ", by a checkpoint" if lookup.has_checkpoint else "",
            lookup.num_shared,
            lookup.result.value,
        )

    def _scored(self, event: Scored) -> list[Item]:
        """Scores that are new: an engine may report tokens of the prompt again."""
        num_known = self._num_scored - (event.start - 1)
        new = event.logprobs[num_known:]
        self._num_scored += len(new)
        return [PromptScores(tuple(new))] if new else []

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
        news = _News()
        for index, token in enumerate(event.tokens):
            self._num_generated += 1
            logprobs = event.logprobs[index] if event.logprobs else None
            if token in self._tokenizer.end_tokens:
                self._end_token = GeneratedToken(token, self._tokenizer.piece(token), logprobs)
                continue
            released = self._read(token, logprobs)
            news.add(released)
            if released.stopping_word:
                self._drop_stopping_tokens()
                return [*self._delta(news), self._ended(StopCause.WORD, released.stopping_word)]
            if released.is_outdented:
                self._drop_stopping_tokens()
                return [*self._delta(news), self._ended(StopCause.LIMIT)]
        if "\n" in news.text and self._is_out_of_time(now):
            return self._end(StopCause.LIMIT, news)
        return self._delta(news) if news.text else []

    def _read(self, token: int, logprobs: TokenLogprobs | None) -> Released:
        piece = self._tokenizer.piece(token, special=token in self._request.visible_tokens)
        generated = GeneratedToken(token, piece, logprobs)
        start = self._reader.num_received
        self._pending.append((start, generated))
        released = self._reader.feed(piece)
        if logprobs is not None and self._request.make_parser:
            self._content_tokens.add(generated, start, self._reader.num_received)
        return released

    def _is_out_of_time(self, now: float) -> bool:
        """Whether the answer should end with the line that it is in."""
        limit = self._request.max_seconds
        return limit is not None and now - self._first > limit

    def _drop_stopping_tokens(self) -> None:
        """Keep the pending tokens in which released text begins; drop those of the stop string."""
        end = self._reader.num_released
        self._pending = [(start, token) for start, token in self._pending if start < end]

    def _delta(self, news: _News) -> list[Item]:
        """The news, with the tokens in which released text begins."""
        end = self._reader.num_released
        count = next((i for i, (start, _) in enumerate(self._pending) if start >= end), None)
        return self._delta_with(news, count)

    def _delta_with(self, news: _News, count: int | None) -> list[Item]:
        """The news, with this number of pending tokens; None means all."""
        tokens = tuple([token for _, token in self._pending[:count]])
        self._pending = [] if count is None else self._pending[count:]
        if not (news.text or news.events or tokens):
            return []
        content = tuple(self._content_tokens.take(news.content))
        events = joined_events(news.events)
        return [TextDelta(news.text, tokens, self._slot, self._timings(), events, content)]

    def _finished(self, event: Finished, now: float) -> list[Item]:
        if self._start and not self._first:  # nothing was to be generated
            self._first = self._last = now
        return self._end(STOP_CAUSES[event.reason])

    def _end(self, cause: StopCause, news: _News | None = None) -> list[Item]:
        """The last items: the news, then what was held back as a possible stop string."""
        news = news or _News()
        rest = self._reader.finish()
        news.add(rest)
        if rest.stopping_word:
            self._drop_stopping_tokens()
            cause = StopCause.WORD
        return [*self._delta_with(news, None), self._ended(cause, rest.stopping_word)]

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
            num_cells=self._num_cells(num_tokens),
            timings=self._timings(),
        )

    def _num_cells(self, num_tokens: int) -> int:
        """The cells that the sequence has used to the end. Its last token was sampled, but not
        computed, and a context shift has discarded others."""
        shift = self._request.spec.context_shift
        num_computed = num_tokens - (self._num_generated > 0)
        if shift is None:
            return num_computed
        return num_computed - Window.of(shift, self._n_ctx).num_discarded(num_computed)

    def _timings(self) -> Timings:
        return Timings(
            cache_n=self._num_cached,
            prompt_n=len(self._request.spec.prompt) - self._num_cached,
            prompt_ms=(self._first - self._start) * 1000 if self._first else 0.0,
            predicted_n=self._num_generated,
            predicted_ms=(self._last - self._first) * 1000,
            draft_n=self._num_drafted,
            draft_n_accepted=self._num_accepted,
            cache=self._cache,
        )


def _reader(request: GenerationRequest) -> Detokenizer | ContentReader:
    """What makes the text of the answer."""
    if request.make_parser is None:
        if request.min_indent:
            return IndentedText(request.min_indent, request.stop)
        return Detokenizer(request.stop)
    return ContentReader(request.make_parser(), request.stop)
