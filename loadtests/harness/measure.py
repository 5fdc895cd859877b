"""Computes the numbers of one run from its records. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loadtests.harness.scenario import Plan, Record
from loadtests.harness.stats import percentile


@dataclass(frozen=True)
class Cost:
    """What a run used of the machine."""

    wall_s: float
    server_cpu_s: float
    client_cpu_s: float
    others_cpu_s: float
    """CPU time of everything except the server and this client; NaN if unknown."""
    peak_pss_mib: float
    """Greatest sampled proportional memory of the server's processes; NaN if unknown."""
    peak_rss_mib: float
    """Sum of the resident peaks of the server's processes; shared pages count in each."""


@dataclass(frozen=True)
class Steps:
    """Seconds of each phase of the engine's steps during the run, and the number of steps."""

    seconds: dict[str, float]
    count: float

    @property
    def outside_decode(self) -> float:
        """Share of the step time outside llama.cpp's decode, of the model or of a draft model: 0 to
        1, NaN without steps."""
        total = sum(self.seconds.values())
        decode = self.seconds.get("decode", 0.0) + self.seconds.get("draft", 0.0)
        return 1 - decode / total if total > 0 else math.nan


@dataclass(frozen=True)
class Drafts:
    """The tokens that were drafted during the run, and how many were accepted."""

    count: float
    tokens: float
    accepted: float
    accepted_by_position: tuple[float, ...] = ()
    """How many drafts had their first token accepted, their first two tokens, and so on."""

    @property
    def acceptance(self) -> float:
        """Share of the draft tokens that were accepted; NaN without draft tokens."""
        return _share(self.accepted, self.tokens)


@dataclass(frozen=True)
class StepCosts:
    """Seconds of a step, as measured by the server."""

    by_rows: dict[int, float]
    """By the number of rows, all of one stream."""
    by_streams: dict[int, float]
    """By the number of streams, each with one row."""


@dataclass(frozen=True)
class Counters:
    """What a server's metrics report about a run; None for what they don't report."""

    steps: Steps | None = None
    drafts: Drafts | None = None
    costs: StepCosts | None = None


@dataclass(frozen=True)
class Run:
    """The numbers of one run: one server, one scenario, one number of clients, one round."""

    requests: int
    output_tokens: int
    prompt_tokens: int
    wall_s: float
    output_tok_s: float
    total_tok_s: float
    stream_tok_s: float
    """Tokens per second of one stream, from its first to its last token."""
    ttft_p50_ms: float
    ttft_p95_ms: float
    itl_p50_ms: float
    itl_p99_ms: float
    itl_max_ms: float
    request_mean_ms: float
    tokens_per_event: float
    peak_pss_mib: float
    peak_rss_mib: float
    server_cpu_ms_per_token: float
    client_cpu_share: float
    """CPU time of this client as a share of one core."""
    client_server_ratio: float
    """CPU time of this client per CPU time of the server."""
    others_cpu_share: float
    """CPU time of everything else on the machine as a share of one core."""
    computed_share: float
    """Share of the prompts' tokens that no cache had; NaN if the server doesn't report it."""
    distinct_share: float
    """Share of the prompts' tokens that no cache could have: each distinct token counts once. NaN
    for prompts of text."""
    outside_decode: float
    steps: Steps | None
    drafts: Drafts | None = None
    costs: StepCosts | None = None


def measure(
    plan: Plan, records: Sequence[Record], cost: Cost, counters: Counters = Counters()
) -> Run:
    """The numbers of a run without failed requests."""
    wall = max(r.finished for r in records) - min(r.started for r in records)
    output = sum(r.predicted for r in records)
    prompt = sum(r.prompt for r in records)
    firsts = [1e3 * value for value in first_token_times(plan, records)]
    gaps = [1e3 * value for value in token_gaps(plan, records)]
    events = sum(len(r.arrivals) for r in records)
    return Run(
        requests=len(records),
        output_tokens=output,
        prompt_tokens=prompt,
        wall_s=wall,
        output_tok_s=output / wall,
        total_tok_s=(output + prompt) / wall,
        stream_tok_s=stream_speed(records),
        ttft_p50_ms=percentile(firsts, 50),
        ttft_p95_ms=percentile(firsts, 95),
        itl_p50_ms=percentile(gaps, 50),
        itl_p99_ms=percentile(gaps, 99),
        itl_max_ms=percentile(gaps, 100),
        request_mean_ms=1e3 * sum(r.finished - r.started for r in records) / len(records),
        tokens_per_event=output / events,
        peak_pss_mib=cost.peak_pss_mib,
        peak_rss_mib=cost.peak_rss_mib,
        server_cpu_ms_per_token=1e3 * cost.server_cpu_s / output,
        client_cpu_share=cost.client_cpu_s / cost.wall_s,
        client_server_ratio=_share(cost.client_cpu_s, cost.server_cpu_s),
        others_cpu_share=cost.others_cpu_s / cost.wall_s,
        computed_share=_computed_share(records),
        distinct_share=distinct_share(records),
        outside_decode=counters.steps.outside_decode if counters.steps else math.nan,
        steps=counters.steps,
        drafts=counters.drafts,
        costs=counters.costs,
    )


def _computed_share(records: Sequence[Record]) -> float:
    known = [record for record in records if record.computed is not None]
    computed = sum(record.computed or 0 for record in known)
    return _share(computed, sum(record.prompt for record in known))


def distinct_share(records: Sequence[Record]) -> float:
    """Tokens of the prompts that follow their own beginning for the first time, as a share of all.

    The tokens of an answer, but for the last one, are known from generating them. A prompt that is
    known as a whole still has its last token computed.
    """
    known: dict[tuple[int, int], int] = {}
    """Numbers of the tokens' places by the number of the place before and the token."""
    computed = 0
    for record in sorted(records, key=lambda record: record.started):
        before = len(known)
        place = _walk(known, 0, record.sent)
        computed += max(len(known) - before, min(1, len(record.sent)))
        _walk(known, place, record.tokens[:-1])
    return _share(computed, sum(len(record.sent) for record in records))


def _walk(known: dict[tuple[int, int], int], place: int, tokens: Sequence[int]) -> int:
    """Follow `tokens` from a place, add the places that are new; returns the last place."""
    for token in tokens:
        place = known.setdefault((place, token), len(known) + 1)
    return place


def stream_speed(records: Sequence[Record]) -> float:
    """Tokens per second after each stream's first event; NaN if all tokens came in one event."""
    tokens = sum(sum(record.pieces[1:]) for record in records)
    return _share(tokens, sum(record.arrivals[-1] - record.arrivals[0] for record in records))


def first_token_times(plan: Plan, records: Sequence[Record]) -> Iterator[float]:
    """Seconds from sending to the first token, for the role that the plan measures."""
    for record in records:
        if plan.first_token_role in (None, record.role):
            yield record.arrivals[0] - record.started


def token_gaps(plan: Plan, records: Sequence[Record]) -> Iterator[float]:
    """Seconds between the arrivals of consecutive tokens, as a reader of the stream sees them."""
    begin, end = _window(plan, records)
    for record in records:
        if plan.latency_role not in (None, record.role):
            continue
        for before, after in zip(record.arrivals, record.arrivals[1:], strict=False):
            if after > begin and before < end:
                yield after - before


def failures(records: Sequence[Record], verdicts: Mapping[int, str]) -> list[str]:
    """One line for each failed request; `verdicts` are the scenario's own, by index of the
    record."""
    lines = []
    for index, record in enumerate(records):
        problem = record.error or verdicts.get(index, "")
        if problem:
            lines.append(f"request {index + 1} ({record.role}): {problem}")
    return lines


def _window(plan: Plan, records: Sequence[Record]) -> tuple[float, float]:
    if plan.latency_during is None:
        return -math.inf, math.inf
    inside = [r for r in records if r.role == plan.latency_during]
    return min(r.started for r in inside), max(r.finished for r in inside)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
