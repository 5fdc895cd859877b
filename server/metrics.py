"""What the server counts, in llama-server's, vLLM's and its own names, for Prometheus.

Counting is plain arithmetic on attributes, because it happens at every step and for every piece
of text; the shapes of Prometheus are made only when somebody scrapes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from scheduler.protocol import StepStats
from server.generation import Ended, StopCause, Timings
from server.histogram import Histogram
from server.rate import Rate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# fmt: off
TTFT_BUCKETS = (
    .001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160,
    640, 2560,
)
ITL_BUCKETS = (
    .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
)
LATENCY_BUCKETS = (
    .3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
)
# fmt: on

_FINISHED_REASON = {
    StopCause.EOS: "stop",
    StopCause.WORD: "stop",
    StopCause.LIMIT: "length",
    StopCause.NONE: "abort",
}
"""vLLM's words for why an answer ended."""

PHASES = ("schedule", "decode", "sample", "update", "send")


class ServerMetrics:
    """The counters of one served model since the server's start; times are in seconds."""

    def __init__(self, model_name: str) -> None:
        self._model_name = model_name
        self._phase_seconds = dict.fromkeys(PHASES, 0.0)
        self._steps = 0
        self._decodes = 0
        self._busy_slots = 0
        self._running = 0
        self._waiting = 0
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._prompt_seconds = 0.0
        self._predicted_tokens = 0
        self._predicted_seconds = 0.0
        self._longest = 0
        self._prompt_rate = Rate()
        self._predicted_rate = Rate()
        self._finished: Counter[str] = Counter()
        self._histograms = {
            "time_to_first_token": Histogram(TTFT_BUCKETS),
            "inter_token_latency": Histogram(ITL_BUCKETS),
            "e2e_request_latency": Histogram(LATENCY_BUCKETS),
            "request_queue_time": Histogram(LATENCY_BUCKETS),
        }

    def observe_step(self, stats: StepStats) -> None:
        """Count one step of the engine."""
        seconds = self._phase_seconds
        seconds["schedule"] += stats.schedule_seconds
        seconds["decode"] += stats.decode_seconds
        seconds["sample"] += stats.sample_seconds
        seconds["update"] += stats.update_seconds
        seconds["send"] += stats.send_seconds
        self._steps += 1
        self._prompt_tokens += stats.num_prefill_tokens
        if stats.num_decode_tokens or stats.num_prefill_tokens:
            self._decodes += 1
            # Sequences that ended with this step are no longer running, but kept a slot busy.
            self._busy_slots += max(stats.num_running, self._running)
        self._running = stats.num_running
        self._waiting = stats.num_waiting

    def observe_first_token(self, seconds: float, timings: Timings) -> None:
        """The first text of an answer came `seconds` after the request was admitted."""
        prompt_seconds = timings.prompt_ms / 1000
        self._prompt_seconds += prompt_seconds
        self._cached_tokens += timings.cache_n
        self._prompt_rate.add(timings.prompt_n, prompt_seconds, time.monotonic())
        self._histograms["time_to_first_token"].observe(seconds)
        self._histograms["request_queue_time"].observe(max(seconds - prompt_seconds, 0.0))

    def observe_tokens(self, count: int, seconds: float, gap: float | None) -> None:
        """`count` more tokens of an answer after `seconds` of generating.

        They came `gap` seconds after those before, or are the first if that is None.
        """
        self._predicted_tokens += count
        self._predicted_seconds += seconds
        self._predicted_rate.add(count, seconds, time.monotonic())
        if gap is not None and count > 0:
            self._histograms["inter_token_latency"].observe(gap / count, count)

    def observe_end(self, ended: Ended, seconds: float) -> None:
        """An answer is complete, `seconds` after its request was admitted."""
        self._finished[_FINISHED_REASON[ended.cause]] += 1
        self._longest = max(self._longest, ended.num_prompt_tokens + ended.timings.predicted_n)
        self._histograms["e2e_request_latency"].observe(seconds)

    def observe_idle(self) -> None:
        """The engine is gone: nothing runs or waits any more."""
        self._running = self._waiting = 0

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Snapshot(self))
        return generate_latest(registry)

    def families(self) -> Iterator[Metric]:
        """Everything as metric families."""
        yield from self._llama_counters()
        yield from self._llama_gauges()
        yield from self._vllm_families()
        yield from self._own_families()

    def _llama_counters(self) -> Iterator[Metric]:
        counters = (
            ("prompt_tokens", "Prompt tokens computed.", self._prompt_tokens),
            ("prompt_tokens_cached", "Prompt tokens taken from the cache.", self._cached_tokens),
            ("prompt_seconds", "Time in which prompts were computed.", self._prompt_seconds),
            ("tokens_predicted", "Tokens generated.", self._predicted_tokens),
            (
                "tokens_predicted_seconds",
                "Time in which answers were generated.",
                self._predicted_seconds,
            ),
            ("n_decode", "Calls of llama_decode.", self._decodes),
        )
        for name, text, value in counters:
            yield self._counter(f"llamacpp:{name}", text, value)

    def _llama_gauges(self) -> Iterator[Metric]:
        now = time.monotonic()
        gauges = (
            # A high-water mark: llama-server calls it a counter, but the name has no _total.
            ("n_tokens_max", "Most tokens that one sequence had.", self._longest),
            (
                "prompt_tokens_seconds",
                "Prompt tokens per second, over a minute.",
                self._prompt_rate.per_second(now),
            ),
            (
                "predicted_tokens_seconds",
                "Generated tokens per second of one answer, over a minute.",
                self._predicted_rate.per_second(now),
            ),
            ("requests_processing", "Sequences that have a slot.", self._running),
            ("requests_deferred", "Sequences that wait for one.", self._waiting),
            (
                "n_busy_slots_per_decode",
                "Busy slots per call of llama_decode.",
                self._busy_slots / self._decodes if self._decodes else 0.0,
            ),
        )
        for name, text, value in gauges:
            yield self._gauge(f"llamacpp:{name}", text, value)

    def _vllm_families(self) -> Iterator[Metric]:
        labels = ["model_name"]
        yield self._gauge("vllm:num_requests_running", "Sequences in a slot.", self._running)
        yield self._gauge("vllm:num_requests_waiting", "Sequences waiting.", self._waiting)
        yield self._counter("vllm:prompt_tokens", "Prompt tokens computed.", self._prompt_tokens)
        yield self._counter("vllm:generation_tokens", "Tokens generated.", self._predicted_tokens)
        finished = CounterMetricFamily(
            "vllm:request_success",
            "Answers by reason of their end.",
            labels=[*labels, "finished_reason"],
        )
        for reason, count in self._finished.items():
            finished.add_metric([self._model_name, reason], count)
        yield finished
        for name, histogram in self._histograms.items():
            family = HistogramMetricFamily(f"vllm:{name}_seconds", _HELP[name], labels=labels)
            family.add_metric([self._model_name], histogram.cumulative(), histogram.total)
            yield family

    def _own_families(self) -> Iterator[Metric]:
        yield self._counter("llamapack_steps", "Steps of the engine.", self._steps)
        family = CounterMetricFamily(
            "llamapack_step_seconds", "Time of steps by phase.", labels=["model", "phase"]
        )
        for phase, seconds in self._phase_seconds.items():
            family.add_metric([self._model_name, phase], seconds)
        yield family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(name, text, labels=[_label(name)])
        family.add_metric([self._model_name], value)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=[_label(name)])
        family.add_metric([self._model_name], value)
        return family


_HELP = {
    "time_to_first_token": "From admission to the first text of an answer.",
    "inter_token_latency": "Between two tokens of an answer.",
    "e2e_request_latency": "From admission to the end of an answer.",
    "request_queue_time": "From admission to the assignment of a slot.",
}


def _label(name: str) -> str:
    return "model_name" if name.startswith("vllm:") else "model"


class _Snapshot(Collector):
    """Presents the counters to prometheus_client."""

    def __init__(self, metrics: ServerMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.families()
