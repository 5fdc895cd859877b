"""Prompts for filling in the middle: the text before a gap, the text after it, and other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.errors import NotSupported
from server.model.guarded_tokenizer import texts_of
from server.model.tokenizer import FimTokens, Tokenizer

ANSWER_ROOM = 256
"""Most tokens that are kept free for the answer if the server sets no `--n-predict`."""

_REPOSITORY = "myproject\n"
_OWN_FILE = "filename\n"
_SNIPPET = "\n\n--- snippet ---\n\n"
"""The names that llama-server gives, which all its clients get."""


@dataclass(frozen=True, slots=True)
class InfillRoom:
    """How many tokens the parts of a prompt may have."""

    prefix: int
    suffix: int
    """The text at the cursor counts here."""
    extra: int

    @classmethod
    def of(cls, n_ctx: int, n_batch: int, n_predict: int) -> InfillRoom:
        """The room in a slot of `n_ctx` tokens.

        As in llama-server, the text around the gap gets one batch, 3:1, and other files get the
        rest without twice `n_predict`. In a short slot they get a quarter. The room doesn't depend
        on the request: otherwise a prefetch would share no prefix with the request that follows.
        """
        answer = 2 * n_predict if n_predict >= 0 else min(ANSWER_ROOM, n_ctx // 4)
        left = n_ctx - min(answer, n_ctx // 2)
        near = min(n_batch, 3 * left // 4)
        return cls(max(3 * (near // 4), 1), max(near // 4 - 2, 0), left - near)


def fim_tokens(tokenizer: Tokenizer) -> FimTokens:
    """The model's tokens for filling in the middle. Raises `NotSupported`."""
    fim = tokenizer.fim
    if fim is None:
        raise NotSupported("this model has no tokens for filling in the middle (FIM)")
    return fim


def infill_prompt(
    prefix: Sequence[int], suffix: Sequence[int], tokenizer: Tokenizer, *, suffix_first: bool
) -> list[int]:
    """The prompt for the text between `prefix` and `suffix`, with a BOS if the model wants one.

    Models that were trained in the order suffix, prefix, middle (SPM) want `suffix_first`. Raises
    `NotSupported`.
    """
    fim = fim_tokens(tokenizer)
    before, after = [fim.prefix, *prefix], [fim.suffix, *suffix]
    if suffix_first:
        before, after = after, before
    bos = tokenizer.tokenize("", add_special=True, parse_special=False)[:1]
    return [*(token for token in bos if token == tokenizer.bos), *before, *after, fim.middle]


def extra_tokens(files: Sequence[tuple[str, str]], tokenizer: Tokenizer, room: int) -> list[int]:
    """The last `room` tokens of other files, each a name and a text.

    The model's tokens for repositories and files mark them, if it has such tokens.
    """
    fim = fim_tokens(tokenizer)
    tokens = _file_head(_OWN_FILE, fim, tokenizer)
    for name, text in reversed(files):
        if len(tokens) >= room:  # nothing is split that would be cut off
            break
        head = _file_head(f"{name}\n", fim, tokenizer) or _split(_SNIPPET, tokenizer)
        tokens = [*head, *_split(text, tokenizer), *tokens]
    else:
        if fim.repository is not None:
            tokens = [fim.repository, *_split(_REPOSITORY, tokenizer), *tokens]
    return tokens[-room:] if room else []


def _file_head(name: str, fim: FimTokens, tokenizer: Tokenizer) -> list[int]:
    return [] if fim.file is None else [fim.file, *_split(name, tokenizer)]


def _split(text: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a file's text. What looks like a control token there is text."""
    with texts_of("input_extra"):
        return tokenizer.tokenize(text, add_special=False, parse_special=False)
