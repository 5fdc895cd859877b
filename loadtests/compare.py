"""Compares servers under the same load, one after the other: `python -m loadtests.compare
--help`."""

from __future__ import annotations

import argparse
import functools
import gc
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench_models import ensure_model
from loadtests.gain import Exchange, exchanges, gain_lines
from loadtests.harness import loops
from loadtests.harness.exposition import counters_between
from loadtests.harness.load import run_plan
from loadtests.harness.machine import machine_facts
from loadtests.harness.measure import Run, failures, measure
from loadtests.harness.progress import Progress
from loadtests.harness.prompts import PromptSource
from loadtests.harness.report import Cell, Group, Report, to_json, to_text
from loadtests.harness.scenario import (
    OURS,
    PEER,
    Client,
    Load,
    Plan,
    Record,
    Scenario,
    Variant,
    completion,
)
from loadtests.harness.servers import Server, ServerError, Side, running
from loadtests.scenarios import load_all
from loadtests.vocabulary import prompt_source

DEFAULT_MODEL = "bench-100m-q8_0"
WARM_UP_TOKENS = 8
SHOWN_FAILURES = 5

Answers = dict[tuple[int, str], list[Exchange]]
"""Answers of the first round, by number of clients and side."""


class RunError(Exception):
    """Some answers of a run were wrong; the message has a line for each."""


@dataclass(frozen=True)
class Settings:
    programs: dict[str, Side]
    """Programs by name: ours and the peer, as the command line gives them."""
    clients: tuple[int, ...]
    rounds: int
    threads: int
    slots: int
    flags: tuple[str, ...]
    keys: int | None
    seed: int


@dataclass(frozen=True)
class Setup:
    """A scenario with the settings that its servers are started with."""

    scenario: Scenario
    model: Path
    prompts: PromptSource
    slots: int
    threads: int
    flags: tuple[str, ...]
    keys: tuple[str, ...]
    sides: tuple[Side, ...]

    def plan(self, settings: Settings, clients: int, round_: int) -> Plan:
        return self.scenario.prepare(Load(clients, self.slots, round_, self.prompts, settings.seed))


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every answer was complete, 1 if not, 2 for a usage error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        report = compare(options)
    except KeyboardInterrupt:
        print("\ninterrupted; the servers are stopped", file=sys.stderr)
        return 130
    except (ServerError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(to_text(report))
    if options.json:
        options.json.write_bytes(to_json(report))
    return 1 if report.failures else 0


def compare(options: argparse.Namespace) -> Report:
    """Run everything that the options select."""
    settings = _settings(options)
    setups = [_setup(settings, scenario, options.model) for scenario in _scenarios(options)]
    runs = [
        (setup, clients, round_, side)
        for setup in setups
        for clients in settings.clients
        for round_ in range(settings.rounds)
        for side in setup.sides
    ]
    work = sum(
        setup.plan(settings, clients, round_).cost_tokens for setup, clients, round_, _ in runs
    )
    progress = Progress(len(runs), work)
    facts = machine_facts(options.peer)
    progress.say(facts.line())
    groups = tuple(_compare_scenario(settings, setup, progress) for setup in setups)
    return Report(facts, tuple(sys.argv), settings.rounds, groups)


def _compare_scenario(settings: Settings, setup: Setup, progress: Progress) -> Group:
    cells = {clients: Cell(setup.scenario.name, clients) for clients in settings.clients}
    answers: Answers = {}
    for round_ in range(settings.rounds):
        for clients, cell in cells.items():
            for side in _order(setup.sides, round_):
                found = _run_one(settings, setup, cell, clients, round_, side, progress)
                answers.setdefault((clients, side.name), found)
    scenario = setup.scenario
    return Group(
        scenario.name,
        scenario.title,
        scenario.key_metrics,
        setup.model.name,
        setup.flags,
        tuple(cells.values()),
        tuple(side.name for side in setup.sides),
        scenario.needs.ratios,
        tuple(_notes(setup, cells.values(), answers)),
    )


def _notes(setup: Setup, cells: Iterable[Cell], answers: Answers) -> Iterator[str]:
    """The possible gain of speculative decoding, for scenarios that measure it."""
    for cell in cells:
        for speculation in setup.scenario.needs.speculation:
            given = answers.get((cell.clients, speculation.plain))
            if given:
                yield from gain_lines(speculation, cell, given, setup.model, setup.threads)


def _order(sides: tuple[Side, ...], round_: int) -> Iterator[Side]:
    """A B, then B A, and so on, so that neither side always gets the warmer machine."""
    return iter(sides) if round_ % 2 == 0 else reversed(sides)


def _run_one(
    settings: Settings,
    setup: Setup,
    cell: Cell,
    clients: int,
    round_: int,
    side: Side,
    progress: Progress,
) -> list[Exchange]:
    """Run one side once; return its answers if the gain of speculative decoding is computed from
    them."""
    plan = setup.plan(settings, clients, round_)
    progress.begin(
        f"{cell.scenario} · {clients} clients · round {round_ + 1}/{settings.rounds} · {side.name}"
    )
    try:
        run, records = loops.run(_measured_run(side, setup, plan))
    except (ServerError, RunError) as error:
        cell.failures.append(f"{side.name}, round {round_ + 1}: {error}")
        cell.add(side.name, None)
        progress.end(plan.cost_tokens, f"FAILED: {error}")
        return []
    cell.add(side.name, run)
    progress.end(
        plan.cost_tokens,
        f"{run.output_tok_s:.1f} tok/s, TTFT p95 {run.ttft_p95_ms:.0f} ms, "
        f"ITL p99 {run.itl_p99_ms:.1f} ms, {run.wall_s:.1f} s",
    )
    return exchanges(plan, records) if setup.scenario.needs.speculation else []


async def _measured_run(side: Side, setup: Setup, plan: Plan) -> tuple[Run, list[Record]]:
    """Start the server, warm it up, send the plan, stop the server."""
    scenario = setup.scenario
    with scenario.surroundings(), running(side, ["-m", str(setup.model), *setup.flags]) as server:
        await server.wait_ready()
        await _whole_answers(server, setup, _warm_up(setup))
        key = setup.keys[0] if setup.keys else ""
        before = await server.counters(key=key)
        gc.collect()
        gc.disable()  # a garbage collection would delay the time stamps
        try:
            async with server.metered() as meter:
                records = await _whole_answers(server, setup, plan)
        finally:
            gc.enable()
        counters = counters_between(before, await server.counters(key=key))
    return measure(plan, records, meter.cost, counters), records


async def _whole_answers(server: Server, setup: Setup, plan: Plan) -> list[Record]:
    """Send the plan; raise unless every request gets a complete, right answer."""
    records = await run_plan(server.address, plan, setup.keys)
    verdicts = {index: setup.scenario.check(record) for index, record in enumerate(records)}
    lines = failures(records, verdicts)
    if lines:
        more = [f"and {len(lines) - SHOWN_FAILURES} more"] if len(lines) > SHOWN_FAILURES else []
        summary = "\n    ".join([*lines[:SHOWN_FAILURES], *more])
        raise RunError(summary + await server.post_mortem())
    return records


def _warm_up(setup: Setup) -> Plan:
    """A few tokens in every slot at once, with prompts that no plan has."""
    load = Load(setup.slots, setup.slots, -1, setup.prompts)
    requests = [
        completion(load.draw(WARM_UP_TOKENS, "warm-up", slot), WARM_UP_TOKENS)
        for slot in range(setup.slots)
    ]
    return Plan(tuple(Client((request,)) for request in requests))


def _setup(settings: Settings, scenario: Scenario, model: str | None) -> Setup:
    needs = scenario.needs
    slots = needs.slots or settings.slots
    threads = needs.threads or settings.threads
    path = _model_path(model or needs.model or DEFAULT_MODEL)
    num_keys = needs.keys if settings.keys is None else settings.keys
    keys = tuple(f"key-{number}" for number in range(num_keys))
    flags = (
        *("-c", str(slots * needs.slot_tokens), "-np", str(slots)),
        *("-t", str(threads), "-tb", str(threads), "--metrics"),
        *(("--api-key", ",".join(keys)) if keys else ()),
        *needs.flags,
        *settings.flags,
    )
    sides = tuple(_side(variant, settings) for variant in needs.variants)
    return Setup(scenario, path, _prompts(path), slots, threads, flags, keys, sides)


def _side(variant: Variant, settings: Settings) -> Side:
    program = settings.programs[variant.program]
    return Side(variant.name, program.command, (*variant.flags, *program.flags))


def _model_path(name: str) -> Path:
    """The path of a GGUF file, or of the bench model of that name, which is made if necessary."""
    path = Path(name)
    return path if path.suffix == ".gguf" else ensure_model(name)


@functools.cache
def _prompts(model: Path) -> PromptSource:
    return prompt_source(model)


def _scenarios(options: argparse.Namespace) -> list[Scenario]:
    known = load_all()
    names: list[str] = options.scenario or ["all"]
    if "all" in names:
        return list(known.values())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no scenario {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in names]


def _settings(options: argparse.Namespace) -> Settings:
    ours = Side(OURS, tuple(shlex.split(options.ours)), tuple(shlex.split(options.ours_flags)))
    peer = Side(PEER, (str(options.peer),), tuple(shlex.split(options.peer_flags)))
    return Settings(
        programs={OURS: ours, PEER: peer},
        clients=options.clients,
        rounds=options.rounds,
        threads=options.threads,
        slots=options.slots,
        flags=tuple(shlex.split(options.flags)),
        keys=options.keys,
        seed=options.seed,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.compare",
        description="Compare llamapack with llama-server: same model, same flags, same load.",
    )
    add = parser.add_argument
    add("--peer", type=Path, required=True, metavar="PATH", help="the llama-server binary")
    add("--ours", default=default_ours(), metavar="COMMAND", help="default: %(default)s")
    add("--scenario", action="append", metavar="NAME", help=f"{', '.join(load_all())}, or all")
    add("--clients", type=_counts, default=(1, 4, 8), metavar="N,N", help="default: 1,4,8")
    add("--rounds", type=_count, default=3, metavar="N", help="default: %(default)s")
    add("--threads", type=_count, default=1, metavar="N", help="default: %(default)s")
    add("--slots", type=_count, default=8, metavar="N", help="default: %(default)s")
    add("--keys", type=_count, metavar="N", help="API keys, which the clients use in turn")
    add("--model", metavar="MODEL", help="a GGUF file or a bench model's name")
    add("--flags", default="", metavar="FLAGS", help="further flags for all servers")
    add("--ours-flags", default="", metavar="FLAGS", help="further flags for llamapack alone")
    add("--peer-flags", default="", metavar="FLAGS", help="further flags for llama-server alone")
    add("--seed", type=int, default=0, metavar="N", help="other prompts (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all numbers there as well")
    return parser


def default_ours() -> str:
    return shlex.join([str(Path(sys.executable).with_name("llamapack")), "serve"])


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _interrupt(signum: int, frame: object) -> None:
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
