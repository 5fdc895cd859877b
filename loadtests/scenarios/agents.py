"""Coding agents: one long system prompt with tools, conversations that grow by tool results.

There are more agents than slots, so an agent loses its slot between turns. All agents share the
system prompt. At the end each agent retries its last turn: once as it was, and once with another
tool result in its place. A server that computes each token once computes only the system prompt,
the tool results, and nothing of what it answered itself.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.harness.prompts import seed_of
from loadtests.harness.scenario import Basic, Client, Load, Needs, Plan, Record, Request, completion

SYSTEM = 2000
TOOL_RESULT = (200, 800)
"""The fewest and the most tokens of a tool result."""
ANSWER, TURNS = 48, 6
SLOTS = 4


class Agents(Basic):
    name = "agents"
    title = (
        f"agents on {SLOTS} slots, {TURNS} turns and 2 retries each: {SYSTEM} shared tokens, then "
        f"{TOOL_RESULT[0]} to {TOOL_RESULT[1]} new ones a turn, {ANSWER} out"
    )
    key_metrics = ("output_tok_s", "ttft_p95_ms")
    needs = Needs(
        slot_tokens=SYSTEM + TURNS * (TOOL_RESULT[1] + ANSWER) + 128,
        slots=SLOTS,
        flags=("--cache-ram", "4096"),
    )

    def prepare(self, load: Load) -> Plan:
        system = tuple(load.draw(SYSTEM, "system"))
        return Plan(
            tuple(Client(_conversation(load, system, agent)) for agent in range(load.clients))
        )


@dataclass(frozen=True)
class Turn:
    """A request that can be made once the earlier answers are known."""

    system: tuple[int, ...]
    results: tuple[tuple[int, ...], ...]
    """The tool results of this turn and of all turns before it."""

    def __call__(self, earlier: Sequence[Record]) -> Request:
        prompt = list(self.system)
        answers = [record.tokens for record in earlier[: len(self.results) - 1]]
        for result, answer in zip(self.results, [*answers, []], strict=True):
            prompt += result
            prompt += answer
        return completion(prompt, ANSWER)


def _conversation(load: Load, system: tuple[int, ...], agent: int) -> tuple[Turn, ...]:
    results = [_tool_result(load, agent, turn) for turn in range(TURNS)]
    turns = [Turn(system, tuple(results[: turn + 1])) for turn in range(TURNS)]
    branch = Turn(system, (*results[:-1], _tool_result(load, agent, "branch")))
    return (*turns, turns[-1], branch)


def _tool_result(load: Load, agent: int, turn: object) -> tuple[int, ...]:
    sizes = random.Random(seed_of("size", load.seed, load.round, agent, turn))
    return tuple(load.draw(sizes.randint(*TOOL_RESULT), "tool result", agent, turn))


SCENARIO = Agents()
