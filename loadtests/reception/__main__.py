"""How many tokens a second the API process takes and sends: `python -m loadtests.reception --help`.

An engine that computes nothing says scripted answers in many streams. They pass the real API
process and real HTTP. The API process has one core, and every event is checked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

from loadtests.harness.machine import machine_facts
from loadtests.harness.prompts import ordinary_tokens
from loadtests.harness.servers import ServerError, Side
from loadtests.reception.cores import check_system
from loadtests.reception.peer import read_peer
from loadtests.reception.reading import PACES, Row, Trial, read_rows
from loadtests.reception.streams import KINDS
from loadtests.vocabulary import token_attributes, token_pieces

API = Side("llamapack", (sys.executable, "-m", "loadtests.reception.api"))
AS_TAKEN = "as-taken"
"""The pace at which the API process is never idle, so that its rate counts."""

HEAD = f"{'request':12} {'pace':>14} {'tokens/s':>10} {'CPU ms/token':>24} {'tokens/event':>13}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every event was right and the goals are met, 1 if not, 2 if it could not run."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (ServerError, ValueError, OSError, httpx.HTTPError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    check_system()
    trial = Trial(
        options.model,
        token_pieces(options.model),
        ordinary_tokens(token_attributes(options.model)),
        options.streams,
        options.tokens,
        options.rounds,
    )
    kinds = options.kind or ["completion", "chat"]
    print(machine_facts(options.peer).line())
    print(
        f"{trial.num_streams} streams of {trial.num_tokens} tokens, {trial.rounds} rounds\n\n{HEAD}"
    )
    rows: list[Row] = []
    for pace in options.pace or [*PACES, f"{options.goal_rate:g}"]:
        for row in read_rows(trial, kinds, pace, API):
            print(_line(row), flush=True)
            rows.append(row)
    if options.peer:
        print(f"\nllama-server with {trial.model.name}:")
        for cost in read_peer(trial, kinds, options.peer):
            print(f"  {cost.line()}")
    return _verdict(rows, options)


def _line(row: Row) -> str:
    costs = [one.cpu_ms_per_token for one in row.readings]
    cpu = f"{row.cpu_ms:.4f} ({min(costs):.4f} to {max(costs):.4f})"
    per_event = row.readings[-1].tokens_per_event
    return f"{row.kind:12} {row.pace:>14} {row.rate:10,.0f} {cpu:>24} {per_event:13.2f}"


def _verdict(rows: Sequence[Row], options: argparse.Namespace) -> int:
    """Say what is wrong, and return the exit status."""
    wrong = [line for row in rows for line in row.problems]
    slow = [
        f"{row.kind}, {row.pace}: {row.rate:,.0f} tokens/s"
        for row in rows
        if row.pace == AS_TAKEN and row.rate < options.goal_rate
    ]
    dear = [
        f"{row.kind}, {row.pace}: {row.cpu_ms:.4f} ms of CPU a token"
        for row in rows
        if row.cpu_ms > options.goal_cpu
    ]
    for line in wrong[:10]:
        print(f"WRONG {line}")
    for line in (*slow, *dear):
        print(f"goal missed: {line}")
    if not (wrong or slow or dear):
        print("\nevery event was right; the goals are met")
    return 1 if wrong or slow or dear else 0


def _parser() -> argparse.ArgumentParser:
    demo = Path(__file__).parents[2] / "models" / "demo" / "demo-target.gguf"
    parser = argparse.ArgumentParser(prog="python -m loadtests.reception", description=__doc__)
    parser.add_argument("--model", type=Path, default=demo, help="GGUF (default: the demo model)")
    parser.add_argument("--streams", type=int, default=64, help="default: 64")
    parser.add_argument("--tokens", type=int, default=1000, help="of each stream (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument(
        "--kind", action="append", choices=KINDS, help="of request (default: completion, chat)"
    )
    parser.add_argument(
        "--pace",
        action="append",
        metavar="PACE",
        help="as-taken, step-by-step, or tokens a second (default: both, and the goal)",
    )
    parser.add_argument("--peer", type=Path, help="the llama-server binary")
    parser.add_argument("--goal-rate", type=float, default=12_000, help="tokens/s (default: 12000)")
    parser.add_argument("--goal-cpu", type=float, default=0.08, help="ms a token (default: 0.08)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
