"""The typed form of an output constraint, on its way from a request body to the engine."""

from __future__ import annotations

import msgspec


class LLGuidanceGrammar(msgspec.Struct, frozen=True, tag="llguidance"):
    """A grammar that llguidance enforces.

    `definition` is what `llguidance.LLMatcher` takes: Lark text or the JSON of a grammar list.
    """

    definition: str
    is_written: bool = False
    """Whether the client wrote the rules, which may then be ambiguous. A JSON Schema's are not."""


class GbnfGrammar(msgspec.Struct, frozen=True, tag="gbnf"):
    """A GBNF grammar that llama.cpp's own grammar sampler enforces; the root rule is `root`."""

    text: str


class LazyConstraint(msgspec.Struct, frozen=True, tag="lazy"):
    """Free text until a trigger appears, and `constraint` from there to the end.

    A trigger is one of `words` in the text, or one of `tokens`; the one that ends first counts. The
    answer may also end without a trigger.
    """

    constraint: LLGuidanceGrammar | GbnfGrammar
    words: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    keep_trigger: bool = True
    """Whether the grammar describes the trigger too, as in llama.cpp, or only the text after it."""


class ThinkingConstraint(msgspec.Struct, frozen=True, tag="thinking"):
    """Free thinking of bounded length, if the model thinks, and `constraint` after the thinking.

        opening | thinking, at most `max_tokens` | closing | gaps | what `constraint` describes
                                        `end` is forced there ┘

    An answer that doesn't begin with the opening has no thinking: `constraint` applies from its
    first token on.
    """

    opening: tuple[int, ...]
    """Tokens that begin the thinking; empty if the prompt already contains them."""
    closing: str
    """Text that ends the thinking."""
    end: tuple[int, ...]
    """Tokens that are forced when thinking is too long; the last of them complete the closing."""
    max_tokens: int = -1
    """Maximum number of tokens between the opening and the end; -1 means no limit."""
    room: int = -1
    """Tokens that the whole answer may have; -1 means no limit. The thinking is ended in time for
    what `constraint` requires."""
    gaps: tuple[int, ...] = ()
    """White-space tokens that may stand between the closing and what `constraint` describes."""
    constraint: LLGuidanceGrammar | GbnfGrammar | LazyConstraint | None = None


Constraint = LLGuidanceGrammar | GbnfGrammar | LazyConstraint | ThinkingConstraint
