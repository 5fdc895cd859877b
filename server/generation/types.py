"""The types of a generation: what every dialect asks for, and the items that it gets."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from protocol.cache_lookup import CacheLookup
from protocol.commands import SequenceSpec
from protocol.events import TokenLogprobs
from server.engine.sequence_stream import NO_HANDLE, Handle
from server.parsers.events import AnswerEvent, AnswerParser

MAX_PRIORITY = 1000
"""Priorities lie between this number and its negative; higher priorities are served first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One sequence to generate, and how its tokens become text; validated at the edge."""

    spec: SequenceSpec
    """What the engine gets."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer; the text ends before the first of them. With a parser, the
    content does."""
    make_parser: Callable[[], AnswerParser] | None = None
    """Makes the parser that reads the answer, where its text is more than content."""
    max_seconds: float | None = None
    """The answer ends at the first line break that comes this long after its first token."""
    min_indent: int = 0
    """The answer ends at the first line with fewer blanks at its beginning, where no parser reads
    it."""
    handle: Handle = NO_HANDLE
    """By what its client can act on it while it runs."""
    report_cache: bool = False
    """Whether timings tell what the search of the cache came to, and the log too."""
    visible_tokens: frozenset[int] = frozenset()
    """Control tokens that are part of the text, because the dialect parses them."""

    def with_spec(self, **fields: Any) -> GenerationRequest:
        """The same request with other fields of its sequence."""
        return replace(self, spec=msgspec.structs.replace(self.spec, **fields))


class StopCause(enum.StrEnum):
    """Why the text ends, in llama-server's words (`stop_type`)."""

    EOS = "eos"
    LIMIT = "limit"
    WORD = "word"
    NONE = "none"


# Items are structs of msgspec: they are made for every token, and cost less than dataclasses.


class Timings(msgspec.Struct, frozen=True):
    """Counts of tokens and milliseconds of one sequence, from its slot's assignment on."""

    cache_n: int
    prompt_n: int
    """Prompt tokens computed, without the cached ones."""
    prompt_ms: float
    predicted_n: int
    predicted_ms: float
    draft_n: int = 0
    """Draft tokens that were verified."""
    draft_n_accepted: int = 0
    """Draft tokens that were accepted."""
    cache: CacheInfo | None = None
    """Only with `report_cache`."""


class GeneratedToken(msgspec.Struct, frozen=True):
    """A token of the answer, with the bytes that it stands for."""

    id: int
    piece: bytes
    logprobs: TokenLogprobs | None


class CacheInfo(msgspec.Struct, frozen=True):
    """What the cache had of the prompt (only with `report_cache`)."""

    lookup: CacheLookup
    parting: GeneratedToken | None
    """The first token of the prompt that the best candidate has not, if there is one."""


class Progress(msgspec.Struct, frozen=True):
    """The prompt is being computed (only with `report_progress`)."""

    total: int
    cache: int
    processed: int
    time_ms: float


class PromptScores(msgspec.Struct, frozen=True):
    """Log-probabilities of the next tokens of the prompt, without its first token (only with
    `score_prompt`)."""

    logprobs: tuple[TokenLogprobs, ...]


class TextDelta(msgspec.Struct, frozen=True):
    """New text, valid UTF-8 and free of stop strings, and the tokens that it came from.

    If the request has a parser, the text is all that the model wrote. What the client should see
    is in the events then; their content is free of stop strings.
    """

    text: str
    tokens: tuple[GeneratedToken, ...]
    slot: int
    timings: Timings
    events: tuple[AnswerEvent, ...] = ()
    """What the parser made of the text."""
    content_tokens: tuple[GeneratedToken, ...] = ()
    """The tokens with log-probabilities that stand for content among the events."""


class EmbeddingItem(msgspec.Struct, frozen=True):
    """The embedding of the prompt, as the engine sends it."""

    vectors: bytes


class Ended(msgspec.Struct, frozen=True):
    """The last item of every stream that didn't raise."""

    cause: StopCause
    stopping_word: str
    end_token: GeneratedToken | None
    """The token that ended the answer, which is no part of the text; only with `EOS`."""
    truncated: bool
    """Whether the context was full, so that the answer ended or its beginning was forgotten."""
    slot: int
    num_prompt_tokens: int
    num_cells: int
    """How many cells of the slot hold the sequence's tokens at the end."""
    timings: Timings


Item = Progress | PromptScores | TextDelta | EmbeddingItem | Ended


class Generator(Protocol):
    """Runs sequences on the engine; a dialect opens one stream for each choice it owes."""

    def open(self, request: GenerationRequest) -> AbstractAsyncContextManager[AsyncIterator[Item]]:
        """Submit a sequence and stream what it yields; leaving the block early aborts it.

        Entering raises `ContextExceeded`, `Overloaded` or `Unavailable`, before anything is
        queued; iterating raises `EngineFailed` or `Unavailable`.
        """
        ...
