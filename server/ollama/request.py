"""The bodies of `/api/chat`, `/api/generate`, and of vectors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BeforeValidator,
    FailFast,
    Field,
    StrictStr,
    model_validator,
)

from server.bodies.bounds import CALLS, LOGPROBS, MESSAGES, PROMPTS, TOOLS
from server.bodies.few import few
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.chat.messages import FunctionCall
from server.chat.tools import Function
from server.errors import InvalidRequest
from server.ollama.options import Options
from server.pool.keep_alive import keep_alive_seconds
from server.requests.field_types import INT32_MAX, Count, Flag, Whole


def _no_images(value: Any) -> Any:
    if value != []:
        raise ValueError("must be left out: the model reads text only")
    return value


def _duration(value: Any) -> float:
    try:
        return keep_alive_seconds(value)
    except InvalidRequest:
        raise ValueError('must be a number of seconds or a duration such as "5m"') from None


Images = Annotated[
    list[str],
    BeforeValidator(_no_images, json_schema_input_type=Annotated[list[str], Field(max_length=0)]),
]
KeepAlive = Annotated[float, BeforeValidator(_duration, json_schema_input_type=float | str)]
"""Seconds; infinite for durations below 0."""

Think = Flag | Literal["low", "medium", "high", "max"]
Format = Literal["", "json"] | dict[str, Any]


class Call(RequestModel):
    """A call that the model made."""

    id: Label = ""
    function: FunctionCall


class Message(RequestModel):
    """One message of a chat."""

    role: Literal["system", "user", "assistant", "tool"]
    content: StrictStr = ""
    thinking: StrictStr = ""
    images: Images = Field(default_factory=list)
    tool_calls: Annotated[list[Call], Field(max_length=CALLS.most), few(CALLS)] = Field(
        default_factory=list
    )
    tool_name: Label = ""
    """The tool whose result a message is."""
    tool_call_id: Label = ""


class Tool(RequestModel):
    """A function that the model may call."""

    type: Literal["function"] = "function"
    function: Function


class NamedModel(RequestModel):
    """A model by its name. Older clients call the field `name`; some send both, one of them
    empty."""

    model: Label = Field(min_length=1, validation_alias=AliasChoices("model", "name"))

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, body: Any) -> Any:
        if not isinstance(body, dict) or body.get("model") != "" or not body.get("name"):
            return body
        return {name: value for name, value in body.items() if name != "model"}


class ModelRequest(RequestModel):
    """What all requests have that a model answers."""

    model: Annotated[Label, Field(min_length=1)]
    options: Options = Options()
    keep_alive: KeepAlive | None = None
    """How long the model stays loaded after the answer. 0 without a prompt unloads it."""


class AnswerRequest(ModelRequest):
    """What chats and completions have in common."""

    stream: Flag = True
    format: Format = ""
    think: Think | None = None
    logprobs: Flag = False
    top_logprobs: Annotated[Whole, Field(ge=0, le=LOGPROBS.most)] = 0
    truncate: Flag = True
    """Whether the oldest part is left out of a chat or a prompt that is too long."""
    shift: Flag | None = None
    """Whether the oldest tokens make room for an answer that fills the context."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to answer: the model is to be loaded or unloaded."""
        raise NotImplementedError

    @property
    def is_structured(self) -> bool:
        """Whether the answer has a form that slow work may prepare."""
        return self.format != ""

    @property
    def unloads(self) -> bool:
        """Whether the model is to go."""
        return self.is_empty and self.keep_alive == 0


class OllamaChatRequest(AnswerRequest):
    """`POST /api/chat`."""

    messages: Annotated[list[Message], FailFast(), Field(max_length=MESSAGES.most)] = Field(
        default_factory=list
    )
    tools: Annotated[list[Tool], Field(max_length=TOOLS.most), few(TOOLS)] = Field(
        default_factory=list
    )

    @property
    def is_empty(self) -> bool:
        return not self.messages

    @property
    def is_structured(self) -> bool:
        return bool(self.tools) or super().is_structured


class OllamaGenerateRequest(AnswerRequest):
    """`POST /api/generate`."""

    prompt: StrictStr = ""
    suffix: StrictStr = ""
    """The text that follows the answer, for models that fill in the middle."""
    system: StrictStr = ""
    template: StrictStr = ""
    """The name of a built-in chat template, instead of the model's."""
    context: list[Annotated[Whole, Field(ge=0, le=INT32_MAX)]] = Field(default_factory=list)
    """The tokens of the conversation so far, which the last answer gave."""
    raw: Flag = False
    """Whether the prompt is complete as it is."""
    images: Images = Field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.prompt

    def check(self) -> None:
        """Raise `InvalidRequest` for fields that exclude each other."""
        others = ("system", "template", "context")
        if self.raw and any(getattr(self, name) for name in (*others, "suffix")):
            name = next(name for name in (*others, "suffix") if getattr(self, name))
            raise InvalidRequest(
                "raw mode does not support template, system, suffix or context", param=name
            )
        if self.suffix:
            for name in others:
                if getattr(self, name):
                    message = f"'{name}' can't be combined with 'suffix'"
                    raise InvalidRequest(message, param=name)
            if self.think:
                raise InvalidRequest("'think' can't be combined with 'suffix'", param="think")


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("must be a text or a list of texts")
    return value


class OllamaEmbedRequest(ModelRequest):
    """`POST /api/embed`."""

    input: Annotated[
        list[str],
        BeforeValidator(_texts, json_schema_input_type=str | list[str]),
        Field(max_length=PROMPTS.most),
        few(PROMPTS),
    ] = Field(default_factory=list)
    truncate: Flag = True
    """Whether a text that is too long is cut at its end."""
    dimensions: Count = 0
    """Numbers of a vector that are kept, from its beginning; 0 keeps all."""


class OllamaEmbeddingsRequest(ModelRequest):
    """`POST /api/embeddings`, the older route."""

    prompt: StrictStr = ""
