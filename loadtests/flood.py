"""Sends far more requests than the server takes, all at once: `python -m loadtests.flood --help`.

One key floods the server while another key sends a request now and then. Every accepted request
must get its complete answer, and every other request must be refused at once. The light key must
hardly notice, and no process may keep growing.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.harness import loops
from loadtests.harness.client import stream
from loadtests.harness.measure import Cost
from loadtests.harness.prompts import PromptSource
from loadtests.harness.scenario import Record, completion
from loadtests.harness.servers import Server, Side, running
from loadtests.harness.stats import percentile
from loadtests.visitor import Visit, visiting
from loadtests.vocabulary import prompt_source

HEAVY, LIGHT = "heavy", "light"
"""The two keys, and the roles of their requests."""

PROMPT = 48
CACHE_MIB = 16
"""Host memory for prefixes in MiB; small, so that it is full before the first measured round."""
WARM_ROUNDS = 3
"""Rounds until caches and memory pools have reached their size."""
REFUSED = re.compile(r"/completion 429 ([\d.]+) ms")
"""The server's log line for a refusal, with the server's own time."""


@dataclass
class Flood:
    """The outcome of one round."""

    heavy: list[Record] = field(default_factory=list)
    light: list[Record] = field(default_factory=list)
    refusals_ms: list[float] = field(default_factory=list)
    """The server's own times for its refusals."""

    @property
    def accepted(self) -> list[Record]:
        return [record for record in self.heavy if record.status == 200]

    @property
    def refused(self) -> list[Record]:
        return [record for record in self.heavy if record.status == 429]

    @property
    def service_s(self) -> float:
        """Median seconds that one request of the flood occupies a slot."""
        return percentile([r.finished - r.arrivals[0] for r in self.accepted if r.arrivals], 50)

    @property
    def light_waits_s(self) -> list[float]:
        return [record.arrivals[0] - record.started for record in self.light if record.arrivals]


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every promise was kept; otherwise 1, after a line for each broken promise."""
    options = _parser().parse_args(arguments)
    side = Side("llamapack", (str(Path(sys.executable).with_name("llamapack")), "serve"))
    flags = [
        *("-m", str(options.model), "-np", str(options.slots), "-c", str(options.slots * 512)),
        *("--max-queue", str(options.queue), "--api-key", f"{HEAVY},{LIGHT}"),
        *("--cache-ram", str(CACHE_MIB)),
        *shlex.split(options.flags),
    ]
    with running(side, flags) as server:
        broken = loops.run(_rounds(server, options))
    for line in broken:
        print(f"BROKEN: {line}")
    return 1 if broken else 0


async def _rounds(server: Server, options: argparse.Namespace) -> list[str]:
    """The broken promises of all rounds."""
    await server.wait_ready()
    prompts = prompt_source(options.model)
    broken: list[str] = []
    sizes: list[list[float]] = []
    for round_ in range(1, 1 + WARM_ROUNDS + options.rounds):
        async with server.metered() as meter:
            flood = await _flood(server, prompts, options, round_)
        sizes.append(server.resident_mib())
        print(_line(round_, flood, meter.cost, sizes[-1]))
        broken += [f"round {round_}: {line}" for line in _broken_promises(flood, options)]
    warm = sizes[WARM_ROUNDS - 1]
    growth = [100 * (last / first - 1) for first, last in zip(warm, sizes[-1], strict=True)]
    print(f"growth since round {WARM_ROUNDS}: " + ", ".join(f"{g:+.2f} %" for g in growth))
    if max(growth) > options.allow:
        broken.append(f"memory grew by more than {options.allow:g} %")
    return broken


async def _flood(
    server: Server, prompts: PromptSource, options: argparse.Namespace, round_: int
) -> Flood:
    """`clients` of the heavy key share its requests; the light key sends its requests one by
    one."""
    flood = Flood()
    logged = len(_refusals(server))
    drawn = iter([prompts.tokens(PROMPT, round_, index) for index in range(options.requests)])

    async def heavy() -> None:
        for prompt in drawn:
            request = completion(prompt, options.tokens, role=HEAVY)
            flood.heavy.append(await stream(server.address, request, key=HEAVY))

    light = Visit(
        address=server.address,
        prompts=prompts,
        seed=(round_, LIGHT),
        prompt_tokens=PROMPT,
        answer_tokens=options.tokens,
        pause_s=options.pause,
        key=LIGHT,
    )
    clients = min(options.clients or options.requests, options.requests)
    async with visiting(light) as flood.light:
        await asyncio.gather(*(heavy() for _ in range(clients)))
    await asyncio.sleep(0.2)  # until the log is written
    flood.refusals_ms = _refusals(server)[logged:]
    return flood


def _refusals(server: Server) -> list[float]:
    return [float(ms) for ms in REFUSED.findall(server.log_text())]


def _broken_promises(flood: Flood, options: argparse.Namespace) -> list[str]:
    """The broken promises of one round."""
    wrong = []
    broken = [r for r in flood.accepted if r.error]
    if broken:
        wrong.append(f"{len(broken)} accepted requests were not answered: {broken[0].error}")
    others = [r for r in flood.heavy if r.status not in (200, 429)]
    if others:
        wrong.append(f"{len(others)} were neither accepted nor refused: {others[0].error}")
    if any(not record.headers.get("retry-after", "").isdigit() for record in flood.refused):
        wrong.append("a refusal does not say when to retry")
    slowest = max(flood.refusals_ms, default=0.0)
    if slowest > options.refuse_ms:
        wrong.append(f"a refusal took {slowest:.0f} ms at the server")
    if any(record.error for record in flood.light):
        wrong.append(f"the light key was not served: {flood.light[0].error}")
    waited = max(flood.light_waits_s, default=0.0) / flood.service_s
    if waited > options.wait:
        wrong.append(f"the light key waited {waited:.1f} service times")
    return wrong


def _line(round_: int, flood: Flood, cost: Cost, resident: list[float]) -> str:
    refused = [1000 * (record.finished - record.started) for record in flood.refused]
    waits = [wait / flood.service_s for wait in flood.light_waits_s]
    memory = ", ".join(f"{size:.1f}" for size in resident)
    return (
        f"round {round_}: {len(flood.heavy)} requests in {cost.wall_s:.1f} s, "
        f"{len(flood.accepted)} accepted, {len(flood.refused)} refused\n"
        f"  refusals, ms: {_spread(flood.refusals_ms)} at the server; {_spread(refused)} as the "
        f"clients see it\n"
        f"  light key: {len(flood.light)} requests waited {_spread(waits, '.2f')} service times "
        f"of {flood.service_s:.2f} s\n"
        f"  CPU s: server {cost.server_cpu_s:.1f}, clients {cost.client_cpu_s:.1f}, others "
        f"{cost.others_cpu_s:.1f}; resident MiB: {memory}"
    )


def _spread(values: Sequence[float], layout: str = ".1f") -> str:
    median, high, most = (percentile(values, q) for q in (50, 99, 100))
    return f"{median:{layout}} (p99 {high:{layout}}, most {most:{layout}})"


def _parser() -> argparse.ArgumentParser:
    demo = Path(__file__).parents[1] / "models" / "demo" / "demo-target.gguf"
    parser = argparse.ArgumentParser(prog="python -m loadtests.flood", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=demo, help="GGUF (default: the demo model)")
    add("--requests", type=int, default=2000, help="of the flood (default: 2000)")
    add("--clients", type=int, help="who send them, one after the other (default: all at once)")
    add("--slots", type=int, default=4, help="default: 4")
    add("--queue", type=int, default=50, help="default: 50")
    add("--rounds", type=int, default=3, help="measured rounds (default: 3)")
    add("--tokens", type=int, default=256, help="of each answer (default: 256)")
    add("--pause", type=float, default=0.1, help="of the light key, seconds (default: 0.1)")
    add("--refuse-ms", type=float, default=100.0, help="a refusal may take (default: 100)")
    add("--wait", type=float, default=2.0, help="service times for the light key (default: 2)")
    add("--allow", type=float, default=5.0, help="growth of memory in %% (default: 5)")
    add("--flags", default="", help="further flags of the server")
    return parser


if __name__ == "__main__":
    sys.exit(main())
