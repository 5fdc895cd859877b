"""The field `prompt` in all its shapes, and its tokens."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from server.bodies.bounds import PROMPTS, SEQUENCES
from server.bodies.request_model import RequestModel
from server.errors import InvalidRequest
from server.model.guarded_tokenizer import texts_of
from server.model.tokenizer import Tokenizer
from server.requests.prompt_size import check_parts

Prompt = tuple[str | int, ...]
"""Texts and token ids, in order."""


class PromptObject(RequestModel):
    """llama-server's third shape of a prompt: an object with the text."""

    prompt_string: str


_TokenId = Annotated[int, Field(ge=0)]
OnePromptInput = str | PromptObject | list[_TokenId | str]
PromptInput = OnePromptInput | list[OnePromptInput]
"""Everything that `parse_prompts` takes, for the description of the API."""


def parse_prompts(value: Any) -> tuple[Prompt, ...]:
    """One prompt (text, ids, both mixed, an object with `prompt_string`) or a list of prompts.

    A list that holds a number is one prompt. Any other list is several prompts. Raises
    `ValueError` with a message that starts with "must".
    """
    if not isinstance(value, list) or any(_is_id(part) for part in value):
        return (parse_prompt(value),)
    if not value:
        raise ValueError("must not be empty")
    if len(value) > PROMPTS.most:
        raise ValueError(f"must hold at most {PROMPTS.most} prompts")
    return tuple(parse_prompt(part) for part in value)


def parse_prompt(value: Any) -> Prompt:
    """One prompt: text, ids, both mixed, an object with `prompt_string`. Raises `ValueError`."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, dict):
        return (_prompt_string(value),)
    if isinstance(value, list) and all(isinstance(part, str) or _is_id(part) for part in value):
        return tuple(value)
    raise ValueError("must be a text, a list of token ids and texts, or a list of such prompts")


def prompt_tokens(
    prompt: Prompt, tokenizer: Tokenizer, n_ctx: int, *, param: str = "prompt"
) -> tuple[int, ...]:
    """The prompt's tokens. A text at the beginning gets a BOS if the model wants one.

    Raises `InvalidRequest` for an id that the vocabulary doesn't have, for an empty prompt and for
    a text that can't be split. Raises `ContextExceeded` for a prompt that can't fit into `n_ctx`
    tokens.
    """
    check_parts(prompt, tokenizer, n_ctx, param=param)
    tokens = split_parts(prompt, tokenizer, param=param, add_special=True, parse_special=True)
    if not tokens:
        raise InvalidRequest(f"'{param}' must not be empty", param=param)
    return tuple(tokens)


def split_parts(
    parts: Prompt, tokenizer: Tokenizer, *, param: str, add_special: bool, parse_special: bool
) -> list[int]:
    """The tokens of texts and ids in a row. `add_special` is about a text at the beginning.

    Raises `InvalidRequest` for an id that the vocabulary doesn't have, and for a text that can't be
    split.
    """
    tokens: list[int] = []
    with texts_of(param):
        for position, part in enumerate(parts):
            if isinstance(part, int):
                tokens.append(part)
                continue
            is_special = add_special and position == 0
            tokens += tokenizer.tokenize(part, add_special=is_special, parse_special=parse_special)
    check_tokens(tokens, tokenizer, param=param)
    return tokens


def check_sequences(num_prompts: int, n: int) -> None:
    """Raise `InvalidRequest` if `n` answers to each prompt are too many."""
    if num_prompts * n > SEQUENCES.most:
        raise InvalidRequest(
            f"'n' must be at most {SEQUENCES.most // num_prompts} with {num_prompts} prompts: "
            f"a request may ask for {SEQUENCES.most} answers (got {n})",
            param="n",
        )


def check_tokens(tokens: list[int], tokenizer: Tokenizer, *, param: str) -> None:
    """Raise `InvalidRequest` naming the first id that the vocabulary doesn't have."""
    n_vocab = tokenizer.n_vocab
    if tokens and (min(tokens) < 0 or max(tokens) >= n_vocab):
        wrong = next(token for token in tokens if not 0 <= token < n_vocab)
        raise InvalidRequest(
            f"'{param}' holds the token {wrong}; the vocabulary has tokens 0 to {n_vocab - 1}",
            param=param,
        )


def _prompt_string(value: dict[str, Any]) -> str:
    text = value.get("prompt_string")
    if not isinstance(text, str):
        raise ValueError("must give the text of a prompt object in prompt_string")
    if value.get("multimodal_data"):
        raise ValueError("must come without multimodal_data: the model reads text only")
    return text


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
