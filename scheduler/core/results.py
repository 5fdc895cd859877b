"""What a step yields for each of its chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from protocol.events import TokenLogprobs


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled token, with its log-probabilities if they were asked for."""

    token: int
    logprobs: TokenLogprobs | None = None
    forced: tuple[int, ...] = ()
    """Tokens that must follow by the sequence's constraint, and need no sampling."""


@dataclass(frozen=True, slots=True)
class SampledRun:
    """What was sampled after a chunk: at its end, and then behind each guess that was right.

    chunk:    | tokens[start:stop] | draft ......... |
    samples:                     s0  s1  s2            s0 and s1 are what was guessed, s2 isn't
    cells:    | kept .................... | dropped  |
    """

    samples: tuple[Sample, ...]
    num_accepted: int = 0
    """Guesses that were right, each equal to what was sampled or forced there."""

    def tokens(self) -> Iterator[int]:
        """All that the answer grows by, unless it ends before."""
        for sample in self.samples:
            yield sample.token
            yield from sample.forced


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """What was computed for a chunk whose sequence asks for an embedding."""

    vectors: bytes


@dataclass(frozen=True, slots=True)
class SampleFailed:
    """No token could be sampled for a sequence, which therefore ends."""

    message: str


Result = SampledRun | EmbeddingResult | SampleFailed
"""What came of a chunk that wants logits."""
