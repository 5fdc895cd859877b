"""What happens to one sequence, as the engine reports it."""

from __future__ import annotations

import enum

import msgspec


class FinishReason(enum.StrEnum):
    """Why a sequence ended."""

    STOP = "stop"
    """The model produced an end-of-generation token, which is the answer's last token."""
    MAX_TOKENS = "max_tokens"
    CONTEXT_FULL = "context_full"
    EMBEDDED = "embedded"
    """What was asked for was an embedding, and it was computed."""
    ABORTED = "aborted"
    FAILED = "failed"


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True):
    """Natural log-probability of a sampled token, and of the best alternatives, best first."""

    logprob: float
    top: list[tuple[int, float]]


class Started(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The sequence got a slot, of whose cache it reuses `num_cached_tokens`."""

    request_id: int
    slot: int
    num_cached_tokens: int


class Prefilled(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """`num_computed_tokens` of the prompt are in the cache now (sent with `report_progress`)."""

    request_id: int
    num_computed_tokens: int


class Generated(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """New tokens of the answer, with as many log-probabilities, or none if not asked for."""

    request_id: int
    tokens: list[int]
    logprobs: list[TokenLogprobs]
    num_draft_tokens: int = 0
    """Tokens that were guessed for this step, right or wrong."""
    num_accepted_tokens: int = 0
    """Those of them that were right: they are among `tokens`."""


class EmbeddedEvent(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The embedding of a prompt: 32-bit floats in the machine's order, one vector, or without
    pooling one for each token, one after the other."""

    request_id: int
    vectors: bytes


class Finished(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The terminal event; `message` says what went wrong when the reason is `FAILED`."""

    request_id: int
    reason: FinishReason
    message: str = ""


Event = Started | Prefilled | Generated | EmbeddedEvent | Finished
