"""Samplers that run with the model, on its device: they leave the likeliest tokens of a row."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as lib

from protocol.commands import SequenceSpec
from scheduler.backends.base import SamplerError
from scheduler.backends.llama.reach import ALL, is_argmax, reach_of
from scheduler.backends.llama.shortlist import Shortlist
from scheduler.core.step import Chunk
from scheduler.native.library import (
    get_sampled_candidates,
    get_sampled_logits,
    get_sampled_logits_count,
)

NUM_CANDIDATES = 128
"""Tokens that a row keeps. More take longer to find and to read."""

logger = logging.getLogger(__name__)


class DeviceSamplers:
    """Attaches samplers to slots.

    Rows of a slot with a sampler have no logits of the whole vocabulary. Attaching and detaching
    make llama.cpp plan its graphs again, so a slot keeps its sampler as long as that does no harm.
    """

    def __init__(self, context: Any, n_vocab: int, n_ctx: int, num_suppressed: int) -> None:
        """`n_ctx` is the number of tokens of a slot; `num_suppressed` are never sampled."""
        self._context = context
        self._n_vocab = n_vocab
        self._n_ctx = n_ctx
        self._num_suppressed = num_suppressed
        self._size = min(NUM_CANDIDATES, n_vocab)
        self.by_slot: dict[int, int] = {}
        """The addresses of the samplers."""
        self._asked: dict[int, tuple[SequenceSpec, bool]] = {}
        """By slot, the last sequence there, and whether a sampler suits it."""
        self._is_able = True

    def attach_all(self) -> None:
        """Attach a sampler to every slot."""
        for slot in range(lib.llama_n_seq_max(self._context)):
            self._place(slot, is_wanted=True)

    def place(self, chunks: Iterable[Chunk]) -> None:
        """Before a batch, give samplers to the slots of sequences that they suit, and to no other
        slots with rows."""
        if not (self.by_slot or any(map(_asks, chunks))):
            return
        for chunk in chunks:
            if chunk.has_result:
                self._place(chunk.slot, is_wanted=self._suits(chunk))

    def _suits(self, chunk: Chunk) -> bool:
        if not _asks(chunk):
            return False
        spec = chunk.sequence.spec
        last, is_suited = self._asked.get(chunk.slot, (None, False))
        if last is not spec:
            is_suited = self.suits(spec)
            self._asked[chunk.slot] = spec, is_suited
        return is_suited

    def suits(self, spec: SequenceSpec) -> bool:
        """Whether the tokens that a sampler leaves decide about a sequence's answer.

        Of tokens with the same logit, the device may leave any; so the last place is not counted
        on.
        """
        sampling = spec.sampling
        wants_all = sampling.top_logprobs >= 0 and not sampling.post_sampling_probs
        needs_logits = spec.constraint is not None or spec.score_prompt or wants_all
        if spec.embedding or needs_logits or any(bias > 0 for _, bias in sampling.logit_bias):
            return False
        reach = 1 if is_argmax(sampling) else reach_of(sampling, self._n_ctx)
        needed = reach + len(sampling.logit_bias) + self._num_suppressed
        return reach != ALL and (needed < self._size or self._size == self._n_vocab)

    def _place(self, slot: int, *, is_wanted: bool) -> None:
        """Attach a sampler to a slot, or detach it."""
        if is_wanted == (slot in self.by_slot) or not self._is_able:
            return
        if is_wanted:
            self._attach(slot)
        else:
            self._detach(slot)

    def _attach(self, slot: int) -> None:
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(self._size))
        self.by_slot[slot] = chain
        self._is_able = bool(lib.llama_set_sampler(self._context, slot, chain)) and _runs(chain)
        if not self._is_able:
            logger.warning("--backend-sampling: the model's device can't sample; the CPU does")
            self.close()

    def read(self, index: int) -> Shortlist:
        """What the sampler left of the row of a token of the last batch; tokens rise.

        Raises `SamplerError` if that is nothing.
        """
        count = get_sampled_logits_count(self._context, index)
        if count == 0:
            raise SamplerError("the model's device has left no tokens to choose from")
        ids = _array(get_sampled_candidates(self._context, index), np.int32, count)
        logits = _array(get_sampled_logits(self._context, index), np.float32, count)
        order = ids.argsort()
        return Shortlist(ids[order], logits[order])

    def close(self) -> None:
        """Detach all samplers. The context must still be there."""
        for slot in list(self.by_slot):
            self._detach(slot)

    def _detach(self, slot: int) -> None:
        lib.llama_set_sampler(self._context, slot, None)
        lib.llama_sampler_free(self.by_slot.pop(slot))


def _asks(chunk: Chunk) -> bool:
    return chunk.sequence.spec.sampling.backend_sampling


def _runs(chain: int) -> bool:
    """Whether llama.cpp runs the chain's sampler on the device: it then marks its name."""
    name: bytes = lib.llama_sampler_name(lib.llama_sampler_chain_get(chain, 0))
    return name.startswith(b"+")


def _array(address: int, kind: Any, count: int) -> np.ndarray[Any, Any]:
    memory = (ctypes.c_uint32 * count).from_address(address)
    return np.frombuffer(memoryview(memory), dtype=kind)
