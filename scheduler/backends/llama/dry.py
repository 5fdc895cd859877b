"""DRY samplers: made once in a thread for each set of parameters, then copied."""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from concurrent.futures import Future
from functools import partial
from threading import Lock

from llama_cpp import llama_cpp as lib

from confined.fair_thread import FairThread
from protocol.sampling import SamplingParams

KEPT = 16
"""Samplers that are kept to be copied."""

_Key = tuple[tuple[str, ...], float, float, int, int]


class DrySamplers:
    """Making a DRY sampler compares every sequence breaker with every token of the vocabulary.

    That takes up to seconds, in which no other sequence could go on. A copy takes microseconds.
    """

    def __init__(self, vocab: int, n_ctx: int) -> None:
        """`vocab` is the address of the `llama_vocab`, `n_ctx` the tokens of a slot."""
        self._vocab = vocab
        self._n_ctx = n_ctx
        self._thread = FairThread("dry")
        self._lock = Lock()
        self._kept: OrderedDict[_Key, int] = OrderedDict()

    def prepare(self, params: SamplingParams, owner: str = "") -> Future[None] | None:
        """Begin to make the sampler that `copy` will copy; None if there is nothing to make.

        Owners take turns."""
        is_used = params.dry_multiplier != 0.0 and "dry" in params.samplers and not params.mirostat
        if not is_used or self._key(params) in self._kept:
            return None
        return self._thread.submit(owner, partial(self._make, self._key(params)))

    def copy(self, params: SamplingParams) -> int | None:
        """The address of a new sampler, which the caller owns; None if llama.cpp refuses."""
        key = self._key(params)
        if params.dry_multiplier != 0.0:
            self._make(key)
            with self._lock:
                if key in self._kept:
                    copied: int | None = lib.llama_sampler_clone(self._kept[key])
                    return copied
        return _new(self._vocab, key)

    def close(self) -> None:
        """Free the samplers that are kept."""
        self._thread.close()
        for sampler in self._kept.values():
            lib.llama_sampler_free(sampler)
        self._kept.clear()

    def _key(self, params: SamplingParams) -> _Key:
        last_n = params.dry_penalty_last_n
        window = self._n_ctx if last_n < 0 else min(last_n, self._n_ctx)
        return (
            params.dry_sequence_breakers,
            params.dry_multiplier,
            params.dry_base,
            params.dry_allowed_length,
            window,
        )

    def _make(self, key: _Key) -> None:
        """Keep a sampler for the key, and drop the one that was made before all others."""
        if key in self._kept:
            return
        sampler = _new(self._vocab, key)
        if not sampler:
            return
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = sampler
            dropped = [before] if before is not None else []
            while len(self._kept) > KEPT:
                dropped.append(self._kept.popitem(last=False)[1])
            for old in dropped:
                lib.llama_sampler_free(old)


def _new(vocab: int, key: _Key) -> int | None:
    texts, multiplier, base, allowed_length, window = key
    breakers = [text.encode() for text in texts]
    made: int | None = lib.llama_sampler_init_dry(
        vocab,
        multiplier,
        base,
        allowed_length,
        window,
        (ctypes.c_char_p * len(breakers))(*breakers),
        len(breakers),
    )
    return made
