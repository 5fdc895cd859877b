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


Constraint = LLGuidanceGrammar | GbnfGrammar | LazyConstraint
