"""Results of a step: one for each chunk that wants logits."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from protocol.events import TokenLogprobs


class Sample(msgspec.Struct, frozen=True):
    """A sampled token, with its log-probabilities if the request wants them."""

    token: int
    logprobs: TokenLogprobs | None = None
    forced: tuple[int, ...] = ()
    """Tokens that must follow by the sequence's constraint; they need no sampling."""


class SampledRun(msgspec.Struct, frozen=True):
    """What was sampled after a chunk, and then after each draft token that was right.

    chunk:    | tokens[start:stop] | draft ......... |
    samples:                     s0  s1  s2            s0 and s1 equal the draft, s2 differs
    cells:    | kept .................... | dropped  |
    """

    samples: tuple[Sample, ...]
    num_accepted: int = 0
    """Draft tokens that were right: equal to the token sampled or forced at their place."""
    is_late: bool = False
    """Whether the token after these is sampled later, because its mask was not there in time.

    The last row's logits are held until then. All of the run's tokens are accepted draft tokens,
    if there are any.
    """

    def tokens(self) -> Iterator[int]:
        """The tokens that the answer grows by, unless one of them ends it."""
        for sample in self.samples:
            yield sample.token
            yield from sample.forced


class EmbeddingResult(msgspec.Struct, frozen=True):
    """The embedding of a sequence, or one for each token of its chunk."""

    vectors: bytes
    """32-bit floats, as `EmbeddedEvent` has them."""


class SampleFailed(msgspec.Struct, frozen=True):
    """No token could be sampled, so the sequence ends."""

    message: str
    is_refusal: bool = False
    """Whether the request asks for too much, rather than the engine being at fault."""


class ScoredPrompt(msgspec.Struct, frozen=True):
    """What the rows of a chunk say of the prompt's next tokens, from position `start` on."""

    start: int
    logprobs: tuple[TokenLogprobs, ...]
    run: SampledRun | SampleFailed | None = None
    """What was sampled after the chunk, if that was wanted."""


Result = SampledRun | EmbeddingResult | SampleFailed | ScoredPrompt
"""The result of a chunk that has one."""
