"""Limits that a headless locust run has to keep, or end with status 1.

--slo-ttft-p95 500 --slo-itl-p99 100 --slo-failures 0.1 --slo-refused 5
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

from locust import events

BREACHED = 1

LATENCIES = (("TTFT", "slo_ttft_p95", 0.95), ("ITL", "slo_itl_p99", 0.99))
"""(kind of entry, option with the limit in ms, quantile)."""


def add_options(parser: ArgumentParser) -> None:
    """Add the options. Without an option the only limit is that there are answers."""
    group = parser.add_argument_group("promises", "a run that breaks one ends with status 1")
    group.add_argument("--slo-ttft-p95", type=float, metavar="MS", help="95 %% of first tokens")
    group.add_argument("--slo-itl-p99", type=float, metavar="MS", help="99 %% of gaps in streams")
    group.add_argument("--slo-failures", type=float, metavar="PERCENT", default=0.0)
    group.add_argument("--slo-refused", type=float, metavar="PERCENT", help="429, of all requests")


def breaches(entries: list[Any], options: Namespace) -> Iterator[str]:
    """The limits that were exceeded, by locust's statistics."""
    answers = [entry for entry in entries if entry.method == "ANSWER"]
    count = sum(entry.num_requests for entry in answers)
    refused = sum(entry.num_requests for entry in entries if entry.method == "REFUSED")
    if not count:
        yield "no request was answered"
        return
    failed = 100 * sum(entry.num_failures for entry in answers) / count
    if failed > options.slo_failures:
        yield f"{failed:.2f} % of answers failed, {options.slo_failures:g} % may"
    share = 100 * refused / (count + refused)
    if options.slo_refused is not None and share > options.slo_refused:
        yield f"{share:.2f} % of requests were refused, {options.slo_refused:g} % may be"
    for method, name, quantile in LATENCIES:
        limit = getattr(options, name)
        for entry in entries if limit is not None else ():
            if entry.method == method:
                seen = entry.get_response_time_percentile(quantile)
                if seen > limit:
                    what = f"{entry.name}: {method} p{100 * quantile:.0f}"
                    yield f"{what} is {seen:.0f} ms, {limit:g} may be"


def judge(environment: Any, **_: Any) -> None:
    """Print the limits that were exceeded, and set locust's exit status accordingly."""
    broken = list(breaches(list(environment.stats.entries.values()), environment.parsed_options))
    for line in broken:
        print(f"SLO BREACH: {line}")
    environment.process_exit_code = BREACHED if broken else 0


events.init_command_line_parser.add_listener(add_options)
events.quitting.add_listener(judge)
