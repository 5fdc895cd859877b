"""Suppressed tokens of a vocabulary, and the comparison of two vocabularies."""

from __future__ import annotations

import ctypes
from typing import Any

from llama_cpp import llama_cpp as lib

from scheduler.backends.base import LoadError

PADDING = lib.LLAMA_TOKEN_ATTR_UNKNOWN | lib.LLAMA_TOKEN_ATTR_UNUSED
"""Attributes of padding tokens, which fill a vocabulary up to a round number."""

MAX_NAMED = 3
"""Most differences that an error names."""


def suppressed_tokens(vocab: Any) -> tuple[int, ...]:
    """Tokens that must never be sampled, by the author of the model."""
    count = ctypes.c_int32(0)
    tokens = lib.llama_vocab_get_suppress_tokens(vocab, ctypes.byref(count))
    return tuple(tokens[i] for i in range(count.value)) if tokens else ()


def check_vocabularies(target: Any, draft: Any) -> None:
    """Raises `LoadError`, naming the differences, if any token but padding differs.

    A token must mean the same to both models, or every draft is rejected.
    """
    differences = [*_special_differences(target, draft), *_token_differences(target, draft)]
    if differences:
        named = "; ".join(differences[:MAX_NAMED])
        more = len(differences) - MAX_NAMED
        rest = f"; and {more} more" if more > 0 else ""
        raise LoadError(f"--model-draft has another vocabulary than the model: {named}{rest}")


def _special_differences(target: Any, draft: Any) -> list[str]:
    facts = {
        "type": lib.llama_vocab_type,
        "token of the beginning": lib.llama_vocab_bos,
        "token of the end": lib.llama_vocab_eos,
        "adding of the beginning": lib.llama_vocab_get_add_bos,
        "adding of the end": lib.llama_vocab_get_add_eos,
    }
    pairs = {name: (ask(target), ask(draft)) for name, ask in facts.items()}
    return [f"its {name} is {b}, not {a}" for name, (a, b) in pairs.items() if a != b]


def _token_differences(target: Any, draft: Any) -> list[str]:
    sizes = lib.llama_vocab_n_tokens(target), lib.llama_vocab_n_tokens(draft)
    differences = []
    for token in range(min(sizes)):
        texts = lib.llama_vocab_get_text(target, token), lib.llama_vocab_get_text(draft, token)
        if texts[0] != texts[1]:
            a, b = (text.decode(errors="replace") for text in texts)
            differences.append(f"token {token} is {b!r}, not {a!r}")
    larger, name = (target, "the model") if sizes[0] > sizes[1] else (draft, "the draft")
    for token in range(min(sizes), max(sizes)):
        if not _is_padding(larger, token):
            text = lib.llama_vocab_get_text(larger, token).decode(errors="replace")
            differences.append(f"only {name} has token {token}, {text!r}")
    return differences


def _is_padding(vocab: Any, token: int) -> bool:
    if lib.llama_vocab_get_attr(vocab, token) & PADDING:
        return True
    text = lib.llama_vocab_get_text(vocab, token).decode(errors="replace").lower()
    name: str = text.strip("[]<>|")
    return name.startswith(("pad", "unused", "reserved", "extra_id"))
