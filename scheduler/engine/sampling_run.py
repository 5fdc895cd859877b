"""The sampling after one chunk, which can be interrupted where a mask is missing."""

from __future__ import annotations

from collections.abc import Set

import msgspec

from scheduler.core.results import Sample, SampledRun
from scheduler.core.sampler import Sampler
from scheduler.core.step import Chunk


class SamplingRun(msgspec.Struct):
    """What was sampled after a chunk, and after those of its draft tokens that were right."""

    chunk: Chunk
    first_row: int
    """The row after the chunk's last token; rows after its draft tokens follow."""
    samples: list[Sample] = []
    num_accepted: int = 0

    @property
    def request_id(self) -> int:
        """The request whose sampler samples."""
        return self.chunk.sequence.request_id

    @property
    def row(self) -> int:
        """The row from which the next token is sampled."""
        return self.first_row + self.num_accepted

    @property
    def rows(self) -> range:
        """The rows that tokens may be sampled from."""
        return range(self.first_row, self.first_row + 1 + len(self.chunk.draft))

    def so_far(self, *, is_late: bool = False) -> SampledRun:
        """The run as a result."""
        return SampledRun(tuple(self.samples), self.num_accepted, is_late)

    def advance(self, sampler: Sampler, end_tokens: Set[int], most: int = -1) -> bool:
        """Sample up to the first wrong draft token, or `most` tokens.

        Returns whether the run is over. Otherwise a mask is missing, or `most` was reached. Raises
        `SamplerError`.
        """
        while most != 0:
            sample = sampler.sample(self.row)
            if sample is None:
                return False
            self.samples.append(sample)
            most -= 1
            if self._ends_with(sample, end_tokens):
                return True
        return False

    def _ends_with(self, sample: Sample, end_tokens: Set[int]) -> bool:
        """Whether no further row is of use. Counts the draft tokens that equal the sample's."""
        draft = self.chunk.draft
        for token in (sample.token, *sample.forced):
            if self.num_accepted == len(draft) or token != draft[self.num_accepted]:
                return True
            self.num_accepted += 1
            if token in end_tokens:
                return True
        return False


class SamplingPlan(msgspec.Struct, frozen=True):
    """What is sampled after a batch. It can be made before the batch is computed."""

    runs: list[SamplingRun]
    surveyed: list[int] = []
    """Rows whose likeliest tokens are found together; they rise."""
    survey_size: int = 0
    """How many of these tokens each row needs."""
