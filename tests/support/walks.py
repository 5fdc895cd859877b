"""Random walks over the grammars of calls, on a vocabulary of bytes."""

from __future__ import annotations

import random

from llguidance import LLMatcher, LLTokenizer

from grammars import compiler
from grammars.constraint import LLGuidanceGrammar
from server.parsers.formats import ToolFormat
from server.parsers.syntax import BREAK

_CHARS = '"ab\\xyX07-,:<>{}[]/é\n @.=C'

MAX_BYTES = 4_000


class UnfinishedWalk(Exception):
    """The grammar allows answers of any length, and the walk found no end in time."""


def random_answer(lark: str, family: ToolFormat, chance: random.Random) -> str:
    """A whole answer that the grammar allows, its ends of texts found by trying them."""
    constraint = compiler.from_lark(lark)
    assert isinstance(constraint, LLGuidanceGrammar)
    matcher = LLMatcher(LLTokenizer("byte"), constraint.definition)
    pieces = family.syntax.parameters
    ends = ['"', "}", "]", ")"]
    if pieces is not None:
        ends = [(pieces.quote or "") + pieces.after, pieces.after, pieces.after.strip(), *ends]
    ends = [end.replace(BREAK, "") for end in ends if end]
    answer: list[int] = []
    while not matcher.is_stopped() and len(answer) < MAX_BYTES:
        step = matcher.compute_ff_tokens()
        if not step:
            fits = [end for end in ends if is_possible(matcher, end)]
            free = [char for char in _CHARS if is_possible(matcher, char)]
            likely = fits if fits and (chance.random() < 0.2 or not free) else free or fits
            step = list(chance.choice(likely).encode()) if likely else any_byte(matcher, chance)
        if not step:
            break
        assert matcher.consume_tokens(step)
        answer += step
    if len(answer) >= MAX_BYTES:
        raise UnfinishedWalk
    assert matcher.is_accepting(), bytes(answer)
    return bytes(answer).decode()


def is_possible(matcher: LLMatcher, text: str) -> bool:
    """Whether the text may come next."""
    data = list(text.encode())
    return bool(matcher.validate_tokens(data) == len(data))


def any_byte(matcher: LLMatcher, chance: random.Random) -> list[int]:
    """A printable character that may come next; nothing if none may."""
    allowed = [byte for byte in range(32, 127) if matcher.validate_tokens([byte]) == 1]
    return [chance.choice(allowed)] if allowed else []
