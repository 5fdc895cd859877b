"""Checks a text against a constraint, and says where a text fails and what could follow."""

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
    """The result of matching one text against one constraint."""

    is_accepted: bool
    end: int
    """Number of leading characters of the text that the constraint allows."""
    place: str
    """Position of the first character that isn't allowed, as `line:column`."""
    following: tuple[str, ...]
    """What could come at `place`: characters and ranges of characters."""
    may_end: bool
    """Whether the answer could end at `place`."""


def accept(constraint: LLGuidanceGrammar, text: str) -> Acceptance:
    """Match a text byte by byte. Raises `GrammarError` if the grammar can't be built or run."""
    matcher = call_with_deep_stack(
        lambda: LLMatcher(
            _byte_tokenizer(),
            constraint.definition,
            log_level=0,
            limits=parser_limits(is_written=constraint.is_written),
        )
    )
    data = text.encode()
    num_taken = matcher.try_consume_tokens(list(data))
    # drop a character whose bytes were only partly accepted
    end = len(data[:num_taken].decode(errors="ignore"))
    matcher.rollback(num_taken - len(text[:end].encode()))
    _raise_failure(matcher)
    may_end = matcher.is_accepting() or matcher.is_stopped()
    following = () if matcher.is_stopped() else _ranges(matcher)
    return Acceptance(may_end and end == len(text), end, _place(text[:end]), following, may_end)


@functools.cache
def _byte_tokenizer() -> LLTokenizer:
    """A tokenizer whose vocabulary is the 256 bytes and a few special tokens."""
    return LLTokenizer("byte")


def _ranges(matcher: LLMatcher) -> tuple[str, ...]:
    """The ASCII characters that may come next, and whether non-ASCII characters may."""
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
