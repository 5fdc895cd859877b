"""Whether a text satisfies a constraint, and if not, where it stops and what could follow."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from llguidance import LLMatcher, LLTokenizer

from grammars.constraint import LLGuidanceGrammar
from grammars.deep_stack import call_with_deep_stack
from grammars.errors import GrammarError
from grammars.limits import parser_limits


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The verdict on a text."""

    is_accepted: bool
    end: int
    """Characters that the constraint allows, from the first on."""
    place: str
    """Where they end, as `line:column` of what would come next."""
    following: tuple[str, ...]
    """What could come next: characters and ranges of them."""
    may_end: bool
    """Whether the answer could end there."""


def accept(constraint: LLGuidanceGrammar, text: str) -> Acceptance:
    """Match a text byte by byte. Raises `GrammarError` if the grammar can't be built or run."""
    matcher = call_with_deep_stack(
        lambda: LLMatcher(
            _byte_tokenizer(), constraint.definition, log_level=0, limits=parser_limits()
        )
    )
    data = text.encode()
    num_taken = matcher.try_consume_tokens(list(data))
    end = len(data[:num_taken].decode(errors="ignore"))  # whole characters
    matcher.rollback(num_taken - len(text[:end].encode()))
    _raise_failure(matcher)
    may_end = matcher.is_accepting() or matcher.is_stopped()
    following = () if matcher.is_stopped() else _ranges(matcher)
    return Acceptance(may_end and end == len(text), end, _place(text[:end]), following, may_end)


@functools.cache
def _byte_tokenizer() -> LLTokenizer:
    """A vocabulary of the 256 bytes, and some tokens that no text is."""
    return LLTokenizer("byte")


def _ranges(matcher: LLMatcher) -> tuple[str, ...]:
    """The ASCII characters that may come next, and whether others may."""
    mask = int.from_bytes(matcher.compute_bitmask(), "little")
    _raise_failure(matcher)
    ranges: list[list[int]] = []
    for code in range(128):
        if mask >> code & 1:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    texts = [
        repr(chr(low)) if low == high else f"{chr(low)!r}-{chr(high)!r}" for low, high in ranges
    ]
    return (*texts, "other characters") if mask >> 128 & (1 << 128) - 1 else tuple(texts)


def _raise_failure(matcher: LLMatcher) -> None:
    if matcher.is_error():
        raise GrammarError(matcher.get_error().strip())


def _place(before: str) -> str:
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
