"""The confined process that builds untrusted grammars first: `python -m grammars.checker`.

A question is a definition, after a byte that says where its rules come from. The answer is the
reason why llguidance can't use the definition, or an empty text. If a definition takes too long, or
ends the process, that is the verdict on it.
"""

from __future__ import annotations

import functools

from llguidance import LLMatcher, LLTokenizer

from confined.loop import answer_all
from grammars import limits
from grammars.deep_stack import call_with_deep_stack

WRITTEN, GENERATED = b"w", b"g"
"""The first byte of a question says where the rules come from: a client wrote them, or not."""

_MAX_REASON = 2000
"""Maximum length of a reason in characters; an error may quote the whole grammar."""


def verdict(definition: str, *, is_written: bool = False) -> str:
    """The reason why llguidance can't use a definition, or an empty text."""
    try:
        reason = _error_of(definition, is_written)
    except BaseException as error:  # llguidance's panics aren't of the class Exception
        reason = f"llguidance failed: {error}"
    return reason[:_MAX_REASON]


def _error_of(definition: str, is_written: bool) -> str:
    parser_limits = limits.parser_limits(is_written=is_written)
    is_error, messages = LLMatcher.validate_grammar_with_warnings(definition, limits=parser_limits)
    if is_error:
        return messages[0].strip()
    # Some automata grow without bound; only a first step shows that.
    matcher = LLMatcher(_bytes_tokenizer(), definition, log_level=0, limits=parser_limits)
    matcher.compute_bitmask()
    error = matcher.get_error().strip()
    if "Token range end too large" in error:
        return ""  # the id may exist in the model; this vocabulary is small
    if "unknown special token" in error:
        return f"{error.split(';')[0]}; name tokens by their id, <[id]>"
    return error


@functools.cache
def _bytes_tokenizer() -> LLTokenizer:
    """A tokenizer whose vocabulary is the 256 bytes."""
    return LLTokenizer("byte")


def _answer(question: bytes) -> bytes:
    reason = verdict(question[1:].decode(), is_written=question[:1] == WRITTEN)
    return reason.encode(errors="replace")


def main() -> None:
    """Answer definitions until the parent is gone."""
    call_with_deep_stack(lambda: answer_all(_answer, memory_bytes=limits.MAX_CHECKER_BYTES))


if __name__ == "__main__":
    main()
