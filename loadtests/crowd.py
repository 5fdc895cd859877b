"""Runs many more clients than slots, in rounds: `python -m loadtests.crowd --help`.

Every client must get its complete answer, and no process may keep growing.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtests.harness.load import run_plan
from loadtests.harness.measure import failures
from loadtests.harness.scenario import Client, Plan, completion
from loadtests.harness.servers import Server, Side, running
from loadtests.vocabulary import prompt_source

WARM_ROUNDS = 2
"""Rounds until caches and memory pools have reached their size."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every answer was complete and memory stayed within the allowance, otherwise 1."""
    options = _parser().parse_args(arguments)
    side = Side("llamapack", (str(Path(sys.executable).with_name("llamapack")), "serve"))
    flags = ["-m", str(options.model), "-np", str(options.slots), "-c", str(options.slots * 512)]
    with running(side, [*flags, *shlex.split(options.flags)]) as server:
        sizes, wrong = asyncio.run(_rounds(server, options))
    growth = [100 * (last / warm - 1) for warm, last in zip(sizes[0], sizes[-1], strict=True)]
    print(f"growth since round {WARM_ROUNDS}: " + ", ".join(f"{g:+.2f} %" for g in growth))
    return 1 if wrong or max(growth) > options.allow else 0


async def _rounds(server: Server, options: argparse.Namespace) -> tuple[list[list[float]], int]:
    """Resident MiB of every process after each warm round, and the number of wrong answers."""
    await server.wait_ready()
    prompts = prompt_source(options.model)
    sizes: list[list[float]] = []
    wrong = 0
    for round_ in range(WARM_ROUNDS + options.rounds):
        plan = Plan(
            tuple(
                Client((completion(prompts.tokens(48, round_, client), options.tokens),))
                for client in range(options.clients)
            )
        )
        records = await run_plan(server.address, plan)
        lines = failures(records, {})
        wrong += len(lines)
        resident = server.resident_mib()
        if round_ >= WARM_ROUNDS - 1:
            sizes.append(resident)
        shown = ", ".join(f"{size:.1f} MiB" for size in resident)
        whole = len(records) - len(lines)
        print(f"round {round_ + 1}: {whole} of {len(records)} whole answers; resident {shown}")
        for line in lines[:3]:
            print(f"  {line}")
    return sizes, wrong


def _parser() -> argparse.ArgumentParser:
    demo = Path(__file__).parents[1] / "models" / "demo" / "demo-target.gguf"
    parser = argparse.ArgumentParser(prog="python -m loadtests.crowd", description=__doc__)
    parser.add_argument("--model", type=Path, default=demo, help="GGUF (default: the demo model)")
    parser.add_argument("--clients", type=int, default=200, help="default: 200")
    parser.add_argument("--slots", type=int, default=8, help="default: 8")
    parser.add_argument("--rounds", type=int, default=10, help="measured rounds (default: 10)")
    parser.add_argument("--tokens", type=int, default=32, help="of each answer (default: 32)")
    parser.add_argument("--flags", default="", help="further flags of the server")
    parser.add_argument("--allow", type=float, default=2.0, help="growth in %% (default: 2)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
