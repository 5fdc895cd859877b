"""Log-probabilities in the JSON shape of text completions."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

from protocol.events import TokenLogprobs
from server.chat.logprobs import LOWEST
from server.generation.types import GeneratedToken
from server.http.json_response import encoded_each
from server.model.tokenizer import Tokenizer

LISTS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
"""The names of the parallel lists of a text completion."""


class TextLogprobs:
    """The parallel lists of a text completion. Offsets are in characters, from `start` on.

    The offset of a token is that of its first character. The tokens of one character share it.
    """

    def __init__(self, tokenizer: Tokenizer, start: int = 0) -> None:
        self._tokenizer = tokenizer
        self._offset = start
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def entries(self, tokens: Iterable[GeneratedToken]) -> dict[str, Any]:
        """The lists for the next tokens."""
        lists: dict[str, list[Any]] = {name: [] for name in LISTS}
        for token in tokens:
            text = token.piece.decode(errors="replace")
            if token.logprobs is not None:
                lists["tokens"].append(text)
                lists["token_logprobs"].append(max(token.logprobs.logprob, LOWEST))
                lists["top_logprobs"].append(top_by_text(token.logprobs.top, self._tokenizer))
                lists["text_offset"].append(self._offset + self._breaks_character(token.piece))
            self._offset += len(self._decoder.decode(token.piece))
        return lists

    def _breaks_character(self, piece: bytes) -> bool:
        """Whether a character was begun that this piece does not continue: U+FFFD takes its
        place."""
        begun, _ = self._decoder.getstate()
        return bool(begun and piece) and piece[0] & 0xC0 != 0x80


class ScoredEcho:
    """The parallel lists of an echoed prompt. The first token has no log-probability."""

    def __init__(self, prompt: Sequence[int], echo: str, tokenizer: Tokenizer) -> None:
        """`echo` is the prompt's text as the answer has it."""
        self._prompt = prompt
        self._tokenizer = tokenizer
        self._offset = 0
        """Where the prompt's tokens begin in `echo`: before it, if they begin with a token or a
        space that the tokenizer added."""
        pieces = [tokenizer.piece(token, special=True) for token in prompt]
        text = b"".join(pieces).decode(errors="replace")
        if text.endswith(echo):
            self._offset = len(echo) - len(text)
        self._logprobs = TextLogprobs(tokenizer, self._offset)
        self._lists: dict[str, Any] = {name: [] for name in LISTS}
        self.add([TokenLogprobs(0.0, [])])
        self._lists["token_logprobs"][0] = self._lists["top_logprobs"][0] = None

    def add(self, scores: Iterable[TokenLogprobs]) -> None:
        """The log-probabilities of the next tokens."""
        rest = self._prompt[len(self._lists["tokens"]) :]
        tokens = [
            GeneratedToken(token, self._tokenizer.piece(token, special=True), score)
            for token, score in zip(rest, scores, strict=False)
        ]
        extend(self._lists, self._logprobs.entries(tokens))

    def entries(self) -> dict[str, Any]:
        """The lists for the whole prompt."""
        offsets = [max(offset, 0) for offset in self._lists["text_offset"]]
        return {**self._lists, "text_offset": offsets}


def joined(first: dict[str, Any], second: dict[str, Any] | None) -> dict[str, Any]:
    """The lists of two parts of a text, one after the other."""
    return first if second is None else {name: first[name] + second[name] for name in LISTS}


def extend(lists: dict[str, Any], more: dict[str, Any]) -> None:
    """Append the lists of the next part. Alternatives are kept as JSON, which is far smaller."""
    for name in LISTS:
        lists[name] += encoded_each(more[name]) if name == "top_logprobs" else more[name]


def top_by_text(top: Iterable[tuple[int, float]], tokenizer: Tokenizer) -> dict[str, float]:
    """Log-probabilities by text. Of two tokens with the same text, the likelier one counts."""
    found: dict[str, float] = {}
    for id_, logprob in top:
        text = tokenizer.piece(id_).decode(errors="replace")
        found.setdefault(text, max(logprob, LOWEST))
    return found
