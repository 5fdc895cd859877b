"""The process that builds untrusted grammars first: `python -m grammars.checker`.

Reads definitions from standard input and answers each, on standard output, with the reason why
it can't be used, or nothing. Both are UTF-8 after their length in four bytes, little-endian.
It has no more memory than `MAX_CHECKER_BYTES`, and whoever started it kills it when it takes too
long; if it dies on a definition, that was its verdict.
"""

from __future__ import annotations

import functools
import sys
from typing import IO

from llguidance import LLMatcher, LLTokenizer

from grammars import limits
from grammars.deep_stack import call_with_deep_stack

_MAX_REASON = 2000
"""Characters; an error may quote the whole grammar."""


def verdict(definition: str) -> str:
    """Why llguidance can't use a definition, or an empty text."""
    try:
        reason = _error_of(definition)
    except BaseException as error:  # its panics aren't of the class Exception
        reason = f"llguidance failed: {error}"
    return reason[:_MAX_REASON]


def _error_of(definition: str) -> str:
    parser_limits = limits.parser_limits()
    is_error, messages = LLMatcher.validate_grammar_with_warnings(definition, limits=parser_limits)
    if is_error:
        return messages[0].strip()
    # The first step shows what only running a grammar shows: automata that grow without bound.
    matcher = LLMatcher(_bytes_tokenizer(), definition, log_level=0, limits=parser_limits)
    matcher.compute_bitmask()
    error = matcher.get_error().strip()
    if "Token range end too large" in error:
        return ""  # it names tokens of the model; this vocabulary has a few hundred
    if "unknown special token" in error:
        return f"{error.split(';')[0]}; name tokens by their id, <[id]>"
    return error


@functools.cache
def _bytes_tokenizer() -> LLTokenizer:
    """A vocabulary of the 256 bytes."""
    return LLTokenizer("byte")


def read_message(stream: IO[bytes]) -> str | None:
    """The next message, or None at the end of the stream."""
    size = stream.read(4)
    if len(size) < 4:
        return None
    return stream.read(int.from_bytes(size, "little")).decode()


def write_message(stream: IO[bytes], message: str) -> None:
    """Send one message."""
    data = message.encode()
    stream.write(len(data).to_bytes(4, "little") + data)
    stream.flush()


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    limit = limits.MAX_CHECKER_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Serve until standard input ends."""
    _limit_memory()
    call_with_deep_stack(_serve)


def _serve() -> None:
    while (definition := read_message(sys.stdin.buffer)) is not None:
        write_message(sys.stdout.buffer, verdict(definition))


if __name__ == "__main__":
    main()
