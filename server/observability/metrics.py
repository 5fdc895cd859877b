"""What the server counts, under its own names; `metric_families` has Prometheus' names.

Counting is plain arithmetic on attributes, because it happens at every step and for every piece
of text. Prometheus' shapes are made only for a scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from protocol.cache_lookup import CacheResult, CacheTier
from protocol.messages import StepCosts, StepStats
from server.errors import ApiError
from server.generation.types import Ended, StopCause, Timings
from server.observability import buckets
from server.observability.gpus import GpuSource, NoGpus
from server.observability.histogram import Histogram
from server.observability.rate import Rate

ANONYMOUS = "anonymous"
"""The name under which requests without a key are counted."""

FINISHED_REASON = {
    StopCause.EOS: "stop",
    StopCause.WORD: "stop",
    StopCause.LIMIT: "length",
    StopCause.NONE: "abort",
}
"""vLLM's words for why an answer ended; "error" is for those that failed."""

# Listed in advance: a counter that appears with its first event hides that event's rate.
REFUSALS = (
    *("invalid_request", "exceed_context_size", "authentication", "permission", "rate_limit"),
    *("queue_full", "queue_tokens", "queue_timeout", "model_wait", "unavailable", "server"),
    *("bodies", "unread_answers"),
)
FAILURES = ("server", "timeout", "queue_timeout", "unavailable", "unread_answers")

PHASES = ("schedule", "draft", "decode", "sample", "update", "send")


@dataclass(slots=True)
class KeyUse:
    """What the requests of one key cost."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """Whose sequence is counted: the name of its key, and the id of its request."""

    key: str = ANONYMOUS
    request_id: str = ""


class ServerMetrics:
    """The counts of one served model since the server's start; times are in seconds."""

    def __init__(self, model_name: str, queue_capacity: int = 0) -> None:
        # A plain list, so that a count is one attribute, one addition and one line to look for.
        self.model_name = model_name
        self.queue_capacity = queue_capacity
        self.engine_pid: Callable[[], int | None] = lambda: None
        """Asked at each scrape, for the memory of the engine process."""
        self.gpus: GpuSource = NoGpus()
        """Asked at each scrape."""
        self.loads = 0
        self.load_failures = 0
        self.unloads = 0
        self.load_seconds = 0.0
        self.num_deaths = 0
        """Times that the engine process died."""
        self.latest: StepStats | None = None
        """The state after the last step of the engine that is alive."""
        self.phase_seconds = dict.fromkeys(PHASES, 0.0)
        self.mask_seconds = 0.0
        self.drafts = 0
        """Drafts that were verified."""
        self.draft_tokens = 0
        self.accepted_by_position: list[int] = []
        """Drafts whose first token was accepted, whose first two tokens were, and so on."""
        self.step_costs = StepCosts({}, {})
        """As the engine last reported them."""
        self.steps = 0
        self.reused_graphs = 0
        """Micro-batches that llama.cpp computed without building their graph again."""
        self.decodes = 0
        self.busy_slots = 0
        """Busy slots, summed over decodes."""
        self.preemptions = 0
        self.looked_up_tokens = 0
        self.saved_tokens = dict.fromkeys(CacheTier, 0)
        self.lookups = dict.fromkeys(CacheResult, 0)
        """Sequences that started, by what the search of the cache came to."""
        self.computed_tokens = 0
        """Prompt tokens that were computed."""
        self.prompt_tokens = 0
        """Prompt tokens of answered requests, cached tokens included."""
        self.cached_tokens = 0
        self.prompt_seconds = 0.0
        self.predicted_tokens = 0
        self.predicted_seconds = 0.0
        self.longest = 0
        """Most tokens, prompt and answer together, that one sequence had."""
        self.prompt_rate = Rate()
        self.predicted_rate = Rate()
        self.finished = Counter(dict.fromkeys(("stop", "length", "abort", "error"), 0))
        self.rejected = Counter(dict.fromkeys(REFUSALS, 0))
        self.failed = Counter(dict.fromkeys(FAILURES, 0))
        self.statuses: Counter[int] = Counter()
        self.keys: dict[str, KeyUse] = {}
        self.time_to_first_token = Histogram(buckets.TIME_TO_FIRST_TOKEN)
        self.inter_token = Histogram(buckets.INTER_TOKEN)
        self.end_to_end = Histogram(buckets.LATENCY)
        self.queue = Histogram(buckets.LATENCY)
        self.prefill = Histogram(buckets.LATENCY)
        self.decode = Histogram(buckets.LATENCY)
        self.inference = Histogram(buckets.LATENCY)
        self.request_prompt_tokens = Histogram(buckets.REQUEST_TOKENS)
        self.request_generation_tokens = Histogram(buckets.REQUEST_TOKENS)
        self.request_max_tokens = Histogram(buckets.REQUEST_TOKENS)
        self.step_tokens = Histogram(buckets.STEP_TOKENS)

    @property
    def num_running(self) -> int:
        """Sequences in a slot."""
        return 0 if self.latest is None else self.latest.num_running

    @property
    def num_waiting(self) -> int:
        """Sequences without a slot."""
        return 0 if self.latest is None else self.latest.num_waiting

    @property
    def accepted_tokens(self) -> int:
        """Draft tokens that were accepted."""
        return sum(self.accepted_by_position)

    def observe_step(self, stats: StepStats) -> None:
        """Count one step of the engine."""
        seconds = self.phase_seconds
        seconds["schedule"] += stats.schedule_seconds
        seconds["draft"] += stats.draft_seconds
        seconds["decode"] += stats.decode_seconds
        seconds["sample"] += stats.sample_seconds
        seconds["update"] += stats.update_seconds
        seconds["send"] += stats.send_seconds
        self.mask_seconds += stats.mask_seconds
        self.steps += 1
        self.reused_graphs += stats.num_reused_graphs
        self.preemptions += stats.num_preempted
        self.looked_up_tokens += stats.num_looked_up_tokens
        for tier, tokens in stats.saved_tokens.items():
            self.saved_tokens[tier] += tokens
        for result, count in stats.lookups.items():
            self.lookups[result] += count
        self._count_drafts(stats)
        self._count_decode(stats)
        self.latest = stats

    def _count_drafts(self, stats: StepStats) -> None:
        self.step_costs = stats.costs or self.step_costs
        if not stats.num_drafts:
            return
        self.drafts += stats.num_drafts
        self.draft_tokens += stats.num_draft_tokens
        accepted = self.accepted_by_position
        accepted += [0] * (len(stats.accepted_by_position) - len(accepted))
        for position, count in enumerate(stats.accepted_by_position):
            accepted[position] += count

    def _count_decode(self, stats: StepStats) -> None:
        tokens = stats.num_decode_tokens + stats.num_prefill_tokens
        if not tokens:
            return
        self.computed_tokens += stats.num_prefill_tokens
        self.decodes += 1
        self.step_tokens.observe(tokens)
        # Sequences that ended with this step are no longer running, but kept a slot busy.
        self.busy_slots += max(stats.num_running, self.num_running)

    def observe_load(self, seconds: float) -> None:
        """The model was loaded, in so many seconds."""
        self.loads += 1
        self.load_seconds += seconds

    def observe_load_failure(self) -> None:
        """The model could not be loaded."""
        self.load_failures += 1

    def observe_unload(self) -> None:
        """The model was unloaded: nothing runs or waits."""
        self.unloads += 1
        self.latest = None

    def observe_death(self) -> None:
        """The engine died: nothing runs or waits until the next engine is up."""
        self.num_deaths += 1
        self.latest = None

    def observe_open(self, source: Source) -> None:
        """A sequence was admitted."""
        self.use(source.key).requests += 1

    def observe_first_token(
        self, seconds: float, timings: Timings, source: Source, now: float
    ) -> None:
        """The first text of an answer came `seconds` after the request was admitted."""
        prompt_seconds = timings.prompt_ms / 1000
        num_prompt = timings.cache_n + timings.prompt_n
        self.prompt_seconds += prompt_seconds
        self.prompt_tokens += num_prompt
        self.cached_tokens += timings.cache_n
        self.prompt_rate.add(timings.prompt_n, prompt_seconds, now)
        # The prompt's step yields the first token: no time of the answer is spent on it.
        self.predicted_rate.add(-min(timings.predicted_n, 1), 0.0, now)
        use = self.use(source.key)
        use.prompt_tokens += num_prompt
        use.cached_tokens += timings.cache_n
        # Text may be held back after the first token.
        queued = seconds - prompt_seconds - timings.predicted_ms / 1000
        self.time_to_first_token.observe(seconds, request_id=source.request_id)
        self.queue.observe(max(queued, 0.0), request_id=source.request_id)
        self.prefill.observe(prompt_seconds, request_id=source.request_id)

    def observe_tokens(
        self, count: int, seconds: float, gap: float | None, source: Source, now: float
    ) -> None:
        """`count` more tokens of an answer after `seconds` of generating.

        They came `gap` seconds after the tokens before; None for the first tokens.
        """
        self.predicted_tokens += count
        self.predicted_seconds += seconds
        self.predicted_rate.add(count, seconds, now)
        self.use(source.key).generated_tokens += count
        if gap is not None and count > 0:
            self.inter_token.observe(gap / count, count, source.request_id)

    def observe_end(self, ended: Ended, seconds: float, source: Source) -> None:
        """An answer is complete, `seconds` after its request was admitted."""
        timings = ended.timings
        decode_seconds = timings.predicted_ms / 1000
        self.finished[FINISHED_REASON[ended.cause]] += 1
        self.longest = max(self.longest, ended.num_prompt_tokens + timings.predicted_n)
        self.end_to_end.observe(seconds, request_id=source.request_id)
        self.decode.observe(decode_seconds, request_id=source.request_id)
        self.inference.observe(
            decode_seconds + timings.prompt_ms / 1000, request_id=source.request_id
        )
        self.request_prompt_tokens.observe(ended.num_prompt_tokens)
        self.request_generation_tokens.observe(timings.predicted_n)

    def observe_abort(self) -> None:
        """The client left before the end of its answer."""
        self.finished["abort"] += 1

    def observe_failure(self, error: Exception) -> None:
        """An answer that had been admitted ended with an error."""
        self.finished["error"] += 1
        self.failed[error.reason if isinstance(error, ApiError) else "server"] += 1

    def observe_rejection(self, error: ApiError) -> None:
        """A request was refused."""
        self.rejected[error.reason] += 1

    def observe_status(self, status: int) -> None:
        """An HTTP request was answered."""
        self.statuses[status] += 1

    def use(self, key: str) -> KeyUse:
        """What the key with this name has used."""
        return self.keys.get(key) or self.keys.setdefault(key, KeyUse())
