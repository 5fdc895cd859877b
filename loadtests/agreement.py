"""Measures how often a draft model predicts given answers, and how long one draft token takes.

The draft model reads prompt and answer in one pass. If its likeliest token is the token that
follows, the draft would have been accepted. Accepted tokens don't change the text. So a run of
accepted tokens has the same length that a longer draft from its first place would have.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.harness.stats import median
from loadtests.vocabulary import quiet_llama_cpp

TIMED_TOKENS = 200
_CONTEXT = 4096


class DraftModel:
    """A loaded draft model with a context for one sequence."""

    def __init__(self, llama_cpp: Any, context: Any, n_vocab: int) -> None:
        self._llama = llama_cpp
        self._context = context
        self._n_vocab = n_vocab

    def is_right(self, prompt: Sequence[int], answer: Sequence[int]) -> list[bool]:
        """For each token of the answer except the first: whether the model predicts the token."""
        self._clear()
        tokens = [*prompt, *answer[:-1]]
        likeliest = self._read(tokens, first_wanted=len(prompt))
        return [int(draft) == token for draft, token in zip(likeliest, answer[1:], strict=True)]

    def next_token(self, tokens: Sequence[int]) -> int:
        """The likeliest token after a text."""
        self._clear()
        return int(self._read(tokens, first_wanted=len(tokens) - 1)[0])

    def seconds_per_token(self) -> float:
        """The median time of drafting one token."""
        self._clear()
        times = []
        for position in range(TIMED_TOKENS):
            begin = time.perf_counter()
            self._read([position % self._n_vocab], first_wanted=0, position=position)
            times.append(time.perf_counter() - begin)
        return median(times)

    def _clear(self) -> None:
        memory = self._llama.llama_get_memory(self._context)
        self._llama.llama_memory_clear(memory, True)

    def _read(self, tokens: Sequence[int], first_wanted: int, position: int = 0) -> Any:
        """Decode tokens; return the likeliest next token for each place from `first_wanted` on."""
        if position + len(tokens) > _CONTEXT:
            raise ValueError(f"an answer and its prompt have more than {_CONTEXT} tokens")
        batch = self._llama.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for index, token in enumerate(tokens):
                batch.token[index] = token
                batch.pos[index] = position + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = index >= first_wanted
            if self._llama.llama_decode(self._context, batch):
                raise ValueError("the draft model can't compute a batch")
            count = len(tokens) - first_wanted
            logits = self._llama.llama_get_logits(self._context)
            array = np.ctypeslib.as_array(logits, shape=(count, self._n_vocab))
            return array.argmax(axis=1)
        finally:
            self._llama.llama_batch_free(batch)


@contextmanager
def draft_model(path: Path, threads: int) -> Iterator[DraftModel]:
    """The loaded model, freed when the block ends. Raises ValueError if the model can't be
    loaded."""
    llama_cpp = quiet_llama_cpp()
    model = llama_cpp.llama_model_load_from_file(
        str(path).encode(), llama_cpp.llama_model_default_params()
    )
    if not model:
        raise ValueError(f"{path}: llama.cpp cannot load it")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = _CONTEXT
    params.n_threads = params.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(model, params)
    try:
        vocab = llama_cpp.llama_model_get_vocab(model)
        yield DraftModel(llama_cpp, context, llama_cpp.llama_vocab_n_tokens(vocab))
    finally:
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)


def tokenize(model: Path, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts as the servers read a prompt: with opening tokens and control tokens."""
    llama_cpp = quiet_llama_cpp()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    handle = llama_cpp.llama_model_load_from_file(str(model).encode(), params)
    if not handle:
        raise ValueError(f"{model}: llama.cpp cannot read a vocabulary from it")
    try:
        vocab = llama_cpp.llama_model_get_vocab(handle)
        return [_tokens(llama_cpp, vocab, text.encode()) for text in texts]
    finally:
        llama_cpp.llama_model_free(handle)


def _tokens(llama_cpp: Any, vocab: Any, text: bytes) -> list[int]:
    room = len(text) + 8
    buffer = (ctypes.c_int32 * room)()
    count = llama_cpp.llama_tokenize(vocab, text, len(text), buffer, room, True, True)
    return list(buffer[:count])
