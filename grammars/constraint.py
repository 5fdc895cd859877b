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


Constraint = LLGuidanceGrammar | GbnfGrammar
