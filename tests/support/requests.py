"""Commands as tests write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocol.commands import AddRequest, SequenceSpec
from protocol.sampling import SamplingParams


def add_request(
    request_id: int,
    prompt: Sequence[int],
    *,
    resumed: Sequence[int] = (),
    thinking_ended_at: int | None = None,
    num_requests_being_read: int = 0,
    **fields: Any,
) -> AddRequest:
    """A request for one sequence; `fields` are those of its `SequenceSpec`."""
    fields.setdefault("sampling", SamplingParams())
    return AddRequest(
        request_id=request_id,
        spec=SequenceSpec(prompt=tuple(prompt), **fields),
        resumed=list(resumed),
        thinking_ended_at=thinking_ended_at,
        num_requests_being_read=num_requests_being_read,
    )
