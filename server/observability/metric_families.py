"""The counts in Prometheus' shapes, under llama-server's, vLLM's and our own names.

Each metric means what it means at its origin, also where llama-server and vLLM use one name for
two things: `llamacpp:prompt_tokens_total` counts tokens that were computed,
`vllm:prompt_tokens_total` counts all tokens of prompts, computed or cached.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from config.version import version
from server.observability.engine_snapshot import EngineSnapshot
from server.observability.gpus import Gpu
from server.observability.histogram import Histogram
from server.observability.metrics import KeyUse, ServerMetrics
from server.observability.process_memory import resident_bytes

Labelled = Iterable[tuple[tuple[str, ...], float]]
"""Values of the labels besides the model, and the metric's value."""


def metric_families(
    metrics: ServerMetrics, engine: EngineSnapshot, shows: Callable[[str], bool]
) -> Iterator[Metric]:
    """All metrics, for one scrape; counts by key only of the keys that `shows` lets through."""
    yield from _llama_counters(metrics)
    yield from _llama_gauges(metrics)
    yield from _vllm_gauges(metrics, engine)
    yield from _for_routers(metrics, engine)
    yield from _vllm_counters(metrics)
    yield from _vllm_histograms(metrics)
    yield from _engine_state(metrics, engine)
    yield from _engine_work(metrics)
    yield from _gpus(metrics, engine.gpus)
    yield from _traffic(metrics, {key: u for key, u in metrics.keys.items() if shows(key)})


def server_families(metrics: ServerMetrics, engine: EngineSnapshot) -> Iterator[Metric]:
    """What concerns none of several models."""
    yield _gauge(metrics, "llamapack_draining", "Whether the server ends.", engine.is_draining)
    yield from _gpus(metrics, engine.gpus)
    yield from _answered(metrics)


def load_families(metrics: ServerMetrics, engine: EngineSnapshot) -> Iterator[Metric]:
    """How one of several models comes and goes."""
    m = metrics
    yield _counter(m, "llamapack_model_loads", "Times that the model was loaded.", m.loads)
    text = "Seconds in which the model was loaded."
    yield _counter(m, "llamapack_model_load_seconds", text, m.load_seconds)
    text = "Times that the model could not be loaded."
    yield _counter(m, "llamapack_model_load_failures", text, m.load_failures)
    yield _counter(m, "llamapack_model_unloads", "Times that the model was unloaded.", m.unloads)
    pid = m.engine_pid() if engine.is_up else None
    text = "Memory of the engine process."
    memory = 0 if pid is None else resident_bytes(pid)
    yield _gauge(m, "llamapack_engine_resident_memory_bytes", text, memory)


def _llama_counters(m: ServerMetrics) -> Iterator[Metric]:
    text = "Prompt tokens computed; cached ones are not."
    yield _counter(m, "llamacpp:prompt_tokens", text, m.computed_tokens)
    text = "Prompt tokens taken from the cache."
    yield _counter(m, "llamacpp:prompt_tokens_cached", text, m.cached_tokens)
    text = "Seconds in which prompts were computed."
    yield _counter(m, "llamacpp:prompt_seconds", text, m.prompt_seconds)
    yield _counter(m, "llamacpp:tokens_predicted", "Tokens generated.", m.predicted_tokens)
    text = "Seconds in which answers were generated."
    yield _counter(m, "llamacpp:tokens_predicted_seconds", text, m.predicted_seconds)
    yield _counter(m, "llamacpp:n_decode", "Batches decoded.", m.decodes)
    yield from _drafts(m, "llamacpp:")


def _llama_gauges(m: ServerMetrics) -> Iterator[Metric]:
    now = time.monotonic()
    # A high-water mark: llama-server calls it a counter, but the name has no _total.
    yield _gauge(m, "llamacpp:n_tokens_max", "Most tokens that one sequence had.", m.longest)
    text = "Prompt tokens per second, over a minute."
    yield _gauge(m, "llamacpp:prompt_tokens_seconds", text, m.prompt_rate.per_second(now))
    text = "Generated tokens per second of one answer, over a minute."
    yield _gauge(m, "llamacpp:predicted_tokens_seconds", text, m.predicted_rate.per_second(now))
    yield _gauge(m, "llamacpp:requests_processing", "Sequences in a slot.", m.num_running)
    yield _gauge(m, "llamacpp:requests_deferred", "Sequences without a slot.", m.num_waiting)
    text = "Busy slots per batch."
    average = m.busy_slots / m.decodes if m.decodes else 0.0
    yield _gauge(m, "llamacpp:n_busy_slots_per_decode", text, average)


def _vllm_gauges(m: ServerMetrics, engine: EngineSnapshot) -> Iterator[Metric]:
    yield _gauge(m, "vllm:num_requests_running", "Sequences in a slot.", m.num_running)
    yield _gauge(m, "vllm:num_requests_waiting", "Sequences without a slot.", m.num_waiting)
    text = "Share of the KV cache that running sequences hold; idle prefixes give way. 1 is all."
    yield _gauge(m, "vllm:kv_cache_usage_perc", text, _usage(m, engine))


def _usage(m: ServerMetrics, engine: EngineSnapshot) -> float:
    used = 0 if m.latest is None else m.latest.num_running_cache_tokens
    return used / engine.n_ctx if engine.n_ctx else 0.0


def _for_routers(m: ServerMetrics, engine: EngineSnapshot) -> Iterator[Metric]:
    """What llm-d's router reads, and the older names that vLLM's production stack still reads."""
    queries, hits = m.looked_up_tokens, sum(m.saved_tokens.values())
    text = "As vllm:kv_cache_usage_perc, under its older name."
    yield _gauge(m, "vllm:gpu_cache_usage_perc", text, _usage(m, engine))
    text = "As vllm:prefix_cache_queries_total, under its older name."
    yield _counter(m, "vllm:gpu_prefix_cache_queries", text, queries)
    text = "As vllm:prefix_cache_hits_total, under its older name."
    yield _counter(m, "vllm:gpu_prefix_cache_hits", text, hits)
    text = "Share of the looked up tokens that the prefix cache had. 1 is all."
    yield _gauge(m, "vllm:gpu_prefix_cache_hit_rate", text, hits / queries if queries else 0.0)
    if engine.blocks.size:
        blocks = {
            "block_size": engine.blocks.size,
            "num_gpu_blocks": engine.blocks.in_slots(engine.n_ctx),
            "num_cpu_blocks": engine.blocks.in_host_memory,
            "cache_dtype": engine.blocks.cache_type,
        }
        text = "The KV cache in blocks of tokens: in slots, and in host memory."
        yield _info(m, "vllm:cache_config_info", text, blocks, 1)
    if engine.adapters is not None:
        use = {
            "max_lora": engine.adapters.num_loaded,
            "running_lora_adapters": ",".join(engine.adapters.running),
            "waiting_lora_adapters": ",".join(engine.adapters.waiting),
        }
        text = "Adapters of running and of waiting sequences; the value is the Unix time."
        yield _info(m, "vllm:lora_requests_info", text, use, time.time())


def _info(
    m: ServerMetrics, name: str, text: str, labels: Mapping[str, object], value: float
) -> Metric:
    return _gauges(m, name, text, tuple(labels), [(tuple(map(str, labels.values())), value)])


def _vllm_counters(m: ServerMetrics) -> Iterator[Metric]:
    text = "Prompt tokens for which the prefix cache was searched."
    yield _counter(m, "vllm:prefix_cache_queries", text, m.looked_up_tokens)
    text = "Prompt tokens that the prefix cache had."
    yield _counter(m, "vllm:prefix_cache_hits", text, sum(m.saved_tokens.values()))
    text = "Sequences that lost their slot to others and continued later."
    yield _counter(m, "vllm:num_preemptions", text, m.preemptions)
    text = "Tokens of prompts, cached ones included."
    yield _counter(m, "vllm:prompt_tokens", text, m.prompt_tokens)
    yield _counter(m, "vllm:generation_tokens", "Tokens generated.", m.predicted_tokens)
    finished = (((reason,), count) for reason, count in m.finished.items())
    text = "Sequences by reason of their end."
    yield _counters(m, "vllm:request_success", text, ("finished_reason",), finished)
    yield from _drafts(m, "vllm:")


def _drafts(m: ServerMetrics, prefix: str) -> Iterator[Metric]:
    """Speculative decoding, for which llama-server and vLLM have the same names."""
    name = f"{prefix}spec_decode_num"
    yield _counter(m, f"{name}_drafts", "Drafts that were verified.", m.drafts)
    yield _counter(m, f"{name}_draft_tokens", "Draft tokens.", m.draft_tokens)
    text = "Draft tokens that were accepted."
    yield _counter(m, f"{name}_accepted_tokens", text, m.accepted_tokens)
    text = "Drafts that were accepted up to this position; the first is 0."
    by_position = (((str(place),), count) for place, count in enumerate(m.accepted_by_position))
    labels = ("position",)
    yield _counters(m, f"{name}_accepted_tokens_per_pos", text, labels, by_position)


def _vllm_histograms(m: ServerMetrics) -> Iterator[Metric]:
    for name, text, histogram in (
        ("time_to_first_token_seconds", "Admission to first text.", m.time_to_first_token),
        ("inter_token_latency_seconds", "Between two tokens of an answer.", m.inter_token),
        ("e2e_request_latency_seconds", "Admission to end.", m.end_to_end),
        ("request_queue_time_seconds", "Admission to slot.", m.queue),
        ("request_prefill_time_seconds", "Slot to first token.", m.prefill),
        ("request_decode_time_seconds", "First token to last.", m.decode),
        ("request_inference_time_seconds", "Slot to last token.", m.inference),
        ("request_prompt_tokens", "Tokens of prompts.", m.request_prompt_tokens),
        ("request_generation_tokens", "Tokens of answers.", m.request_generation_tokens),
        ("request_params_max_tokens", "Limits that were asked for.", m.request_max_tokens),
        ("iteration_tokens_total", "Tokens in a batch.", m.step_tokens),
    ):
        yield _histogram(m, f"vllm:{name}", text, histogram)


def _engine_state(m: ServerMetrics, engine: EngineSnapshot) -> Iterator[Metric]:
    yield _gauge(m, "llamapack_engine_up", "Whether an engine has the model.", engine.is_up)
    yield _gauge(m, "llamapack_draining", "Whether the server ends.", engine.is_draining)
    text = "Times that the engine died and was started again."
    yield _counter(m, "llamapack_engine_restarts", text, m.num_deaths)
    if engine.heartbeat_age is not None:
        text = "Since the engine's loop last turned over."
        yield _gauge(m, "llamapack_engine_heartbeat_age_seconds", text, engine.heartbeat_age)
    yield _gauge(
        m, "llamapack_queue_capacity", "Sequences that may wait at most.", m.queue_capacity
    )
    labels, text = ("state",), "Slots by what they do."
    yield _gauges(m, "llamapack_slots", text, labels, _slots(m, engine))
    text = "Tokens in the KV cache by whether their sequence runs."
    yield _gauges(m, "llamapack_kv_cache_tokens", text, labels, _cache(m))
    text = "Tokens that the KV cache has room for."
    yield _gauge(m, "llamapack_kv_cache_capacity_tokens", text, engine.n_ctx)
    build = GaugeMetricFamily("llamapack_build_info", "What runs here.", labels=list(_build()))
    build.add_metric(list(_build().values()), 1)
    yield build


def _slots(m: ServerMetrics, engine: EngineSnapshot) -> Labelled:
    prefilling = 0 if m.latest is None else m.latest.num_prefilling
    yield ("prefill",), prefilling
    yield ("decode",), m.num_running - prefilling
    yield ("idle",), max(engine.n_slots - m.num_running, 0)


def _cache(m: ServerMetrics) -> Labelled:
    total, running = 0, 0
    if m.latest is not None:
        total, running = m.latest.num_cache_tokens, m.latest.num_running_cache_tokens
    yield ("running",), running
    yield ("idle",), total - running


def _engine_work(m: ServerMetrics) -> Iterator[Metric]:
    yield _counter(m, "llamapack_steps", "Steps of the engine.", m.steps)
    text = "Micro-batches that ran on the graph of the one before."
    yield _counter(m, "llamapack_graphs_reused", text, m.reused_graphs)
    phases = (((phase,), seconds) for phase, seconds in m.phase_seconds.items())
    text = "Seconds of steps by phase."
    yield _counters(m, "llamapack_step_seconds", text, ("phase",), phases)
    text = "Processor seconds spent on masks of constraints, in parallel with decoding."
    yield _counter(m, "llamapack_constraint_mask_seconds", text, m.mask_seconds)
    text = "Seconds spent on drafting tokens."
    yield _counter(m, "llamapack_draft_seconds", text, m.phase_seconds["draft"])
    text = "Measured seconds of a step by its rows and slots; the engine plans by them."
    yield _gauges(m, "llamapack_step_cost_seconds", text, ("rows", "slots"), _costs(m))
    tiers = (((tier.value,), tokens) for tier, tokens in m.saved_tokens.items())
    text = "Prompt tokens not computed again, by where the cache had them."
    yield _counters(m, "llamapack_prefix_cache_saved_tokens", text, ("tier",), tiers)
    results = (((result.value,), count) for result, count in m.lookups.items())
    text = "Sequences that started, by why they had no more tokens from the cache."
    yield _counters(m, "llamapack_prefix_cache_lookups", text, ("result",), results)


def _costs(m: ServerMetrics) -> Labelled:
    for rows, seconds in sorted(m.step_costs.by_rows.items()):
        yield (str(rows), "1"), seconds
    for slots, seconds in sorted(m.step_costs.by_slots.items()):
        if slots > 1:
            yield (str(slots), str(slots)), seconds


def _gpus(m: ServerMetrics, gpus: Sequence[Gpu]) -> Iterator[Metric]:
    """Nothing, where there is no GPU; no value that the driver doesn't tell."""
    text = "Memory of a GPU that is in use, by all processes."
    yield from _gpu_gauge(m, "memory_used_bytes", text, ((g, g.memory_used) for g in gpus))
    text = "Memory of a GPU."
    yield from _gpu_gauge(m, "memory_total_bytes", text, ((g, g.memory_total) for g in gpus))
    text = "Share of the last moments in which a GPU computed. 1 is all."
    yield from _gpu_gauge(m, "utilization_ratio", text, ((g, g.utilization) for g in gpus))


def _gpu_gauge(
    m: ServerMetrics, name: str, text: str, values: Iterable[tuple[Gpu, float | None]]
) -> Iterator[Metric]:
    known = [((str(gpu.index), gpu.name), value) for gpu, value in values if value is not None]
    if known:
        yield _gauges(m, f"llamapack_gpu_{name}", text, ("gpu", "name"), known)


def _traffic(m: ServerMetrics, keys: Mapping[str, KeyUse]) -> Iterator[Metric]:
    text = "Sequences admitted, by name of the API key."
    requests = (((key,), use.requests) for key, use in keys.items())
    yield _counters(m, "llamapack_requests", text, ("key",), requests)
    text = "Tokens by name of the API key; prompts include what was cached."
    yield _counters(m, "llamapack_tokens", text, ("key", "kind"), _tokens(keys))
    text = "Sequences that failed after they were admitted, by reason."
    failed = (((reason,), count) for reason, count in m.failed.items())
    yield _counters(m, "llamapack_requests_failed", text, ("reason",), failed)
    yield from _answered(m)


def _answered(m: ServerMetrics) -> Iterator[Metric]:
    text = "Requests refused, by reason."
    rejected = (((reason,), count) for reason, count in m.rejected.items())
    yield _counters(m, "llamapack_requests_rejected", text, ("reason",), rejected)
    text = "HTTP requests by status; 499 is a client that left."
    statuses = (((str(status),), count) for status, count in m.statuses.items())
    yield _counters(m, "llamapack_http_responses", text, ("status",), statuses)


def _tokens(keys: Mapping[str, KeyUse]) -> Labelled:
    for key, use in keys.items():
        yield (key, "prompt"), use.prompt_tokens
        yield (key, "cached"), use.cached_tokens
        yield (key, "generated"), use.generated_tokens


def _counter(m: ServerMetrics, name: str, text: str, value: float) -> Metric:
    return _counters(m, name, text, (), [((), value)])


def _gauge(m: ServerMetrics, name: str, text: str, value: float) -> Metric:
    return _gauges(m, name, text, (), [((), value)])


def _counters(
    m: ServerMetrics, name: str, text: str, labels: tuple[str, ...], values: Labelled
) -> Metric:
    family = CounterMetricFamily(name, text, labels=[*_model_labels(name), *labels])
    for further, value in values:
        family.add_metric([*_model_values(m, name), *further], value)
    return family


def _gauges(
    m: ServerMetrics, name: str, text: str, labels: tuple[str, ...], values: Labelled
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[*_model_labels(name), *labels])
    for further, value in values:
        family.add_metric([*_model_values(m, name), *further], value)
    return family


def _histogram(m: ServerMetrics, name: str, text: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(name, text, labels=_model_labels(name))
    family.add_metric(_model_values(m, name), histogram.buckets(), histogram.total)
    return family


def _model_labels(name: str) -> list[str]:
    """vLLM's dashboards select by `model_name`; `model` is the same for all metrics."""
    return ["model", "model_name"] if name.startswith("vllm:") else ["model"]


def _model_values(m: ServerMetrics, name: str) -> list[str]:
    return [m.model_name] * len(_model_labels(name))


@functools.cache
def _build() -> dict[str, str]:
    return {"version": version("llamapack"), "llama_cpp_python": version("llama-cpp-python")}
