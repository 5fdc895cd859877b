"""`/tokenize` and `/detokenize`: text to tokens, and back."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, FailFast, Field
from starlette.requests import Request
from starlette.responses import Response

from server.bodies.bounds import DETOKENIZED, JOINED_BYTES, PIECES, TOKENIZED_CHARS
from server.bodies.request_model import RequestModel
from server.context import context_of
from server.errors import InvalidRequest
from server.http.json_response import JsonResponse, encode_json
from server.model.guarded_tokenizer import texts_of
from server.model.tokenizer import Tokenizer
from server.requests.body import read_body
from server.requests.field_types import Flag, Whole
from server.requests.prompts import Prompt, check_tokens
from server.requests.threads import in_thread


def _parts(value: Any) -> Any:
    """A text, or a list of texts and token ids, as a tuple of parts."""
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str | int) and not isinstance(part, bool) for part in parts):
        raise ValueError("must be a text, or a list of texts and token ids")
    if sum(len(part) if isinstance(part, str) else 1 for part in parts) > TOKENIZED_CHARS.most:
        raise ValueError(f"must have at most {TOKENIZED_CHARS.most} characters and token ids")
    return tuple(parts)


class TokenizeRequest(RequestModel):
    """`POST /tokenize`. `add_special` adds BOS and EOS as the model wants them."""

    content: Annotated[
        Prompt, BeforeValidator(_parts, json_schema_input_type=str | int | list[str | int])
    ] = ()
    add_special: Flag = False
    parse_special: Flag = True
    with_pieces: Flag = False

    def split(self, tokenizer: Tokenizer) -> list[int]:
        """The tokens of all parts. Raises `InvalidRequest` for an unknown token id, and for a text
        that can't be split."""
        tokens: list[int] = []
        for position, part in enumerate(self.content):
            if isinstance(part, int):
                tokens.append(part)
                continue
            add_special = self.add_special and position == 0
            with texts_of("content"):
                tokens += tokenizer.tokenize(
                    part, add_special=add_special, parse_special=self.parse_special
                )
        check_tokens(tokens, tokenizer, param="content")
        return tokens


class DetokenizeRequest(RequestModel):
    """`POST /detokenize`."""

    tokens: Annotated[list[Whole], FailFast(), Field(max_length=DETOKENIZED.most)] = Field(
        default_factory=list
    )


async def tokenize(request: Request) -> Response:
    """The tokens of a text. With `with_pieces`, each token with its text."""
    tokenizer = context_of(request).tokenizer
    body = await read_body(request, TokenizeRequest)
    return await in_thread(request, _split, body, tokenizer)


async def detokenize(request: Request) -> Response:
    """The text of tokens, control tokens included."""
    tokenizer = context_of(request).tokenizer
    body = await read_body(request, DetokenizeRequest)
    return await in_thread(request, _join, body.tokens, tokenizer)


def _split(body: TokenizeRequest, tokenizer: Tokenizer) -> Response:
    tokens = body.split(tokenizer)
    if not body.with_pieces:
        return JsonResponse({"tokens": tokens})
    # Encoded one by one: a million small objects would take some 300 MiB.
    if len(tokens) > PIECES.most:
        raise InvalidRequest(
            f"'with_pieces' lists at most {PIECES.most:,} tokens (got {len(tokens):,})",
            param="with_pieces",
        )
    pieces = [_encoded_piece(tokenizer, token) for token in tokens]
    return JsonResponse({"tokens": pieces})


def _join(tokens: list[int], tokenizer: Tokenizer) -> Response:
    check_tokens(tokens, tokenizer, param="tokens")
    size = 0
    for token in tokens:
        size += len(tokenizer.piece(token, special=True))
        if size > JOINED_BYTES.most:
            raise InvalidRequest(
                f"the text of 'tokens' has more than {JOINED_BYTES.most:,} bytes", param="tokens"
            )
    return JsonResponse({"content": tokenizer.text(tokens, special=True)})


def _encoded_piece(tokenizer: Tokenizer, token: int) -> msgspec.Raw:
    return msgspec.Raw(encode_json({"id": token, "piece": _piece(tokenizer, token)}))


def _piece(tokenizer: Tokenizer, token: int) -> str | list[int]:
    """The text of a token, or its bytes if they are not valid UTF-8."""
    piece = tokenizer.piece(token, special=True)
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
