"""Attacks beside an innocent client: nobody stops the others, and nobody sees what is theirs.

Each attack runs against a served model. Meanwhile an innocent client streams answers at temperature
0. The time between two of its tokens must stay below a second, and its texts as they are without
attack. Memory of the API process and of the engine may grow by 100 MiB. /health answers within 200
ms. No process dies, and no attacker gets a 500. Each kind of attack also makes its own claims.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from loadtests.harness.subject import EXACT, MODEL, api_process, busy_slots, metric, serving
from loadtests.trials.attacks.attack import (
    ATTACKER_KEY,
    CHATTING_KEY,
    INNOCENT_KEY,
    Attack,
    Setting,
    Target,
    chat,
    completion,
)
from loadtests.trials.attacks.families import ATTACKS
from loadtests.trials.attacks.judge import NO_CLOCK, Bounds, Finding, judge, print_head, print_row
from loadtests.trials.attacks.watch import Watched, Watcher, watching

USUAL = (*EXACT, "--cache-ram", "16", "--max-queue", "64", "--no-warmup")
"""A small cache in host memory: what it holds grows in order, and must not count."""

SETTLE_SECONDS = 1.5
"""How long the innocent client goes on after an attack, which may go on too."""

IDLE_SECONDS = 30.0
QUIET = "nobody attacks"
"""The row that shows how quiet the machine is; it is not judged."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options: which attacks, on which model, and whether the clock counts."""
    parser.add_argument("--model", default=MODEL, help="GGUF file, the demo model by default")
    parser.add_argument("--only", default="", help="numbers, comma-separated, all by default")
    parser.add_argument("--match", default="", help="a part of the attacks' names")
    parser.add_argument("--short", type=int, default=0, help="first N attacks of each number")
    parser.add_argument("--no-clock", action="store_true", help="no bound of time counts")
    parser.add_argument("--list", action="store_true", help="print the attacks, and run none")


async def run(options: argparse.Namespace) -> list[str]:
    """Run the trial and return what went wrong."""
    attacks = _chosen(options)
    if options.list:
        for attack in attacks:
            print(attack.number, attack.name)
        return []
    print_head()
    findings: list[Finding] = []
    for setting, group in _by_setting(attacks):
        findings += await _on_one_server(setting, group, options)
    broken = [finding for finding in findings if finding.problems]
    print(f"\n{len(findings)} attacks, {len(broken)} broke a bound")
    for number in sorted({finding.attack.number for finding in findings}):
        mine = [finding for finding in findings if finding.attack.number == number]
        bad = sum(bool(finding.problems) for finding in mine)
        print_row((str(number), f"{len(mine)} attacks", *_worst(mine), f"{bad} broken"))
    return [problem for finding in broken for problem in finding.problems]


def _worst(findings: list[Finding]) -> tuple[str, ...]:
    seen = [finding.seen for finding in findings]
    return (
        f"{max(s.gap_s for s in seen):.2f}",
        f"{max(s.wait_s for s in seen):.2f}",
        f"{1000 * max(s.health_s for s in seen):.0f}",
        f"{max(s.api.growth for s in seen):+.0f}",
        f"{max(s.engine.growth for s in seen):+.0f}",
        f"{max(s.others.peak for s in seen):.0f}",
    )


def _chosen(options: argparse.Namespace) -> list[Attack]:
    numbers = {int(number) for number in options.only.split(",") if number}
    chosen = []
    for number in sorted({attack.number for attack in ATTACKS}):
        mine = [attack for attack in ATTACKS if attack.number == number]
        chosen += mine[: options.short] if options.short else mine
    return [
        attack
        for attack in chosen
        if (not numbers or attack.number in numbers) and options.match in attack.name
    ]


def _by_setting(attacks: Iterable[Attack]) -> list[tuple[Setting, list[Attack]]]:
    """Attacks that may share a server, together."""
    groups: list[tuple[Setting, list[Attack]]] = []
    for attack in attacks:
        for setting, group in groups:
            if setting == attack.setting and not attack.is_alone and not group[0].is_alone:
                group.append(attack)
                break
        else:
            groups.append((attack.setting, [attack]))
    return groups


async def _on_one_server(
    setting: Setting, attacks: list[Attack], options: argparse.Namespace
) -> list[Finding]:
    """Run attacks on one server; a server that did not survive an attack is started again."""
    findings: list[Finding] = []
    rest = list(attacks)
    while rest:
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            flags = _flags(setting, folder, options.model)
            server = await stack.enter_async_context(serving(*flags, wrapper=setting.wrapper))
            keys = (INNOCENT_KEY, CHATTING_KEY) if setting.keys else ("", "")
            attackers = ATTACKER_KEY if setting.keys else ""
            await _warm_up(Target(server, folder, attackers))
            watched = Watched(server.address, api_process(server).pid, keys)
            watcher = await stack.enter_async_context(watching(watched))
            if not options.no_clock:
                quiet = Attack(0, QUIET, _nothing, setting)
                target = Target(server, folder, attackers)
                print_row((await _attempt(quiet, target, watcher, options)).row)
            while rest:
                attack = rest.pop(0)
                finding = await _attempt(
                    attack, Target(server, folder, attackers), watcher, options
                )
                if finding.slow and not finding.hard and not attack.is_alone:
                    # A machine with other work may be slow for once.
                    target = Target(server, folder, attackers)
                    finding = await _attempt(attack, target, watcher, options)
                findings.append(finding)
                print_row(finding.row)
                if finding.hard:
                    break
    return findings


async def _nothing(target: Target) -> None:
    await asyncio.sleep(1)


def _flags(setting: Setting, folder: Path, model: str) -> tuple[str, ...]:
    for name, text in setting.files:
        (folder / name).write_text(text)
    flags = [*USUAL, *(flag.replace("{folder}", str(folder)) for flag in setting.flags)]
    if setting.keys:
        keys = folder / "keys.toml"
        keys.write_text(setting.keys)
        flags += ["--api-keys-toml", str(keys)]
    path = setting.model(folder, model) if setting.model else model
    return ("-m", path, *flags)


async def _warm_up(target: Target) -> None:
    """Use each part of the server once, so that what it loads then is not an attack's."""
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    for path, body in (
        ("/completion", completion(grammar='root ::= "a"')),
        ("/completion", completion(n_probs=2, logit_bias=[[5, 1.0]], dry_multiplier=1.0)),
        ("/v1/chat/completions", chat(response_format=schema)),
        ("/tokenize", {"content": "hello " * 1000}),
        ("/completion", completion(prompt="word " * 500)),
    ):
        await target.together(4, path, body)
    for path in ("/props", "/slots", "/metrics", "/openapi.json"):
        await target.send("GET", path)


async def _attempt(
    attack: Attack, target: Target, watcher: Watcher, options: argparse.Namespace
) -> Finding:
    bounds = NO_CLOCK if options.no_clock else Bounds()
    key = INNOCENT_KEY if attack.setting.keys else ""
    restarts = await metric(target.server, "llamapack_engine_restarts_total", key)
    await watcher.begin()
    await asyncio.sleep(0.1)
    try:
        async with asyncio.timeout(180):
            await attack.run(target)
    except (OSError, TimeoutError) as error:
        target.claim(False, f"the attack could not go on: {type(error).__name__} {error}")
    await asyncio.sleep(SETTLE_SECONDS)
    seen = await watcher.end()
    try:
        target.server.check_alive()
        target.claim(await _becomes_idle(target, key), "slots stay busy")
        restarts = await metric(target.server, "llamapack_engine_restarts_total", key) - restarts
    except Exception as error:
        target.claim(False, f"the server ended: {str(error)[:200]}")
    statuses = dict(target.statuses)
    return judge(attack, seen, statuses, target.problems, restarts, bounds, target.told)


async def _becomes_idle(target: Target, key: str) -> bool:
    for _ in range(int(IDLE_SECONDS / 0.1)):
        if not await busy_slots(target.server, key):
            return True
        await asyncio.sleep(0.1)
    return False
