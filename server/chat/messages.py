"""The messages of a chat as OpenAI defines them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StrictStr,
    Tag,
    model_validator,
)

from server.bodies.bounds import CALLS, PARTS
from server.bodies.few import few
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.documents.pdf import as_document, text_of_url, within
from server.templates.messages import REASONING_FIELDS, text_of

_OTHER = "other"
_PART_TYPES = frozenset({"text", "refusal", "file"})


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


class FileData(RequestModel):
    """A file's name and content."""

    file_data: StrictStr
    """A data URL of a PDF file or of text, or a PDF file in base64."""
    filename: StrictStr = ""


class FilePart(RequestModel):
    """A file that the user shows."""

    type: Literal["file"]
    file: FileData

    @property
    def text(self) -> str:
        """The file as the model reads it. Raises `UnreadableDocument`."""
        with within("file"):
            body = text_of_url(self.file.file_data, "file_data")
        return as_document(body, self.file.filename)


class OtherPart(RequestModel):
    """Any other part. It is refused by name."""

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, part: Any) -> Any:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str):
            raise ValueError(f"has the type {kind[:100]!r}, but the model reads text only")
        raise ValueError("must be an object with the field type")


def _part_tag(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return kind if isinstance(kind, str) and kind in _PART_TYPES else _OTHER


Part = Annotated[
    Annotated[TextPart, Tag("text")]
    | Annotated[RefusalPart, Tag("refusal")]
    | Annotated[FilePart, Tag("file")]
    | Annotated[OtherPart, Tag(_OTHER)],
    Discriminator(_part_tag),
]


Content = StrictStr | Annotated[list[Part], few(PARTS)]


def _json_text(value: Any) -> Any:
    """An object's JSON. Some clients keep the arguments that they have parsed."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


class FunctionCall(RequestModel):
    """A function and its arguments as JSON text."""

    name: Label
    arguments: Annotated[
        StrictStr,
        BeforeValidator(_json_text, json_schema_input_type=StrictStr | dict[str, Any]),
    ] = ""


class ToolCall(RequestModel):
    """A call that the assistant made."""

    id: Label = ""
    type: Literal["function"] = "function"
    function: FunctionCall


class InstructionMessage(RequestModel):
    """Instructions of the application."""

    role: Literal["system", "developer"]
    content: Content
    name: Label | None = None


class UserMessage(RequestModel):
    """A message of the user."""

    role: Literal["user"]
    content: Content
    name: Label | None = None


class AssistantMessage(RequestModel):
    """A message of the model. It may be empty: an answer can be cut before its first word."""

    role: Literal["assistant"]
    content: Content | None = None
    name: Label | None = None
    refusal: StrictStr | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=CALLS.most), few(CALLS)] | None = None
    reasoning_content: StrictStr | None = None
    reasoning: StrictStr | None = None
    thinking: StrictStr | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_call(cls, message: Any) -> Any:
        if isinstance(message, dict) and message.get("function_call") is not None:
            raise ValueError("must give its calls in tool_calls, not in function_call")
        return message

    @property
    def text(self) -> str:
        """The text for the user."""
        return text_of(to_template(self).get("content"))

    @property
    def thinking_text(self) -> str:
        """The thinking before the text."""
        return next(filter(None, (getattr(self, name) for name in REASONING_FIELDS)), "")


class ToolMessage(RequestModel):
    """The result of a tool call. It is empty if the tool says nothing."""

    role: Literal["tool"]
    content: Content = ""
    tool_call_id: Label | None = None
    name: Label | None = None


Message = Annotated[
    InstructionMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


def to_template(message: Message) -> dict[str, Any]:
    """The message in the form that chat templates read. Raises `UnreadableDocument`."""
    plain = message.model_dump(exclude_none=True)
    content = message.content
    if isinstance(content, list):
        plain["content"] = [
            {"type": "text", "text": _part_text(part, at)} for at, part in enumerate(content)
        ]
    elif content is None:
        plain["content"] = plain.pop("refusal", None)
    return plain


def _part_text(part: Part, at: int) -> str:
    assert not isinstance(part, OtherPart)  # refused already
    with within("content", str(at)):
        return part.text
