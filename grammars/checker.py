"""The sandbox process, which builds untrusted grammars first: `python -m grammars.checker`.

The process reads definitions from standard input. For each one it writes a message to standard
output: the reason why llguidance can't use the definition, or an empty text. A message is UTF-8
text after its length in bytes (four bytes, little-endian).

The process may use at most `MAX_CHECKER_BYTES` of memory. The parent kills the process if a
definition takes too long. If a definition kills the process, that is the verdict on the definition.
"""

from __future__ import annotations

import functools
import sys
from typing import IO

from llguidance import LLMatcher, LLTokenizer

from grammars import limits
from grammars.deep_stack import call_with_deep_stack

_MAX_REASON = 2000
"""Maximum length of a reason in characters; an error may quote the whole grammar."""


def verdict(definition: str) -> str:
    """The reason why llguidance can't use a definition, or an empty text."""
    try:
        reason = _error_of(definition)
    except BaseException as error:  # llguidance's panics aren't of the class Exception
        reason = f"llguidance failed: {error}"
    return reason[:_MAX_REASON]


def _error_of(definition: str) -> str:
    parser_limits = limits.parser_limits()
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


def read_message(stream: IO[bytes]) -> str | None:
    """Read the next message; None at the end of the stream."""
    size = stream.read(4)
    if len(size) < 4:
        return None
    return stream.read(int.from_bytes(size, "little")).decode()


def write_message(stream: IO[bytes], message: str) -> None:
    """Write one message and flush the stream."""
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
    """Answer definitions until standard input ends."""
    _limit_memory()
    call_with_deep_stack(_serve)


def _serve() -> None:
    while (definition := read_message(sys.stdin.buffer)) is not None:
        write_message(sys.stdout.buffer, verdict(definition))


if __name__ == "__main__":
    main()
