"""The samplers of all sequences, and the thread that computes their masks beside a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from protocol.commands import AddRequest
from scheduler.backends.base import Backend, SamplerError
from scheduler.core.results import Result, Sample, SampledRun, SampleFailed, ScoredPrompt
from scheduler.core.sampler import Sampler
from scheduler.core.step import Chunk


class Samplers:
    """Makes a sampler for each sequence that generates, and frees it when the sequence ends."""

    def __init__(self, backend: Backend, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._clock = clock
        self._end_tokens = backend.end_tokens
        self._mask_thread = ThreadPoolExecutor(1, thread_name_prefix="masks")
        self._mask_seconds = 0.0
        self.by_request: dict[int, Sampler] = {}

    def add(self, request: AddRequest) -> None:
        """Make the sampler of a sequence. Raises `SamplerError`."""
        self.by_request[request.request_id] = self._backend.sampler(request)

    def remove(self, request_id: int) -> None:
        """Free the sampler of a sequence that ended; it may never have had one."""
        sampler = self.by_request.pop(request_id, None)
        if sampler is not None:
            sampler.close()

    def close(self) -> None:
        """Free all samplers, and end the thread."""
        for request_id in list(self.by_request):
            self.remove(request_id)
        self._mask_thread.shutdown()

    def start_masks(self, chunks: Iterable[Chunk]) -> list[Future[None]]:
        """Let the constraints of sequences compute their masks while the batch is computed."""
        found = (self.by_request.get(c.sequence.request_id) for c in chunks if c.wants_logits)
        samplers = [sampler for sampler in found if sampler and sampler.is_constrained]
        return [self._mask_thread.submit(self._compute_mask, sampler) for sampler in samplers]

    def _compute_mask(self, sampler: Sampler) -> None:
        begin = self._clock()
        sampler.prepare()
        self._mask_seconds += self._clock() - begin

    def take_mask_seconds(self) -> float:
        """Time that masks took since the last call. No mask may be in the making."""
        seconds, self._mask_seconds = self._mask_seconds, 0.0
        return seconds

    def result(self, chunk: Chunk, row: int) -> Result:
        """What the rows of a chunk lead to. `row` is the row of the chunk's first logits."""
        if not chunk.is_scored:
            return self.sample(chunk, row)
        sampler, sequence = self.by_request[chunk.sequence.request_id], chunk.sequence
        start = chunk.start + 1
        tokens = sequence.tokens[start : min(chunk.stop + 1, sequence.num_prompt_tokens)]
        scores = [sampler.score(row + index, token) for index, token in enumerate(tokens)]
        last = row + chunk.num_outputs - 1
        run = self.sample(chunk, last) if chunk.wants_logits else None
        return ScoredPrompt(start, tuple(scores), run)

    def sample(self, chunk: Chunk, row: int) -> SampledRun | SampleFailed:
        """Sample after a chunk, and after each of its draft tokens up to the first wrong one.

        `row` is the row of the chunk's first logits. A sampler that breaks ends its own sequence,
        not the step.
        """
        sampler = self.by_request[chunk.sequence.request_id]
        samples: list[Sample] = []
        num_accepted = 0
        try:
            while True:
                sample = sampler.sample(row + num_accepted)
                samples.append(sample)
                for token in (sample.token, *sample.forced):
                    if num_accepted == len(chunk.draft) or token != chunk.draft[num_accepted]:
                        return SampledRun(tuple(samples), num_accepted)
                    num_accepted += 1
                    if token in self._end_tokens:
                        return SampledRun(tuple(samples), num_accepted)
        except SamplerError as error:
            return SampleFailed(str(error))
