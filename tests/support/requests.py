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
    num_requests_being_read: int = 0,
    **fields: Any,
) -> AddRequest:
    """A request for one sequence; `fields` are those of its `SequenceSpec`."""
    fields.setdefault("sampling", SamplingParams())
    return AddRequest(
        request_id=request_id,
        spec=SequenceSpec(prompt=tuple(prompt), **fields),
        resumed=list(resumed),
        num_requests_being_read=num_requests_being_read,
    )
