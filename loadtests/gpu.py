"""Many streams on a GPU, beside llama-server: `python -m loadtests.gpu --help`.

Each server starts once for each number of slots and layout of the KV cache, and gets all loads that
belong to it, one after the other. On a CPU the same command works with a small model.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.compare import default_ours
from loadtests.harness import loops
from loadtests.harness.load import run_plan
from loadtests.harness.machine import machine_facts
from loadtests.harness.measure import Run, failures, measure
from loadtests.harness.prompts import PromptSource
from loadtests.harness.scenario import OURS, PEER, Client, Load, Plan, Request, completion
from loadtests.harness.servers import Server, ServerError, Side, running
from loadtests.scenarios.json_schema import SCHEMA
from loadtests.vocabulary import prompt_source

REQUESTS = 2
"""Requests of each client, one after the other."""

STREAM, LONG = "stream", "long"


@dataclass(frozen=True)
class Layout:
    """How a server is started."""

    slots: int
    is_unified: bool = False

    def flags(self, slot_tokens: int) -> tuple[str, ...]:
        unified = ("--kv-unified",) if self.is_unified else ()
        return ("-np", str(self.slots), "-c", str(self.slots * slot_tokens), *unified)


@dataclass(frozen=True)
class Trial:
    """A load on a server, and the output tokens a second that an H100 should reach with an 8B model
    in Q4_K_M."""

    name: str
    layout: Layout
    clients: int
    prepare: Callable[[Load], Plan]
    goal: float | None = None
    beside: str = ""
    """The trial of the same load in the partitioned layout."""


def plain(load: Load) -> Plan:
    """64 tokens in, 128 out."""
    return _all_alike(load, lambda *which: completion(load.draw(64, *which), 128))


def shared(load: Load) -> Plan:
    """1,024 shared and 32 own tokens in, 32 out."""
    prefix = load.draw(1024, "prefix")
    return _all_alike(load, lambda *which: completion(prefix + load.draw(32, *which), 32))


def constrained(load: Load) -> Plan:
    """32 tokens in, at most 120 out that follow a JSON schema."""

    def request(*which: int) -> Request:
        return completion(load.draw(32, *which), 120, exact=False, json_schema=SCHEMA)

    return _all_alike(load, request)


def beside_prompts(load: Load) -> Plan:
    """Streams of 256 tokens, and four clients that send three prompts of 1,900 tokens each."""
    streams = [
        Client((completion(load.draw(32, client), 256, role=STREAM),), role=STREAM)
        for client in range(load.clients)
    ]
    prompts = [
        Client(
            tuple(
                completion(load.draw(1900, LONG, client, number), 1, role=LONG)
                for number in range(3)
            ),
            role=LONG,
            after=STREAM,
        )
        for client in range(4)
    ]
    return Plan((*streams, *prompts), latency_role=STREAM, first_token_role=STREAM)


def _all_alike(load: Load, request: Callable[..., Request]) -> Plan:
    numbers = range(REQUESTS)
    clients = range(load.clients)
    return Plan(
        tuple(Client(tuple(request(client, number) for number in numbers)) for client in clients)
    )


PARTITIONED, WIDE, UNIFIED = Layout(32), Layout(64), Layout(32, is_unified=True)

TRIALS = (
    Trial("plain 1", PARTITIONED, 1, plain, 235),
    Trial("plain 8", PARTITIONED, 8, plain, 850),
    Trial("plain 32", PARTITIONED, 32, plain, 2200),
    Trial("shared 32", PARTITIONED, 32, shared, 900),
    Trial("JSON 8", PARTITIONED, 8, constrained, 700),
    Trial("beside prompts 8", PARTITIONED, 8, beside_prompts),
    Trial("plain 64", WIDE, 64, plain, 2900),
    Trial("plain 32, unified", UNIFIED, 32, plain, beside="plain 32"),
    Trial("shared 32, unified", UNIFIED, 32, shared, beside="shared 32"),
)

NEARLY = 0.9
"""What the unified layout should reach of the partitioned one."""

HEAD = [
    *("", "tok/s", "goal", "ratio", PEER, "ratio"),
    *("TTFT p50 ms", PEER, "ITL p99 ms", PEER),
]

Results = dict[tuple[str, str], Run]
"""By the names of trial and program."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every answer was complete, 1 if not, 2 if a server could not run."""
    options = _parser().parse_args(arguments)
    sides = [Side(OURS, tuple(shlex.split(options.ours)))]
    sides += [Side(PEER, (str(options.peer),))] if options.peer else []
    print(machine_facts(options.peer).line(), flush=True)
    results: Results = {}
    problems: list[str] = []
    try:
        for layout in dict.fromkeys(trial.layout for trial in TRIALS):
            for side in sides:
                loops.run(_try(layout, side, options, results, problems))
    except (ServerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(table(results)))
    for problem in problems:
        print(f"FAILED {problem}")
    return 1 if problems else 0


async def _try(
    layout: Layout, side: Side, options: argparse.Namespace, results: Results, problems: list[str]
) -> None:
    """Start a server, and put the loads on it that are for this layout."""
    prompts = prompt_source(options.model)
    flags = [
        *("-m", str(options.model), "--metrics"),
        *layout.flags(options.slot_tokens),
        *shlex.split(options.flags),
    ]
    with running(side, flags) as server:
        await server.wait_ready()
        await _warm_up(server, layout, prompts)
        for trial in TRIALS:
            if trial.layout == layout:
                run, lines = await _measured(server, trial, prompts)
                problems += [f"{trial.name}, {side.name}: {line}" for line in lines[:3]]
                if run is not None:
                    results[trial.name, side.name] = run
                    print(f"{side.name}, {trial.name}: {run.output_tok_s:.0f} tok/s", flush=True)


async def _warm_up(server: Server, layout: Layout, prompts: PromptSource) -> None:
    load = Load(layout.slots, layout.slots, -1, prompts)
    clients = [Client((completion(load.draw(8, slot), 8),)) for slot in range(layout.slots)]
    await run_plan(server.address, Plan(tuple(clients)))


async def _measured(
    server: Server, trial: Trial, prompts: PromptSource
) -> tuple[Run | None, list[str]]:
    """The numbers of a load, or what was wrong with its answers."""
    plan = trial.prepare(Load(trial.clients, trial.layout.slots, 0, prompts))
    async with server.metered() as meter:
        records = await run_plan(server.address, plan)
    lines = failures(records, {})
    return (None, lines) if lines else (measure(plan, records, meter.cost), [])


def table(results: Results) -> Iterator[str]:
    """The results, a line for each trial."""
    rows = [HEAD, *(_row(trial, results) for trial in TRIALS)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def _row(trial: Trial, results: Results) -> list[str]:
    ours, theirs = results.get((trial.name, OURS)), results.get((trial.name, PEER))
    if ours is None:
        return [trial.name, "FAILED", *[""] * (len(HEAD) - 2)]
    partitioned = results.get((trial.beside, OURS))
    goal = trial.goal if partitioned is None else NEARLY * partitioned.output_tok_s
    speed = ours.output_tok_s
    peer = None if theirs is None else theirs.output_tok_s
    return [
        *(trial.name, f"{speed:.0f}", _whole(goal), _ratio(speed, goal)),
        *(_whole(peer), _ratio(speed, peer)),
        *(f"{ours.ttft_p50_ms:.0f}", _whole(None if theirs is None else theirs.ttft_p50_ms)),
        *(f"{ours.itl_p99_ms:.0f}", _whole(None if theirs is None else theirs.itl_p99_ms)),
    ]


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _ratio(ours: float, other: float | None) -> str:
    return "" if other is None else f"{ours / other:.2f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.gpu", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="GGUF")
    add("--peer", type=Path, metavar="PATH", help="the llama-server binary")
    add("--ours", default=default_ours(), metavar="COMMAND", help="default: %(default)s")
    add("--flags", default="-ngl 99 -fa on", help="for all servers (default: %(default)s)")
    add("--slot-tokens", type=int, default=2048, help="context of a slot (default: 2048)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
