"""The messages of a chat as OpenAI defines them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StrictStr,
    Tag,
    model_validator,
)

from server.request_model import RequestModel

_OTHER = "other"
MAX_PARTS = 4096
"""Most parts of one message's content."""
_PART_TYPES = frozenset({"text", "refusal"})


class TextPart(RequestModel):
    """A piece of text."""

    type: Literal["text"]
    text: StrictStr


class RefusalPart(RequestModel):
    """A refusal of the assistant."""

    type: Literal["refusal"]
    refusal: StrictStr

    @property
    def text(self) -> str:
        """The refusal. The model reads it like any of its own texts."""
        return self.refusal


class OtherPart(RequestModel):
    """Any other part. It is refused by name."""

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, part: Any) -> Any:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str):
            raise ValueError(f"has the type {kind!r}, but the model reads text only")
        raise ValueError("must be an object with the field type")


def _part_tag(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return kind if isinstance(kind, str) and kind in _PART_TYPES else _OTHER


Part = Annotated[
    Annotated[TextPart, Tag("text")]
    | Annotated[RefusalPart, Tag("refusal")]
    | Annotated[OtherPart, Tag(_OTHER)],
    Discriminator(_part_tag),
]


def _few(value: Any) -> Any:
    """Refuse too many parts before each part is validated."""
    if isinstance(value, list) and len(value) > MAX_PARTS:
        raise ValueError(f"must have {MAX_PARTS} or fewer parts")
    return value


Content = StrictStr | Annotated[list[Part], BeforeValidator(_few)]


class FunctionCall(RequestModel):
    """A function and its arguments as JSON text."""

    name: StrictStr
    arguments: StrictStr = ""


class ToolCall(RequestModel):
    """A call that the assistant made."""

    id: StrictStr = ""
    type: Literal["function"] = "function"
    function: FunctionCall


class InstructionMessage(RequestModel):
    """Instructions of the application."""

    role: Literal["system", "developer"]
    content: Content
    name: StrictStr | None = None


class UserMessage(RequestModel):
    """A message of the user."""

    role: Literal["user"]
    content: Content
    name: StrictStr | None = None


class AssistantMessage(RequestModel):
    """A message of the model."""

    role: Literal["assistant"]
    content: Content | None = None
    name: StrictStr | None = None
    refusal: StrictStr | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: StrictStr | None = None
    reasoning: StrictStr | None = None
    thinking: StrictStr | None = None

    @model_validator(mode="after")
    def _says_something(self) -> AssistantMessage:
        if self.content is None and not self.tool_calls and self.refusal is None:
            raise ValueError("must have content or tool_calls, since it is the assistant's")
        return self


class ToolMessage(RequestModel):
    """The result of a tool call."""

    role: Literal["tool"]
    content: Content
    tool_call_id: StrictStr | None = None
    name: StrictStr | None = None


Message = Annotated[
    InstructionMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


def to_template(message: Message) -> dict[str, Any]:
    """The message in the form that chat templates read."""
    plain = message.model_dump(exclude_none=True)
    content = message.content
    if isinstance(content, list):
        plain["content"] = [{"type": "text", "text": part.text} for part in content]  # type: ignore[union-attr]
    elif content is None:
        plain["content"] = plain.pop("refusal", None)
    return plain
