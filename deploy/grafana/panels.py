"""The panels of the dashboard, in the order in which a person on call asks their questions."""

from __future__ import annotations

from typing import NamedTuple

M = 'model=~"$model"'


class Graph(NamedTuple):
    """One panel: its title, its unit, and (expression, legend) of each line."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    help: str = ""
    is_number: bool = False
    is_stacked: bool = False


def number(title: str, unit: str, expr: str, text: str = "") -> Graph:
    """A panel with one big figure."""
    return Graph(title, unit, ((expr, ""),), text, is_number=True)


def rate(metric: str, by: str = "", where: str = "") -> str:
    """The rate per second of `metric`, over an interval that fits the resolution of the panel."""
    selected = f"{metric}{{{M}{where}}}"
    return f"sum{f' by ({by}) ' if by else ''}(rate({selected}[$__rate_interval]))"


def quantile(share: float, metric: str) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({share}, {rate(metric + '_bucket', 'le')})"


def quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    """Three lines of a histogram: its quantiles 0.5, 0.95 and 0.99."""
    return tuple((quantile(share, metric), f"p{100 * share:g}") for share in (0.5, 0.95, 0.99))


UP = (
    number("Servers up", "short", 'sum(up{job=~".*llamapack.*"})'),
    number("Engines up", "short", f"sum(llamapack_engine_up{{{M}}})"),
    number("Draining", "short", f"sum(llamapack_draining{{{M}}})"),
    number(
        "Engine restarts, 1 h",
        "short",
        f"sum(increase(llamapack_engine_restarts_total{{{M}}}[1h]))",
        "Clients don't notice one; many mean that something is wrong.",
    ),
    number("Oldest heartbeat", "s", f"max(llamapack_engine_heartbeat_age_seconds{{{M}}})"),
    number("Answers per second", "reqps", rate("vllm:request_success_total")),
    Graph(
        "Ends of answers",
        "reqps",
        ((rate("vllm:request_success_total", "finished_reason"), "{{finished_reason}}"),),
        "abort: the client left. error: see the failures next to this.",
    ),
    Graph(
        "Failures and refusals",
        "reqps",
        (
            (rate("llamapack_requests_failed_total", "reason"), "failed: {{reason}}"),
            (rate("llamapack_requests_rejected_total", "reason"), "refused: {{reason}}"),
        ),
    ),
    Graph(
        "HTTP statuses",
        "reqps",
        ((rate("llamapack_http_responses_total", "status"), "{{status}}"),),
    ),
)

SLOW = (
    Graph("Time to first token", "s", quantiles("vllm:time_to_first_token_seconds")),
    Graph("Between tokens", "s", quantiles("vllm:inter_token_latency_seconds")),
    Graph("End to end", "s", quantiles("vllm:e2e_request_latency_seconds")),
    Graph(
        "Where a request spends its time (p95)",
        "s",
        (
            (quantile(0.95, "vllm:request_queue_time_seconds"), "queue"),
            (quantile(0.95, "vllm:request_prefill_time_seconds"), "prefill"),
            (quantile(0.95, "vllm:request_decode_time_seconds"), "decode"),
        ),
        "Queue: too few slots. Prefill: long prompts, cold cache. Decode: many streams.",
    ),
    Graph(
        "Engine's time by phase",
        "percentunit",
        (
            (rate("llamapack_step_seconds_total", "phase"), "{{phase}}"),
            (rate("llamapack_constraint_mask_seconds_total"), "masks, beside decode"),
        ),
        "Share of one engine's time. All but decode should be small.",
    ),
    Graph(
        "Steps, and graphs that were reused",
        "ops",
        (
            (rate("llamapack_steps_total"), "steps"),
            (rate("llamapack_graphs_reused_total"), "reused graphs"),
        ),
        "Steps of equal shape reuse llama.cpp's graph. Prompts, drafts and ends change the shape.",
    ),
    Graph(
        "Tokens per batch",
        "short",
        (
            (
                f"{rate('vllm:iteration_tokens_total_sum')}"
                f" / {rate('vllm:iteration_tokens_total_count')}",
                "mean",
            ),
            (quantile(0.95, "vllm:iteration_tokens_total"), "p95"),
        ),
    ),
)

FULL = (
    Graph(
        "Slots",
        "short",
        ((f"sum by (state) (llamapack_slots{{{M}}})", "{{state}}"),),
        is_stacked=True,
    ),
    Graph(
        "Queue",
        "short",
        (
            (f"sum(vllm:num_requests_waiting{{{M}}})", "waiting"),
            (f"sum(llamapack_queue_capacity{{{M}}})", "room"),
        ),
        "Requests beyond the room are refused with 429.",
    ),
    Graph(
        "KV cache of running sequences",
        "percentunit",
        ((f"vllm:kv_cache_usage_perc{{{M}}}", "{{instance}}"),),
        "What is left holds idle prefixes, which give way when room is needed.",
    ),
    Graph(
        "KV cache tokens",
        "short",
        (
            (f"sum by (state) (llamapack_kv_cache_tokens{{{M}}})", "{{state}}"),
            (f"sum(llamapack_kv_cache_capacity_tokens{{{M}}})", "room"),
        ),
    ),
    Graph("Preemptions", "cps", ((rate("vllm:num_preemptions_total"), "preempted"),)),
    Graph(
        "Resident memory",
        "bytes",
        (
            (
                'llamapack_engine_process_resident_memory_bytes{job=~".*llamapack.*"}',
                "engine of {{instance}}",
            ),
            ('process_resident_memory_bytes{job=~".*llamapack.*"}', "API of {{instance}}"),
        ),
    ),
)

GPUS = (
    Graph(
        "GPU memory",
        "percentunit",
        (
            (
                f"llamapack_gpu_memory_used_bytes{{{M}}} / llamapack_gpu_memory_total_bytes{{{M}}}",
                "{{gpu}}: {{name}}, {{instance}}",
            ),
        ),
        "By all processes. Weights and KV cache are there from the start on.",
    ),
    Graph(
        "GPU utilization",
        "percentunit",
        ((f"llamapack_gpu_utilization_ratio{{{M}}}", "{{gpu}}: {{name}}, {{instance}}"),),
        "Share of the time in which the GPU computed anything, however little of the GPU it took.",
    ),
)

USERS = (
    Graph(
        "Tokens by key",
        "short",
        ((rate("llamapack_tokens_total", "key", ', kind!="cached"'), "{{key}}"),),
        "Prompt and generated tokens per second.",
    ),
    Graph("Sequences by key", "reqps", ((rate("llamapack_requests_total", "key"), "{{key}}"),)),
    Graph(
        "Tokens per second",
        "short",
        (
            (rate("vllm:prompt_tokens_total"), "prompt"),
            (rate("vllm:generation_tokens_total"), "generated"),
        ),
    ),
    Graph(
        "Median length",
        "short",
        (
            (quantile(0.5, "vllm:request_prompt_tokens"), "prompt"),
            (quantile(0.5, "vllm:request_generation_tokens"), "answer"),
        ),
    ),
)

SAVED = (
    Graph(
        "Prompt tokens not computed",
        "percentunit",
        (
            (
                f"{rate('vllm:prefix_cache_hits_total')}"
                f" / ({rate('vllm:prefix_cache_queries_total')} > 0)",
                "saved",
            ),
        ),
    ),
    Graph(
        "Tokens saved by tier",
        "short",
        ((rate("llamapack_prefix_cache_saved_tokens_total", "tier"), "{{tier}}"),),
        "slot: was there. copy: from another slot. host: from host memory.",
        is_stacked=True,
    ),
    Graph(
        "Searches of the cache by result",
        "reqps",
        ((rate("llamapack_prefix_cache_lookups_total", "result"), "{{result}}"),),
        "Why a prompt had no more tokens from the cache.",
        is_stacked=True,
    ),
    number(
        "Tokens saved, 24 h",
        "short",
        f"sum(increase(llamapack_prefix_cache_saved_tokens_total{{{M}}}[24h]))",
    ),
    number(
        "Prefill saved, 1 h",
        "s",
        f"sum(increase(llamapack_prefix_cache_saved_tokens_total{{{M}}}[1h]))"
        f" * sum(increase(llamacpp:prompt_seconds_total{{{M}}}[1h]))"
        f" / (sum(increase(llamacpp:prompt_tokens_total{{{M}}}[1h])) > 0)",
        "At what a computed prompt token took.",
    ),
)

DRAFTED = (
    Graph(
        "Accepted draft tokens",
        "percentunit",
        (
            (
                f"{rate('vllm:spec_decode_num_accepted_tokens_total')}"
                f" / ({rate('vllm:spec_decode_num_draft_tokens_total')} > 0)",
                "right",
            ),
        ),
    ),
    Graph(
        "Draft tokens",
        "short",
        (
            (rate("vllm:spec_decode_num_draft_tokens_total"), "drafted"),
            (rate("vllm:spec_decode_num_accepted_tokens_total"), "accepted"),
            (rate("vllm:generation_tokens_total"), "generated"),
        ),
        "Per second. Drafting stops by itself where it does not pay, such as with many streams.",
    ),
)

ROWS = (
    ("Is it up?", UP),
    ("Is it slow?", SLOW),
    ("Is it full?", FULL),
    ("What do the GPUs do?", GPUS),
    ("Who is using it?", USERS),
    ("What did the cache save?", SAVED),
    ("What does speculative decoding gain?", DRAFTED),
)
