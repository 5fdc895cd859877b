"""The body of a request for embeddings, and the sequences that it asks for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from protocol.messages import EmbeddingInfo
from server.bodies.bounds import ADAPTERS
from server.bodies.few import few
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.context import ServerContext
from server.errors import ContextExceeded, InvalidRequest
from server.generation.types import MAX_PRIORITY, GenerationRequest
from server.model.adapters import LoraScale
from server.pooling.compute import check_length, check_numbers, embedding_info
from server.pooling.normalize import MAX_NORM
from server.pooling.sequence import embedding_sequence
from server.requests.carried import CarriedBytes
from server.requests.field_types import Count, Salt, Whole
from server.requests.model_name import asked_adapter, check_model
from server.requests.prompts import Prompt, PromptInput, parse_prompts, prompt_tokens


def _inputs(value: Any) -> tuple[Prompt, ...]:
    """Prompts in every native form, or as OpenAI's message parts."""
    if isinstance(value, list):
        return parse_prompts([_plain(part) for part in value])
    return parse_prompts(_plain(value))


def _plain(value: Any) -> Any:
    """The text of `{"content": [{"type": "text", "text": ...}]}`; anything else as it is."""
    if not isinstance(value, dict) or "content" not in value:
        return value
    parts = value["content"]
    if isinstance(parts, str):
        return parts
    if not isinstance(parts, list) or not all(_is_text(part) for part in parts):
        raise ValueError("must have parts of the type text only: the model reads nothing else")
    return "".join(part["text"] for part in parts)


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


class EmbeddingRequest(RequestModel):
    """`POST /v1/embeddings` and `/embedding`."""

    input: Annotated[
        tuple[Prompt, ...], BeforeValidator(_inputs, json_schema_input_type=PromptInput)
    ] = Field(validation_alias=AliasChoices("input", "content"))
    model: Label | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Count | None = None
    """Only the model's own number is allowed: few models' vectors can be cut short."""
    embd_normalize: Annotated[Whole, Field(ge=-1, le=MAX_NORM)] | None = None
    """-1 is no scaling, 0 the largest entry, 2 the Euclidean length; others are p-norms."""
    lora: Annotated[list[LoraScale], Field(max_length=ADAPTERS.most), few(ADAPTERS)] | None = None
    cache_salt: Salt = ""
    priority: Annotated[Whole, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    user: Label | None = None
    """Whom the request is for: users take turns within their key."""

    def sequences(self, context: ServerContext) -> list[GenerationRequest]:
        """One request for each input. Tokenizes, so it must not run on the event loop.

        Raises `NotSupported`, `NotFound`, `InvalidRequest` and `Unavailable`.
        """
        info = embedding_info(context)
        check_model(self.model, context)
        if self.dimensions not in (None, info.size):
            raise InvalidRequest(
                f"'dimensions' must be {info.size}: the model's vectors can't be cut short",
                param="dimensions",
            )
        carried, num_vectors = CarriedBytes(), 0
        sequences = []
        for index in range(len(self.input)):
            tokens = self._tokens(index, context, info)
            carried.add_prompt(len(tokens), param="input")
            num_vectors += len(tokens) if info.pooling == "none" else 1
            check_numbers(num_vectors, info)
            sequences.append(self._sequence(tokens, context))
        return sequences

    def _tokens(self, index: int, context: ServerContext, info: EmbeddingInfo) -> tuple[int, ...]:
        """The tokens of one input. Raises `InvalidRequest` for one that is too long."""
        param = f"input.{index}" if len(self.input) > 1 else "input"
        n_ctx = context.engine.model.n_ctx_slot
        try:
            tokens = prompt_tokens(self.input[index], context.tokenizer, n_ctx, param=param)
        except ContextExceeded as error:
            check_length(error.n_prompt_tokens, info, param=param, at_least=True)
            raise
        check_length(len(tokens), info, param=param)
        return tokens

    def _sequence(self, tokens: tuple[int, ...], context: ServerContext) -> GenerationRequest:
        return embedding_sequence(
            context,
            tokens,
            lora=self.lora,
            adapter=asked_adapter(self.model, context),
            cache_salt=self.cache_salt,
            priority=self.priority,
            user=self.user or "",
        )
