"""The statistics that go to the API process with every step."""

from __future__ import annotations

from protocol.messages import StepCosts, StepStats
from scheduler.backends.base import Backend
from scheduler.batching.cost_model import StepCost
from scheduler.core.step import Step
from scheduler.engine.samplers import Samplers
from scheduler.engine.step_timer import Phase, StepTimer
from scheduler.policy.scheduler import Scheduler

STEPS_BETWEEN_COSTS = 500
"""Costs change slowly and are long, so most steps don't carry them."""


class StepReporter:
    """Gathers what is known of a step from those who know it."""

    def __init__(
        self,
        backend: Backend,
        scheduler: Scheduler,
        samplers: Samplers,
        cost: StepCost | None,
    ) -> None:
        self._backend = backend
        self._scheduler = scheduler
        self._samplers = samplers
        self._cost = cost
        self._num_steps = 0
        self._num_reused_graphs = backend.num_reused_graphs

    def stats(self, step: Step, timer: StepTimer, send_seconds: float) -> StepStats:
        """What a step did, and the state that it left; once for each step."""
        scheduler, counters, seconds = self._scheduler, step.counters, timer.seconds
        running = scheduler.running
        return StepStats(
            schedule_seconds=seconds[Phase.SCHEDULE],
            draft_seconds=seconds[Phase.DRAFT],
            decode_seconds=seconds[Phase.DECODE],
            sample_seconds=seconds[Phase.LATE] + seconds[Phase.SAMPLE],
            update_seconds=seconds[Phase.UPDATE],
            send_seconds=send_seconds,
            mask_seconds=self._samplers.take_mask_seconds(),
            num_decode_tokens=step.num_decode_tokens,
            num_prefill_tokens=step.num_prefill_tokens,
            num_running=len(running),
            num_prefilling=sum([not sequence.is_decoding for sequence in running]),
            num_waiting=len(scheduler.waiting),
            num_cache_tokens=scheduler.cache.num_tokens,
            num_running_cache_tokens=scheduler.cache.num_running_tokens,
            num_preempted=counters.num_preempted,
            num_looked_up_tokens=counters.num_looked_up_tokens,
            saved_tokens=counters.saved_tokens,
            lookups=counters.lookups,
            num_drafts=counters.num_drafts,
            num_draft_tokens=counters.num_draft_tokens,
            accepted_by_position=counters.accepted_by_position,
            costs=self._due_costs(),
            num_reused_graphs=self._take_reused_graphs(),
        )

    def _take_reused_graphs(self) -> int:
        before, self._num_reused_graphs = self._num_reused_graphs, self._backend.num_reused_graphs
        return self._num_reused_graphs - before

    def _due_costs(self) -> StepCosts | None:
        """The cost of steps, with the first step and with every 500th after it."""
        self._num_steps += 1
        is_due = self._num_steps % STEPS_BETWEEN_COSTS == 1
        return self._cost.table() if self._cost is not None and is_due else None
