"""The samplers of all sequences, and the masks that some of them wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

from msgspec.structs import replace

from grammars.constraint import ThinkingConstraint
from protocol.commands import AddRequest
from scheduler.backends.base import Backend, Preparation, SamplerError, TooComplex
from scheduler.core.results import Result, SampledRun, SampleFailed, ScoredPrompt
from scheduler.core.sampler import HELD, Sampler
from scheduler.core.step import Chunk
from scheduler.engine.constraint_time import ConstraintTime
from scheduler.engine.mask_group import MaskGroup
from scheduler.engine.mask_threads import Mask, Masks, MaskThreads
from scheduler.engine.sampling_run import SamplingPlan, SamplingRun
from scheduler.engine.sampling_threads import SamplingThreads, Task

LateResult = tuple[Chunk, SampledRun | SampleFailed]
"""A chunk of an earlier step, and what was sampled after it."""

IDLE_SECONDS = 0.005
"""An engine that has nothing to do but to wait for masks looks this often for commands."""

REPLAY_SECONDS = 0.01
"""Processor time of one step in which constraints read the answers so far of resumed sequences."""

REST = 3.0
"""After sampling with a slow constraint, the engine does other things for this many times as
long."""


@dataclass(slots=True)
class _Constrained:
    """What is known of a sequence with a constraint."""

    group: MaskGroup
    time: ConstraintTime = field(default_factory=ConstraintTime)
    mask: Mask | None = None
    """The mask in the making."""


class Samplers:
    """Makes a sampler for each sequence that generates, and frees it when the sequence ends.

    A step does not wait for the mask of one sequence. Its sampler then holds a row of logits, and
    the sequence is late: it sits out the next steps, until the mask is there.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Callable[[], float],
        masks: Masks | None = None,
        num_threads: int = 1,
    ) -> None:
        """`clock` counts seconds. `masks` computes masks, by default in threads. `num_threads`
        sample, with the calling one."""
        self._backend = backend
        self._clock = clock
        self._end_tokens = backend.end_tokens
        self._masks = MaskThreads() if masks is None else masks
        self._threads = SamplingThreads(num_threads - 1)
        self._lock = Lock()
        """Held to change what the constraints of all sequences have taken together."""
        self._mask_seconds = 0.0
        self._constrained: dict[int, _Constrained] = {}
        self._groups: dict[object, MaskGroup] = {}
        """By constraint."""
        self._late: dict[int, SamplingRun] = {}
        self._rest_until = 0.0
        """Until then no slow constraint keeps the engine's thread, if others need it."""
        self._replay_left = REPLAY_SECONDS
        """Seconds of this step that are left for replaying."""
        self.by_request: dict[int, Sampler] = {}
        self._surveying: set[int] = set()
        """Requests of whose rows the likeliest tokens are looked for together."""

    def add(self, request: AddRequest, prepared: Preparation | None = None) -> None:
        """Make the sampler of a sequence, out of what was prepared. Raises `SamplerError`."""
        sampler = self._backend.sampler(request, prepared)
        self.by_request[request.request_id] = sampler
        if sampler.num_candidates:
            self._surveying.add(request.request_id)
        if sampler.is_constrained:
            self._constrained[request.request_id] = _Constrained(self._join_group(request))

    def _join_group(self, request: AddRequest) -> MaskGroup:
        """The group of the sequences that share an automaton: what follows thinking is shared."""
        constraint = request.spec.constraint
        if isinstance(constraint, ThinkingConstraint) and constraint.constraint is not None:
            constraint = constraint.constraint
        used = ((key, it) for key, it in self._groups.items() if it.num_members or it.is_busy)
        self._groups = dict(used)
        group = self._groups.setdefault(constraint or request.request_id, MaskGroup())
        group.num_members += 1
        return group

    def remove(self, request_id: int) -> None:
        """Free the sampler of a sequence that ended; it may never have had one."""
        self._late.pop(request_id, None)
        constrained = self._constrained.pop(request_id, None)
        if constrained is not None:
            constrained.group.num_members -= 1
            if constrained.mask is not None:
                constrained.mask.cancel()
        self._surveying.discard(request_id)
        sampler = self.by_request.pop(request_id, None)
        if sampler is not None:
            sampler.close()

    def close(self) -> None:
        """End the threads, and free all samplers."""
        self._masks.close()
        self._threads.close()
        for request_id in list(self.by_request):
            self.remove(request_id)

    # --- masks ---

    def start_masks(self, chunks: Iterable[Chunk]) -> None:
        """Let the constraints of sequences compute their masks while the batch is computed."""
        for chunk in chunks:
            request_id = chunk.sequence.request_id
            constrained = self._constrained.get(request_id)
            if constrained is None or not chunk.wants_logits or constrained.mask is not None:
                continue
            # The first mask of all of them is the same, and may be a verdict.
            group = constrained.group
            if (group.is_busy or group.verdict) and self._is_at_begin(request_id):
                continue
            if self.by_request[request_id].wants_mask:
                self._start_mask(request_id)

    def may_draft(self, chunk: Chunk) -> bool:
        """Whether a draft is cheap to check. A slow constraint takes long for each of its tokens,
        and nothing else can be done meanwhile."""
        constrained = self._constrained.get(chunk.sequence.request_id)
        if constrained is None:
            return True
        if self.by_request[chunk.sequence.request_id].is_replaying:
            return False
        known = constrained.time
        is_slow = known.has_slow_masks or known.has_slow_samples
        return not (is_slow or constrained.group.is_busy)

    def take_mask_seconds(self) -> float:
        """Processor time of the masks that became ready since the last call."""
        with self._lock:
            seconds, self._mask_seconds = self._mask_seconds, 0.0
        return seconds

    def _start_mask(self, request_id: int) -> None:
        constrained = self._constrained[request_id]
        prepare = self.by_request[request_id].prepare
        is_slow = constrained.time.has_slow_masks
        constrained.mask = self._masks.start(prepare, is_slow=is_slow)
        constrained.group.add(constrained.mask, is_slow=is_slow)

    def _make_mask(self, request_id: int) -> None:
        """Compute a mask that turned out to be needed: here if it is cheap, else in a thread."""
        known = self._constrained[request_id].time
        if not known.has_cheap_masks:
            self._start_mask(request_id)
            return
        begin = self._masks.clock()
        self.by_request[request_id].prepare()
        self._add_mask(known, self._masks.clock() - begin)

    def _add_mask(self, known: ConstraintTime, seconds: float) -> None:
        known.add_mask(seconds)
        with self._lock:
            self._mask_seconds += seconds

    def _has_mask(self, request_id: int) -> bool:
        """Whether the sampler of a constrained sequence may be used: no mask is in the making.

        Raises `SamplerError` if the mask could not be computed.
        """
        constrained = self._constrained[request_id]
        if constrained.group.is_busy:
            return False
        if constrained.mask is None:
            return True
        mask, constrained.mask = constrained.mask, None
        if error := mask.exception():
            raise SamplerError(f"the constraint failed: {error}")
        self._add_mask(constrained.time, mask.result())
        return True

    # --- samples ---

    def plan(self, chunks: Sequence[Chunk]) -> SamplingPlan:
        """What will be sampled after the chunks of a batch, which need not be computed yet."""
        if chunks[0].sequence.kind.is_embedding:
            return SamplingPlan([])
        runs: list[SamplingRun] = []
        row = 0
        for chunk in chunks:
            row += chunk.num_outputs
            if chunk.wants_logits:
                runs.append(SamplingRun(chunk, row - len(chunk.draft) - 1))
        if not self._surveying:
            return SamplingPlan(runs)
        surveying = [run for run in runs if run.request_id in self._surveying]
        sizes = [self.by_request[run.request_id].num_candidates for run in surveying]
        rows = [row for run in surveying for row in run.rows]
        return SamplingPlan(runs, rows, max(sizes, default=0))

    def sample(
        self, chunks: Sequence[Chunk], plan: SamplingPlan, patience: float
    ) -> dict[int, Result]:
        """Results of the last batch's chunks that have one, by slot; embeddings excepted.

        Masks that are not ready after `patience`, in seconds, make their sequences late. Masks that
        are likely slow are not waited for.
        """
        scored = self._scores(chunks)
        results: dict[int, Result] = {**scored}
        if len(plan.surveyed) > 1:
            self._threads.run(self._backend.survey(plan.surveyed, plan.survey_size))
        for run, sampled in self._finish(plan.runs, patience):
            slot = run.chunk.slot
            results[slot] = replace(scored[slot], run=sampled) if slot in scored else sampled
        return results

    def _scores(self, chunks: Sequence[Chunk]) -> dict[int, ScoredPrompt]:
        """What the chunks that are scored say of their prompts, by slot."""
        scores: dict[int, ScoredPrompt] = {}
        if any(chunk.is_scored for chunk in chunks):
            row = 0
            for chunk in chunks:
                if chunk.is_scored:
                    scores[chunk.slot] = self._score(chunk, row)
                row += chunk.num_outputs
        return scores

    @property
    def has_late(self) -> bool:
        """Whether any sequence is late."""
        return bool(self._late)

    def take_late(self, *, is_alone: bool) -> list[LateResult]:
        """What was sampled for late sequences whose masks have come.

        `is_alone` says that all sequences that run are late, so that waiting costs nobody.
        """
        self._replay_left = REPLAY_SECONDS
        if not self._late:
            return []
        self._late = {id: run for id, run in self._late.items() if run.chunk.sequence.is_late}
        if is_alone:
            self._rest_until = 0.0
            groups = [self._constrained[id].group for id in self._late]
            masks = {mask for group in groups for mask in group.pending}
            if masks and all(group.is_busy for group in groups):
                self._masks.wait(masks, IDLE_SECONDS, for_all=False)
        results: list[LateResult] = []
        for request_id, run in list(self._late.items()):
            result = self._advance(run)
            if result is not None:
                del self._late[request_id]
                results.append((run.chunk, result))
        return results

    def _score(self, chunk: Chunk, row: int) -> ScoredPrompt:
        sampler, sequence = self.by_request[chunk.sequence.request_id], chunk.sequence
        start = chunk.start + 1
        tokens = sequence.tokens[start : min(chunk.stop + 1, sequence.num_prompt_tokens)]
        scores = [sampler.score(row + index, token) for index, token in enumerate(tokens)]
        return ScoredPrompt(start, tuple(scores))

    def _finish(
        self, runs: list[SamplingRun], patience: float
    ) -> Iterable[tuple[SamplingRun, SampledRun | SampleFailed]]:
        """Sample where no mask is missing, and meanwhile let the others' masks come."""
        deadline = self._clock() + patience
        while runs:
            waiting: list[SamplingRun] = []
            for run, result in zip(runs, self._advance_all(runs), strict=True):
                if result is None:
                    waiting.append(run)
                else:
                    yield run, result
            runs = waiting
            if not runs:
                return
            masks = self._cheap_masks(runs)
            seconds = deadline - self._clock()
            if not masks or seconds <= 0:
                break
            self._masks.wait(masks, seconds, for_all=True)
        for run in runs:
            yield run, self._put_off(run)

    def _cheap_masks(self, runs: Iterable[SamplingRun]) -> set[Mask]:
        """The masks that are worth waiting for."""
        groups = {self._constrained[run.request_id].group for run in runs}
        return {mask for group in groups if not group.is_slow for mask in group.pending}

    def _put_off(self, run: SamplingRun) -> SampledRun:
        """What is sampled so far; the rest comes later, from the row that the sampler holds."""
        self.by_request[run.request_id].hold(run.row)
        chunk = replace(run.chunk, draft=(), is_scored=False)
        self._late[run.request_id] = SamplingRun(chunk, HELD)
        return run.so_far(is_late=True)

    def _advance_all(self, runs: list[SamplingRun]) -> list[SampledRun | SampleFailed | None]:
        """`_advance` for each run. Runs that take long go to the threads, if there are several."""
        if self._threads.count == 1 or len(runs) == 1 or not self._has_heavy(runs):
            return [self._advance(run) for run in runs]
        results: list[SampledRun | SampleFailed | None] = [None] * len(runs)

        def advance(indices: list[int]) -> None:
            for index in indices:
                results[index] = self._advance(runs[index])

        turns: dict[object, list[int]] = {}
        for index, run in enumerate(runs):
            turns.setdefault(self._turn(run.request_id), []).append(index)
        light: list[int] = []
        tasks: list[Task] = []
        for indices in turns.values():
            if any(self.by_request[runs[index].request_id].is_heavy for index in indices):
                tasks.append(partial(advance, indices))
            else:
                light += indices
        self._threads.run(tasks, partial(advance, light))
        return results

    def _has_heavy(self, runs: list[SamplingRun]) -> bool:
        return any(self.by_request[run.request_id].is_heavy for run in runs)

    def _turn(self, request_id: int) -> object:
        """What a sequence shares with others, so that one thread samples them in turn."""
        constrained = self._constrained.get(request_id)
        return request_id if constrained is None else constrained.group

    def _advance(self, run: SamplingRun) -> SampledRun | SampleFailed | None:
        """Sample after a chunk, and after each of its draft tokens up to the first wrong one.

        Returns None if a mask has to come first. A sampler that breaks ends its own sequence, not
        the step.
        """
        request_id = run.request_id
        constrained = self._constrained.get(request_id)
        try:
            if constrained is None:
                is_over = run.advance(self.by_request[request_id], self._end_tokens)
            else:
                self._check_verdict(request_id)
                is_over = self._sample_constrained(run)
        except SamplerError as error:
            is_refusal = isinstance(error, TooComplex)
            if constrained is not None and is_refusal and self._is_at_begin(request_id):
                constrained.group.verdict = str(error)
            return SampleFailed(str(error), is_refusal=is_refusal)
        return run.so_far() if is_over else None

    def _check_verdict(self, request_id: int) -> None:
        """Raises `TooComplex` if somebody has found out that the constraint of a sequence lets no
        answer begin."""
        verdict = self._constrained[request_id].group.verdict
        if verdict and self._is_at_begin(request_id):
            raise TooComplex(verdict)

    def _is_at_begin(self, request_id: int) -> bool:
        """Whether the constraint has read nothing of the answer, and has nothing to read."""
        known = self._constrained[request_id].time
        return not known.num_samples and not self.by_request[request_id].is_replaying

    def _sample_constrained(self, run: SamplingRun) -> bool:
        """Sample until the run is over, or until a mask is missing; returns whether it is over.

        A resumed answer is replayed first, in as many steps as that takes. Raises `SamplerError`,
        also if the constraint is too slow.
        """
        request_id = run.request_id
        known = self._constrained[request_id].time
        while self._has_mask(request_id):
            if known.complaint:
                raise TooComplex(known.complaint)
            if known.has_slow_samples and self._clock() < self._rest_until:
                return False
            if self.by_request[request_id].is_replaying:
                if self._replay_left <= 0:
                    return False
                self._replay_one(request_id)
                continue
            count, begin = len(run.samples), self._masks.clock()
            is_over = run.advance(self.by_request[request_id], self._end_tokens, most=1)
            seconds = self._masks.clock() - begin
            if len(run.samples) > count:
                known.add_sample(seconds)
                self._rest(known, seconds)
            if is_over:
                return True
            if len(run.samples) == count:
                self._make_mask(request_id)
        return False

    def _replay_one(self, request_id: int) -> None:
        """Let a constraint read one more token of a resumed answer."""
        known, begin = self._constrained[request_id].time, self._masks.clock()
        self.by_request[request_id].replay()
        seconds = self._masks.clock() - begin
        known.add_sample(seconds)
        self._rest(known, seconds)
        with self._lock:
            self._replay_left -= seconds

    def _rest(self, known: ConstraintTime, seconds: float) -> None:
        if known.has_slow_samples:
            with self._lock:
                self._rest_until = max(self._rest_until, self._clock() + REST * seconds)
