"""Greedy decoding of a GGUF through llama.cpp, in the simplest form."""

from __future__ import annotations

from pathlib import Path

import llama_cpp
import numpy as np


class GreedyModel:
    """One model, one sequence; consecutive prompts share the cache of their common prefix."""

    def __init__(self, path: Path, context: int = 4096, threads: int = 2) -> None:
        self.llama = llama_cpp.Llama(
            str(path),
            n_ctx=context,
            n_batch=512,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )
        self.vocabulary = self.llama.n_vocab()
        self.end = self.llama.token_eos()
        self.cached: list[int] = []

    def tokenize(self, text: str) -> list[int]:
        """Token ids of rendered text; control tokens in the text are recognized."""
        ids: list[int] = self.llama.tokenize(text.encode(), add_bos=False, special=True)
        return ids

    def text(self, tokens: list[int]) -> str:
        """The text of generated tokens, without control tokens."""
        raw: bytes = self.llama.detokenize(tokens)
        return raw.decode(errors="replace")

    def next_token(self, tokens: list[int]) -> int:
        """The likeliest token after `tokens`."""
        shared = 0
        for ours, theirs in zip(self.cached, tokens[:-1], strict=False):
            if ours != theirs:
                break
            shared += 1
        self.llama.n_tokens = shared
        self.llama.eval(tokens[shared:])
        self.cached = list(tokens)
        logits = llama_cpp.llama_get_logits_ith(self.llama.ctx, -1)
        return int(np.ctypeslib.as_array(logits, (self.vocabulary,)).argmax())

    def generate(self, prompt: str, limit: int = 600) -> list[int]:
        """The tokens of the reply, including the end token."""
        tokens = self.tokenize(prompt)
        start = len(tokens)
        while len(tokens) - start < limit:
            tokens.append(self.next_token(tokens))
            if tokens[-1] == self.end:
                break
        return tokens[start:]

    def reply(self, prompt: str, limit: int = 600) -> str:
        """The reply's text."""
        return self.text([token for token in self.generate(prompt, limit) if token != self.end])


def accepted_drafts(
    draft: GreedyModel, prompt: list[int], reply: list[int], length: int = 3
) -> tuple[int, int]:
    """(accepted, drafted) tokens if `draft` proposes `length` tokens at a time.

    `reply` is the target's greedy reply, so the target need not run again. A draft token is
    accepted if it equals the reply's token. After a draft, the target's own next token follows
    without extra cost.
    """
    accepted = drafted = place = 0
    while place < len(reply):
        tokens = prompt + reply[:place]
        run = 0
        for step in range(min(length, len(reply) - place)):
            tokens.append(draft.next_token(tokens))
            drafted += 1
            if tokens[-1] != reply[place + step]:
                # The rest of this draft would be computed as well, and discarded.
                drafted += min(length, len(reply) - place) - step - 1
                break
            run += 1
        accepted += run
        place += run + 1
    return accepted, drafted
