"""More conversations than slots, so that each conversation loses its slot between turns.

Twice as many conversations as slots alternate. The prompt of a turn is the whole conversation so
far and new words. A server that kept the cells of a conversation computes only the new words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from loadtests.harness.scenario import Basic, Client, Load, Needs, Plan, Record, Request, completion

OPENING, TURN, ANSWER, TURNS = 512, 48, 48, 6
SLOTS = 4


class MultiTurn(Basic):
    name = "multi-turn"
    title = (
        f"conversations of {TURNS} turns on {SLOTS} slots: {OPENING} tokens at first, then {TURN} "
        f"new ones a turn, {ANSWER} out"
    )
    key_metrics = ("output_tok_s", "ttft_p95_ms")
    needs = Needs(slot_tokens=OPENING + TURNS * (TURN + ANSWER) + 128, slots=SLOTS)

    def prepare(self, load: Load) -> Plan:
        return Plan(tuple(Client(_conversation(load, index)) for index in range(load.clients)))


@dataclass(frozen=True)
class Turn:
    """A request that can be made once the earlier answers are known."""

    opening: tuple[int, ...]
    words: tuple[tuple[int, ...], ...]
    """The new tokens of this turn and of all earlier turns."""

    def __call__(self, earlier: Sequence[Record]) -> Request:
        prompt = list(self.opening)
        for said, record in zip_longest(self.words, earlier):
            prompt += said
            prompt += record.tokens if record else []
        return completion(prompt, ANSWER)


def _conversation(load: Load, client: int) -> tuple[Turn, ...]:
    words = [tuple(load.draw(TURN, "turn", client, turn)) for turn in range(TURNS)]
    opening = tuple(load.draw(OPENING, "opening", client))
    return tuple(Turn(opening, tuple(words[: turn + 1])) for turn in range(TURNS))


SCENARIO = MultiTurn()
