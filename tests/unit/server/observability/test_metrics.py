"""Metrics: exact names, counters that move while streams run, rates that reading leaves alone."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from protocol.cache_lookup import CacheResult, CacheTier
from protocol.commands import SequenceSpec
from protocol.messages import StepCosts, StepStats
from protocol.sampling import SamplingParams
from server.errors import EngineFailed
from server.generation.observed_generator import ObservedGenerator
from server.generation.types import Ended, GenerationRequest, Item, StopCause, TextDelta, Timings
from server.observability.answer_metrics import AnswerMetrics
from server.observability.engine_snapshot import EngineSnapshot
from server.observability.exposition import render_metrics
from server.observability.histogram import Histogram
from server.observability.metrics import ServerMetrics, Source
from server.observability.rate import Rate

LLAMA_SERVER_NAMES = {
    "llamacpp:spec_decode_num_draft_tokens_total": "counter",
    "llamacpp:spec_decode_num_accepted_tokens_total": "counter",
    "llamacpp:spec_decode_num_drafts_total": "counter",
    "llamacpp:prompt_tokens_total": "counter",
    "llamacpp:prompt_tokens_cached_total": "counter",
    "llamacpp:prompt_seconds_total": "counter",
    "llamacpp:tokens_predicted_total": "counter",
    "llamacpp:tokens_predicted_seconds_total": "counter",
    "llamacpp:n_decode_total": "counter",
    "llamacpp:n_tokens_max": "gauge",
    "llamacpp:prompt_tokens_seconds": "gauge",
    "llamacpp:predicted_tokens_seconds": "gauge",
    "llamacpp:requests_processing": "gauge",
    "llamacpp:requests_deferred": "gauge",
    "llamacpp:n_busy_slots_per_decode": "gauge",
}

VLLM_NAMES = {
    "spec_decode_num_drafts_total": "counter",
    "spec_decode_num_draft_tokens_total": "counter",
    "spec_decode_num_accepted_tokens_total": "counter",
    "num_requests_running": "gauge",
    "num_requests_waiting": "gauge",
    "kv_cache_usage_perc": "gauge",
    "prefix_cache_queries_total": "counter",
    "prefix_cache_hits_total": "counter",
    "num_preemptions_total": "counter",
    "prompt_tokens_total": "counter",
    "generation_tokens_total": "counter",
    "request_success_total": "counter",
    "time_to_first_token_seconds": "histogram",
    "inter_token_latency_seconds": "histogram",
    "e2e_request_latency_seconds": "histogram",
    "request_queue_time_seconds": "histogram",
    "request_prefill_time_seconds": "histogram",
    "request_decode_time_seconds": "histogram",
    "request_inference_time_seconds": "histogram",
    "request_prompt_tokens": "histogram",
    "request_generation_tokens": "histogram",
    "request_params_max_tokens": "histogram",
    "iteration_tokens_total": "histogram",
}


def step(*, decoded: int = 2, prefilled: int = 0, running: int = 2, waiting: int = 0) -> StepStats:
    return StepStats(0.001, 0.01, 0.002, 0.0005, 0.0001, decoded, prefilled, running, waiting, 9)


def text_of(metrics: ServerMetrics, engine: EngineSnapshot | None = None) -> str:
    return render_metrics(metrics, engine or EngineSnapshot())[0].decode()


def samples(metrics: ServerMetrics, engine: EngineSnapshot | None = None) -> dict[str, float]:
    """Values by name, without the label of the model."""
    found = {}
    for family in text_string_to_metric_families(text_of(metrics, engine)):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if not k.startswith("model")}
            text = ",".join(f"{key}={value}" for key, value in labels.items())
            found[sample.name + (f"{{{text}}}" if text else "")] = sample.value
    return found


def test_names_and_types_are_llama_servers() -> None:
    text = text_of(ServerMetrics("m"))
    for name, kind in LLAMA_SERVER_NAMES.items():
        assert f"# TYPE {name} {kind}\n" in text
        assert f'{name}{{model="m"}} 0.0\n' in text
    assert "_created" not in text


def test_names_are_vllms() -> None:
    text = text_of(ServerMetrics("m"))
    for name, kind in VLLM_NAMES.items():
        assert f"# TYPE vllm:{name} {kind}\n" in text
    assert 'vllm:num_requests_running{model="m",model_name="m"} 0.0\n' in text


def test_steps() -> None:
    metrics = ServerMetrics("m")
    metrics.observe_step(step(prefilled=10, running=3, waiting=4))
    metrics.observe_step(msgspec.structs.replace(step(decoded=0, running=1), num_reused_graphs=3))
    found = samples(metrics)
    assert found["llamapack_steps_total"] == 2
    assert found["llamapack_graphs_reused_total"] == 3
    assert found["llamapack_step_seconds_total{phase=decode}"] == pytest.approx(0.02)
    assert found["llamapack_step_seconds_total{phase=send}"] == pytest.approx(0.0002)
    assert found["llamacpp:prompt_tokens_total"] == 10
    assert found["llamacpp:n_decode_total"] == 1
    assert found["llamacpp:n_busy_slots_per_decode"] == 3
    assert found["llamacpp:requests_processing"] == 1
    assert found["llamacpp:requests_deferred"] == 0
    assert found["vllm:num_requests_running"] == 1


def test_drafts() -> None:
    metrics = ServerMetrics("m")
    drafting = msgspec.structs.replace(step(), draft_seconds=0.004, num_drafts=2)
    costs = StepCosts({1: 0.01, 8: 0.03}, {1: 0.01, 8: 0.05})
    metrics.observe_step(
        msgspec.structs.replace(
            drafting, num_draft_tokens=5, accepted_by_position=[2, 1], costs=costs
        )
    )
    metrics.observe_step(
        msgspec.structs.replace(drafting, num_draft_tokens=6, accepted_by_position=[1, 1, 1])
    )
    metrics.observe_step(step())
    found = samples(metrics)
    for prefix in ("llamacpp", "vllm"):
        name = f"{prefix}:spec_decode_num"
        assert found[f"{name}_drafts_total"] == 4
        assert found[f"{name}_draft_tokens_total"] == 11
        assert found[f"{name}_accepted_tokens_total"] == 6
        positions = [found[f"{name}_accepted_tokens_per_pos_total{{position={n}}}"] for n in "012"]
        assert positions == [3, 2, 1]
    assert found["llamapack_draft_seconds_total"] == pytest.approx(0.008)
    assert found["llamapack_step_seconds_total{phase=draft}"] == pytest.approx(0.008)
    cost = "llamapack_step_cost_seconds"
    assert {name: value for name, value in found.items() if name.startswith(cost)} == {
        f"{cost}{{rows=1,slots=1}}": 0.01,
        f"{cost}{{rows=8,slots=1}}": 0.03,
        f"{cost}{{rows=8,slots=8}}": 0.05,
    }


@pytest.mark.anyio
async def test_counters_move_while_a_stream_runs() -> None:
    metrics = ServerMetrics("m")
    ended = Ended(StopCause.LIMIT, "", None, False, 0, 7, 7, Timings(3, 4, 100.0, 4, 80.0))

    class Inner:
        @asynccontextmanager
        async def open(self, request: GenerationRequest) -> AsyncIterator[AsyncIterator[Item]]:
            yield self.items()

        async def items(self) -> AsyncIterator[Item]:
            yield TextDelta("a", (), 0, Timings(3, 4, 100.0, 1, 0.0))
            yield TextDelta("b", (), 0, Timings(3, 4, 100.0, 3, 60.0))
            yield ended

    request = GenerationRequest(spec=SequenceSpec(prompt=(1,), sampling=SamplingParams()))
    counts = []
    async with ObservedGenerator(Inner(), [partial(AnswerMetrics, metrics)]).open(request) as items:
        async for _ in items:
            counts.append(samples(metrics)["llamacpp:tokens_predicted_total"])
    assert counts == [1, 3, 4]
    found = samples(metrics)
    assert found["llamacpp:prompt_tokens_cached_total"] == 3
    assert found["llamacpp:prompt_seconds_total"] == pytest.approx(0.1)
    assert found["llamacpp:tokens_predicted_seconds_total"] == pytest.approx(0.08)
    assert found["llamacpp:n_tokens_max"] == 11
    assert found["llamacpp:predicted_tokens_seconds"] == pytest.approx(3 / 0.08)
    assert found["vllm:request_success_total{finished_reason=length}"] == 1
    assert found["vllm:inter_token_latency_seconds_count"] == 2
    assert found["vllm:time_to_first_token_seconds_count"] == 1
    assert found["vllm:e2e_request_latency_seconds_count"] == 1
    assert found["vllm:request_queue_time_seconds_count"] == 1


def test_cache_and_slots() -> None:
    metrics = ServerMetrics("m")
    stats = StepStats(
        *(0.0, 0.0, 0.0, 0.0, 0.0, 1, 10, 3, 0, 90),
        num_running_cache_tokens=50,
        num_prefilling=1,
        num_preempted=2,
        num_looked_up_tokens=40,
        saved_tokens={CacheTier.COPY: 20, CacheTier.HOST: 5},
        lookups={CacheResult.PARTED: 2, CacheResult.NEW: 1},
        mask_seconds=0.25,
    )
    metrics.observe_step(stats)
    metrics.observe_step(stats)
    found = samples(metrics, EngineSnapshot(is_up=True, n_slots=8, n_ctx=200))
    assert found["vllm:kv_cache_usage_perc"] == 0.25
    assert found["llamapack_kv_cache_tokens{state=idle}"] == 40
    assert found["llamapack_slots{state=prefill}"] == 1
    assert found["llamapack_slots{state=decode}"] == 2
    assert found["llamapack_slots{state=idle}"] == 5
    assert found["vllm:num_preemptions_total"] == 4
    assert found["vllm:prefix_cache_queries_total"] == 80
    assert found["vllm:prefix_cache_hits_total"] == 50
    assert found["llamapack_prefix_cache_saved_tokens_total{tier=copy}"] == 40
    assert found["llamapack_prefix_cache_saved_tokens_total{tier=slot}"] == 0
    assert found["llamapack_prefix_cache_lookups_total{result=parted}"] == 4
    assert found["llamapack_prefix_cache_lookups_total{result=new}"] == 2
    assert found["llamapack_prefix_cache_lookups_total{result=no_checkpoint}"] == 0
    assert found["llamapack_constraint_mask_seconds_total"] == 0.5
    assert found["vllm:iteration_tokens_total_sum"] == 22


def test_a_dead_engine_runs_nothing() -> None:
    metrics = ServerMetrics("m")
    metrics.observe_step(step(running=3, waiting=4))
    metrics.observe_death()
    found = samples(metrics, EngineSnapshot(n_slots=4, n_ctx=100))
    assert found["llamapack_engine_restarts_total"] == 1
    assert found["llamapack_engine_up"] == 0
    assert found["vllm:num_requests_running"] == 0
    assert found["vllm:num_requests_waiting"] == 0
    assert found["llamapack_slots{state=idle}"] == 4


def test_memory_of_both_processes() -> None:
    metrics = ServerMetrics("m")
    assert "llamapack_engine_process_resident_memory_bytes" not in samples(metrics)
    metrics.engine_pid = os.getpid
    found = samples(metrics)
    assert found["llamapack_engine_process_resident_memory_bytes"] > 1e6
    assert found["process_resident_memory_bytes"] > 1e6
    metrics.engine_pid = lambda: 2**30  # it has just died
    assert "llamapack_engine_process_resident_memory_bytes" not in samples(metrics)


def test_an_error_is_no_refusal_once_the_answer_had_begun() -> None:
    metrics = ServerMetrics("m")
    metrics.observe_failure(EngineFailed("x"))
    metrics.observe_failure(ValueError("y"))
    found = samples(metrics)
    assert found["llamapack_requests_failed_total{reason=server}"] == 2
    assert found["vllm:request_success_total{finished_reason=error}"] == 2


def test_exemplars_name_the_request_in_openmetrics_alone() -> None:
    metrics = ServerMetrics("m")
    ended = Ended(StopCause.EOS, "", None, False, 0, 7, 7, Timings(3, 4, 100.0, 4, 80.0))
    metrics.observe_end(ended, 0.7, Source(request_id="request-7"))
    metrics.observe_end(ended, 9.0, Source(request_id="x" * 128))
    body, content_type = render_metrics(
        metrics, EngineSnapshot(), "application/openmetrics-text;version=1.0.0"
    )
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name: family for family in openmetrics_families(body.decode())}  # type: ignore[no-untyped-call]
    exemplars = [s.exemplar for s in families["vllm:e2e_request_latency_seconds"].samples]
    named = [e for e in exemplars if e is not None]
    assert [(e.labels, e.value) for e in named] == [({"request_id": "request-7"}, 0.7)]
    assert "request-7" not in text_of(metrics)


def test_a_histogram_counts_up_to_and_with_its_bounds() -> None:
    histogram = Histogram((1, 2.5))
    for value in (0.5, 1.0, 2.0, 9.0):
        histogram.observe(value)
    histogram.observe(2.5, times=2)
    assert histogram.buckets() == [("1.0", 2.0), ("2.5", 5.0), ("+Inf", 6.0)]
    assert histogram.total == pytest.approx(17.5)


def test_a_rate_forgets_after_a_minute() -> None:
    rate = Rate()
    assert rate.per_second(0.0) == 0.0
    rate.add(10, 1.0, now=0.2)
    rate.add(20, 1.0, now=0.9)
    rate.add(30, 1.0, now=30.0)
    assert rate.per_second(31.0) == pytest.approx(20.0)
    assert rate.per_second(31.0) == pytest.approx(20.0)
    assert rate.per_second(70.0) == pytest.approx(30.0)
    assert rate.per_second(1000.0) == 0.0
