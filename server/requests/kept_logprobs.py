"""The bound on the log-probabilities that an answer in one piece keeps until its end."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.commands import UNLIMITED
from server.bodies.bounds import KEPT_LOGPROBS
from server.errors import InvalidRequest
from server.generation.types import GenerationRequest
from server.requests.sampling_fields import SamplingFields


def with_room(
    fields: SamplingFields, sequences: Sequence[GenerationRequest], n_ctx: int
) -> list[GenerationRequest]:
    """The sequences, none of which can keep more than its share of the bound.

    An answer without a limit of its own gets one, if its context would let it grow beyond its
    share. Raises `InvalidRequest` naming `n_predict` if the limit that was asked for is too high,
    and `logprobs` for scored prompts that are too long.
    """
    width = sequences[0].spec.sampling.top_logprobs + 1
    if width <= 0:
        return list(sequences)
    _check_scores(sequences, width)
    if fields.stream:
        return list(sequences)
    room = KEPT_LOGPROBS.most // (width * len(sequences))
    if fields.n_predict is not None and fields.n_predict > room:
        raise InvalidRequest(
            f"'n_predict' must be at most {room} with {len(sequences)} answers and {width - 1} "
            f"alternatives to each token, unless the answer is streamed (got {fields.n_predict})",
            param="n_predict",
        )
    return [_within(sequence, room, n_ctx) for sequence in sequences]


def _within(sequence: GenerationRequest, room: int, n_ctx: int) -> GenerationRequest:
    spec = sequence.spec
    limits = [] if spec.max_tokens == UNLIMITED else [spec.max_tokens]
    if spec.context_shift is None:
        limits.append(n_ctx - len(spec.prompt))
    if min(limits, default=room + 1) <= room:
        return sequence
    return sequence.with_spec(max_tokens=room)


def _check_scores(sequences: Sequence[GenerationRequest], width: int) -> None:
    """A prompt's scores are kept until its end, in streams too."""
    num_scored = sum(len(one.spec.prompt) for one in sequences if one.spec.score_prompt)
    if num_scored * width > KEPT_LOGPROBS.most:
        raise InvalidRequest(
            f"'logprobs' would keep {num_scored * width:,} alternatives to the prompts' tokens, at "
            f"most {KEPT_LOGPROBS.most:,}",
            param="logprobs",
        )
