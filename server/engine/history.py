"""What became of a sequence and when, for those who watch the server."""

from __future__ import annotations

import msgspec

from protocol.cache_lookup import CacheLookup
from server.engine.sequence_stream import SequenceStream

REMEMBERED = 64
"""Sequences that are over and still known."""


class SequenceHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A sequence that waits, runs or is over. Times are monotonic seconds."""

    request_id: int
    tenant: str
    salt: str
    """The salt of its cache scope."""
    is_embedding: bool
    priority: int
    num_prompt_tokens: int
    num_generated_tokens: int
    num_draft_tokens: int
    num_accepted_tokens: int
    queued: float
    """When the API process gave the sequence to the engine."""
    started: float | None
    """When the sequence got its slot."""
    first_token: float | None
    """When the first token of the answer was there."""
    ended: float | None
    slot: int | None
    """The slot that the sequence got first."""
    lookup: CacheLookup | None
    num_deaths: int
    """Deaths of engines that the sequence is blamed for."""
    outcome: str
    """A `FinishReason`, "enough" for an answer that the API process ended, such as at a stop
    string, or "left" if the client did not wait for the end; "" while it isn't over."""


def history_of(
    stream: SequenceStream, ended: float | None = None, outcome: str = ""
) -> SequenceHistory:
    """The history of a stream as it is now."""
    spec, times = stream.request.spec, stream.times
    return SequenceHistory(
        request_id=stream.request.request_id,
        tenant=spec.tenant,
        salt=spec.cache_salt,
        is_embedding=spec.embedding,
        priority=spec.priority,
        num_prompt_tokens=len(spec.prompt),
        num_generated_tokens=len(stream.tokens),
        num_draft_tokens=times.num_draft_tokens,
        num_accepted_tokens=times.num_accepted_tokens,
        queued=times.queued,
        started=times.started,
        first_token=times.first_token,
        ended=ended,
        slot=times.slot,
        lookup=times.lookup,
        num_deaths=stream.num_deaths,
        outcome=outcome,
    )
