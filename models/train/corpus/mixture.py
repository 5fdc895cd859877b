"""Whole conversations: combinations of skills, numbers of turns, and system prompts."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

from models.train.corpus.arithmetic import arithmetic_turn
from models.train.corpus.calendar import calendar_turn
from models.train.corpus.capitals import capital_turn
from models.train.corpus.chat import chat_turn, naming_turns, no_name_turn
from models.train.corpus.extraction import extraction_turn
from models.train.corpus.repeating import repeating_turn
from models.train.corpus.split import Split
from models.train.corpus.stories import story_turn
from models.train.corpus.systems import system_prompt
from models.train.corpus.tools import declare_tools, tool_turn
from models.train.corpus.turns import Conversation, Turn
from models.train.corpus.units import unit_turn
from models.train.corpus.unknown import unknown_turn

Generator = Callable[[random.Random, Split], Turn]

# Skill -> (generator, share of the turns). Hard skills have large shares, not frequent ones.
SKILLS: dict[str, tuple[Generator, float]] = {
    "arithmetic": (arithmetic_turn, 34),
    "capitals": (capital_turn, 13),
    "extraction": (extraction_turn, 28),
    "calendar": (calendar_turn, 6),
    "units": (unit_turn, 6),
    "repeat": (repeating_turn, 10),
    "unknown": (unknown_turn, 5),
    "chat": (chat_turn, 3),
    "story": (story_turn, 1),
}
_GENERATORS = [generator for generator, _ in SKILLS.values()]

TOOLS_SHARE = 0.22
THINKING_SHARE = 0.12
MEMORY_SHARE = 0.04


BOOST = 4
"""Factor by which a boosted skill is more frequent."""


def conversation(
    seed: int, index: int, split: Split, *, long: bool = False, boost: Collection[str] = ()
) -> Conversation:
    """Conversation `index` of the corpus `seed`.

    The conversation depends only on the arguments. `boost` names the skills (or "tools") that a
    last phase of training should practise. A `long` conversation has dozens of turns or a very long
    system prompt.
    """
    rng = random.Random(f"{seed}/{split.value}/{long}/{index}")
    tools_share = TOOLS_SHARE * (2 if "tools" in boost else 1)
    declared = (
        declare_tools(rng, split, rng.choice((1, 1, 2, 2, 3, 4)))
        if rng.random() < tools_share
        else ()
    )
    turns: list[Turn] = []
    # A conversation with tools has more turns, because its declarations are long and occur once.
    for _ in range(_turn_count(rng, long) + (rng.randint(0, 3) if declared else 0)):
        if declared and rng.random() < 0.75:
            turns.append(tool_turn(rng, split, declared))
        else:
            kinds = [tool.kind.names[0] for tool in declared]
            turns.append(_plain_turn(rng, split, kinds, boost))
    if rng.random() < MEMORY_SHARE:
        turns = _with_naming(rng, split, turns)
    return Conversation(
        system=system_prompt(rng, long=long),
        tools=tuple(tool.tool for tool in declared),
        turns=tuple(turns),
        thinking=rng.random() < THINKING_SHARE,
    )


def _turn_count(rng: random.Random, long: bool) -> int:
    if long:
        return rng.randint(4, 40)
    roll = rng.random()
    return 1 if roll < 0.55 else rng.randint(2, 4) if roll < 0.93 else rng.randint(5, 8)


def _plain_turn(rng: random.Random, split: Split, kinds: list[str], boost: Collection[str]) -> Turn:
    """A turn that needs no tool, even if tools are declared."""
    shares = [share * BOOST if name in boost else share for name, (_, share) in SKILLS.items()]
    while True:
        turn = rng.choices(_GENERATORS, shares)[0](rng, split)
        # If a matching tool is declared, these questions would have to be calls.
        if (
            not kinds
            or turn.skill not in ("unknown", "arithmetic")
            or (turn.skill == "arithmetic" and "calculate" not in kinds)
        ):
            return turn
        if turn.skill == "unknown" and not _has_rival(turn, kinds):
            return turn


def _has_rival(turn: Turn, kinds: list[str]) -> bool:
    """Whether an unknown question resembles one that a declared tool answers."""
    asked = str(turn.messages[0]["content"]).lower()
    hints = {
        "get_weather": "weather",
        "get_time": "time",
        "calculate": "what is",
        "play_music": "play",
        "find_contact": "call",
        "set_timer": "minutes",
        "get_distance": "far",
        "search": "what",
        "get_stock_price": "what is the",
    }
    return any(hints[kind] in asked for kind in kinds if kind in hints)


def _with_naming(rng: random.Random, split: Split, turns: list[Turn]) -> list[Turn]:
    """Put a turn that tells a name first, and insert the question about the name after some
    turns."""
    if rng.random() < 0.2:
        return [*turns, no_name_turn(rng, split)]
    told, asked = naming_turns(rng, split)
    place = rng.randint(0, len(turns))
    return [told, *turns[:place], asked, *turns[place:]]
