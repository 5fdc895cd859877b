"""Events: what the engine reports about one sequence."""

from __future__ import annotations

import enum

import msgspec

from protocol.cache_lookup import CacheLookup


class FinishReason(enum.StrEnum):
    """Why a sequence ended."""

    STOP = "stop"
    """The model produced an end-of-generation token. It is the last token of the answer."""
    MAX_TOKENS = "max_tokens"
    CONTEXT_FULL = "context_full"
    EMBEDDED = "embedded"
    """The request asked for an embedding, and the embedding is computed."""
    ABORTED = "aborted"
    REFUSED = "refused"
    """The request asks for too much: its constraint is too slow or too complex to go on with."""
    FAILED = "failed"


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True):
    """Natural log-probability of a sampled token, and (token, log-probability) of the best tokens,
    best first."""

    logprob: float
    top: list[tuple[int, float]]


class Started(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The sequence got a slot. It reuses `num_cached_tokens` of its prompt from the cache."""

    request_id: int
    slot: int
    num_cached_tokens: int
    lookup: CacheLookup | None = None
    """What the search of the cache came to."""


class Prefilled(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The cache holds `num_computed_tokens` of the prompt now. Sent if `report_progress` is set."""

    request_id: int
    num_computed_tokens: int


class Scored(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Log-probabilities of the prompt's tokens from position `start` on. Sent if `score_prompt` is
    set. A sequence that lost its slot reports tokens again."""

    request_id: int
    start: int
    logprobs: list[TokenLogprobs]


class Generated(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """New tokens of the answer. `logprobs` has one entry for each token, or is empty if the request
    asked for none."""

    request_id: int
    tokens: list[int]
    logprobs: list[TokenLogprobs]
    num_draft_tokens: int = 0
    """Draft tokens that this step verified, accepted or not."""
    num_accepted_tokens: int = 0
    """Draft tokens that were accepted. They are among `tokens`."""


class EmbeddedEvent(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The embedding of a prompt: 32-bit floats in the byte order of the machine. With pooling it is
    one vector; without pooling it is one vector for each token, one after the other."""

    request_id: int
    vectors: bytes


class Finished(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The last event of a sequence. `message` says what went wrong if the reason is `FAILED`."""

    request_id: int
    reason: FinishReason
    message: str = ""


Event = Started | Prefilled | Scored | Generated | EmbeddedEvent | Finished
