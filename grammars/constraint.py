"""The typed form of an output constraint, as it travels from a request body to the engine."""

from __future__ import annotations

import msgspec


class LLGuidanceGrammar(msgspec.Struct, frozen=True, tag="llguidance"):
    """A grammar that llguidance enforces.

    `definition` is what `llguidance.LLMatcher` takes: Lark text or the JSON of a grammar list.
    """

    definition: str


class GbnfGrammar(msgspec.Struct, frozen=True, tag="gbnf"):
    """A GBNF grammar that llama.cpp's own grammar sampler enforces; the root rule is `root`."""

    text: str


class LazyConstraint(msgspec.Struct, frozen=True, tag="lazy"):
    """Free text until a trigger appears in it, and `constraint` from there to the end.

    A trigger is one of `words` in the text, or one of `tokens`; whichever ends first counts.
    The answer may also end without one.
    """

    constraint: LLGuidanceGrammar | GbnfGrammar
    words: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    keep_trigger: bool = True
    """Whether the grammar describes the trigger too, as in llama.cpp, or what follows it."""


class ThinkingConstraint(msgspec.Struct, frozen=True, tag="thinking"):
    """Free thinking of a bounded length first, if the model thinks; `constraint` after it.

        opening | thinking, at most `max_tokens` | closing | gaps | what `constraint` describes
                                        `end` is forced there ┘

    An answer that doesn't begin with the opening is `constraint`'s from its first token on.
    """

    opening: tuple[int, ...]
    """What begins the thinking; empty where the prompt has begun it already."""
    closing: str
    """What ends it."""
    end: tuple[int, ...]
    """The tokens that end thinking which has become too long; the closing is the last of them."""
    max_tokens: int = -1
    """Between the opening and the end; -1 is any number."""
    gaps: tuple[int, ...] = ()
    """White space that may stand between the closing and what `constraint` describes."""
    constraint: LLGuidanceGrammar | GbnfGrammar | LazyConstraint | None = None


Constraint = LLGuidanceGrammar | GbnfGrammar | LazyConstraint | ThinkingConstraint
