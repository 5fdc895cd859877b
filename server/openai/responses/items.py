"""The items of a response's input, in all forms that clients send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictStr, Tag

from server.bodies.bounds import PARTS
from server.bodies.few import few
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.chat.messages import OtherPart, RefusalPart
from server.documents.pdf import as_document, text_of_url, within

_TEXT_PARTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})


class TextPart(RequestModel):
    """A piece of text, of the user or of an earlier answer."""

    type: Label
    text: StrictStr


class FilePart(RequestModel):
    """A file that the user shows."""

    type: Literal["input_file"]
    file_data: StrictStr
    """A data URL of a PDF file or of text, or a PDF file in base64."""
    filename: StrictStr = ""

    @property
    def text(self) -> str:
        """The file as the model reads it. Raises `UnreadableDocument`."""
        return as_document(text_of_url(self.file_data, "file_data"), self.filename)


def _type_of(value: Any) -> Any:
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


def _part_tag(part: Any) -> str:
    kind = _type_of(part)
    if isinstance(kind, str) and kind in _TEXT_PARTS:
        return "text"
    return kind if kind in ("refusal", "input_file") else "other"


Part = Annotated[
    Annotated[TextPart, Tag("text")]
    | Annotated[RefusalPart, Tag("refusal")]
    | Annotated[FilePart, Tag("input_file")]
    | Annotated[OtherPart, Tag("other")],
    Discriminator(_part_tag),
]

Parts = StrictStr | Annotated[list[Part], few(PARTS)]


class MessageItem(RequestModel):
    """A message. Clients leave its `type` out."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts


class CallItem(RequestModel):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: Label
    name: Label
    namespace: Label | None = None
    arguments: StrictStr = ""


class CallOutputItem(RequestModel):
    """What a function answered."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: Label
    output: Parts = ""


class ReasoningItem(RequestModel):
    """Thinking of an earlier answer; clients send back what they have of it."""

    type: Literal["reasoning"]
    summary: Annotated[list[Part], few(PARTS)] = Field(default_factory=list)
    content: Annotated[list[Part], few(PARTS)] = Field(default_factory=list)
    encrypted_content: StrictStr | None = None


class ReferenceItem(RequestModel):
    """An item of a stored response, by its id."""

    type: Literal["item_reference"]
    id: Label


class DroppedItem(RequestModel):
    """An item of a tool that this server doesn't have. It is left out."""

    type: Label


_KINDS = frozenset({"message", "function_call", "reasoning", "item_reference"})
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})


def _item_tag(item: Any) -> str:
    kind = _type_of(item)
    if kind is None:
        return "message" if not isinstance(item, dict) or "role" in item else "reference"
    if isinstance(kind, str) and kind in _OUTPUTS:
        return "output"
    return kind if isinstance(kind, str) and kind in _KINDS else "dropped"


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[CallOutputItem, Tag("output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ReferenceItem, Tag("item_reference")]
    | Annotated[DroppedItem, Tag("dropped")],
    Discriminator(lambda item: {"reference": "item_reference"}.get(tag := _item_tag(item), tag)),
]


def text_of(parts: Parts | Sequence[Part]) -> str:
    """The text of all parts, one per line. Raises `UnreadableDocument`."""
    return parts if isinstance(parts, str) else "\n".join(_texts(parts))


def _texts(parts: Sequence[Part]) -> Iterator[str]:
    for at, part in enumerate(parts):
        assert not isinstance(part, OtherPart)  # refused already
        with within(str(at)):
            yield part.text
