"""The tokens of a GGUF's vocabulary, read without the weights."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtests.harness.prompts import PromptSource, ordinary_tokens

_MAX_PIECE = 255


def token_attributes(model: Path) -> list[int]:
    """llama.cpp's attribute bits of every token of the model's vocabulary, by id."""
    with _vocabulary(model) as (llama_cpp, vocab):
        count = llama_cpp.llama_vocab_n_tokens(vocab)
        return [int(llama_cpp.llama_vocab_get_attr(vocab, token)) for token in range(count)]


def token_pieces(model: Path) -> list[bytes]:
    """The bytes that each token of the vocabulary stands for, by id; none for the longest."""
    with _vocabulary(model) as (llama_cpp, vocab):
        buffer = ctypes.create_string_buffer(_MAX_PIECE)
        pieces = []
        for token in range(llama_cpp.llama_vocab_n_tokens(vocab)):
            length = llama_cpp.llama_token_to_piece(vocab, token, buffer, _MAX_PIECE, 0, False)
            pieces.append(buffer.raw[: max(length, 0)])
        return pieces


@contextlib.contextmanager
def _vocabulary(model: Path) -> Iterator[tuple[Any, Any]]:
    """The bindings, and a model's vocabulary. Raises `ValueError` if there is none."""
    llama_cpp = quiet_llama_cpp()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    handle = llama_cpp.llama_model_load_from_file(str(model).encode(), params)
    if not handle:
        raise ValueError(f"{model}: llama.cpp cannot read a vocabulary from it")
    try:
        yield llama_cpp, llama_cpp.llama_model_get_vocab(handle)
    finally:
        llama_cpp.llama_model_free(handle)


def prompt_source(model: Path) -> PromptSource:
    """A source of prompts from the model's ordinary text tokens."""
    return PromptSource(ordinary_tokens(token_attributes(model)))


_callbacks: list[object] = []
"""Callbacks that llama.cpp holds bare pointers to; this list keeps them alive."""


@functools.cache
def quiet_llama_cpp() -> Any:
    """llama.cpp's bindings, initialized, with logging turned off."""
    import llama_cpp

    silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
    _callbacks.append(silence)
    llama_cpp.llama_log_set(silence, ctypes.c_void_p())
    llama_cpp.llama_backend_init()
    return llama_cpp
