"""The content blocks that a message may have, as Anthropic defines them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictStr, Tag, model_validator

from server.bodies.bounds import PARTS
from server.bodies.few import few
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.documents.pdf import as_document, text_of_base64, within
from server.requests.field_types import Flag

_IMAGES = frozenset({"image", "container_upload"})
_DROPPED = frozenset(
    {
        "bash_code_execution_tool_result",
        "code_execution_tool_result",
        "mcp_tool_result",
        "mcp_tool_use",
        "redacted_thinking",
        "server_tool_use",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "web_fetch_tool_result",
        "web_search_tool_result",
    }
)
"""What only Anthropic's own servers write or can read."""


class Cacheable(RequestModel):
    """An object after which the client wants the prompt to be in the cache."""

    cache_control: dict[str, Any] | None = None
    """Every prompt is cached; only the counts of the answer depend on it."""


class TextBlock(Cacheable):
    """A piece of text."""

    type: Literal["text"]
    text: StrictStr


Texts = StrictStr | Annotated[list[TextBlock], few(PARTS)]
"""A text, or a list of pieces."""


class TextSource(RequestModel):
    """A document's text."""

    type: Literal["text"]
    data: StrictStr


class ContentSource(RequestModel):
    """A document's text in pieces."""

    type: Literal["content"]
    content: Texts


class PdfSource(RequestModel):
    """A PDF file."""

    type: Literal["base64"]
    media_type: Literal["application/pdf"] = "application/pdf"
    data: StrictStr


class OtherSource(RequestModel):
    """Any other source of a document. It is refused by name."""

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, source: Any) -> Any:
        kind = source.get("type") if isinstance(source, dict) else None
        if not isinstance(kind, str):
            raise ValueError("must be an object with the field type")
        raise ValueError(f"has the type {kind!r}; a document can be 'text', 'content' or 'base64'")


_SOURCES = frozenset({"text", "content", "base64"})
_BLOCKS = frozenset(
    {"text", "thinking", "tool_use", "tool_result", "document", "search_result", "mid_conv_system"}
)


def _type_of(value: Any) -> Any:
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


def _source_tag(source: Any) -> str:
    kind = _type_of(source)
    return kind if isinstance(kind, str) and kind in _SOURCES else "other"


class DocumentBlock(Cacheable):
    """A document that the user shows."""

    type: Literal["document"]
    source: Annotated[
        Annotated[TextSource, Tag("text")]
        | Annotated[ContentSource, Tag("content")]
        | Annotated[PdfSource, Tag("base64")]
        | Annotated[OtherSource, Tag("other")],
        Discriminator(_source_tag),
    ]
    title: StrictStr = ""
    context: StrictStr = ""

    @property
    def text(self) -> str:
        """The document as the model reads it. Raises `UnreadableDocument`."""
        match self.source:
            case TextSource(data=body):
                pass
            case ContentSource(content=content):
                body = joined(content)
            case PdfSource(data=data):
                with within("source"):
                    body = text_of_base64(data, "data")
            case _:  # refused already
                body = ""
        return as_document(body, self.title, self.context)


class SearchResultBlock(Cacheable):
    """A result that the application's own search found."""

    type: Literal["search_result"]
    source: StrictStr
    title: StrictStr = ""
    content: Texts

    @property
    def text(self) -> str:
        """The result as the model reads it."""
        head = f"{self.title}\n{self.source}" if self.title else self.source
        return f"<search_result>\n{head}\n{joined(self.content)}\n</search_result>"


class ThinkingBlock(RequestModel):
    """Thinking of an earlier answer. The signature isn't checked: any thinking may be sent."""

    type: Literal["thinking"]
    thinking: StrictStr
    signature: StrictStr = ""


class ToolUseBlock(Cacheable):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: Label
    name: Label
    input: dict[str, Any] = Field(default_factory=dict)


class SystemBlock(RequestModel):
    """Instructions of the application in the middle of a conversation."""

    type: Literal["mid_conv_system"]
    content: Texts


class DroppedBlock(RequestModel):
    """A block that is left out: only Anthropic's servers can use it."""


class OtherBlock(RequestModel):
    """Any other block. It is refused by name."""

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, block: Any) -> Any:
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(kind, str):
            raise ValueError("must be an object with the field type")
        if kind in _IMAGES:
            raise ValueError(f"has the type {kind!r}, but the model reads text only")
        raise ValueError(f"has the type {kind!r}, which is not known")


def _block_tag(block: Any) -> str:
    kind = _type_of(block)
    if not isinstance(kind, str):
        return "dropped" if isinstance(block, DroppedBlock) else "other"
    if kind in _DROPPED:
        return "dropped"
    return kind if kind in _BLOCKS else "other"


ResultPart = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[DocumentBlock, Tag("document")]
    | Annotated[SearchResultBlock, Tag("search_result")]
    | Annotated[DroppedBlock, Tag("dropped")]
    | Annotated[OtherBlock, Tag("other")],
    Discriminator(lambda part: _part_tag(part)),
]


def _part_tag(part: Any) -> str:
    tag = _block_tag(part)
    return tag if tag in ("text", "document", "search_result", "dropped") else "other"


class ToolResultBlock(Cacheable):
    """What a tool answered."""

    type: Literal["tool_result"]
    tool_use_id: Label
    content: StrictStr | Annotated[list[ResultPart], few(PARTS)] = ""
    is_error: Flag = False

    @property
    def text(self) -> str:
        """The result as the model reads it. Raises `UnreadableDocument`."""
        content = self.content
        if not isinstance(content, str):
            content = "\n".join(self._texts(content))
        return f"Error: {content}" if self.is_error else content

    def _texts(self, parts: list[ResultPart]) -> Iterator[str]:
        for at, part in enumerate(parts):
            if isinstance(part, TextBlock | DocumentBlock | SearchResultBlock):
                with within("content", str(at)):
                    yield part.text


Block = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[ThinkingBlock, Tag("thinking")]
    | Annotated[ToolUseBlock, Tag("tool_use")]
    | Annotated[ToolResultBlock, Tag("tool_result")]
    | Annotated[DocumentBlock, Tag("document")]
    | Annotated[SearchResultBlock, Tag("search_result")]
    | Annotated[SystemBlock, Tag("mid_conv_system")]
    | Annotated[DroppedBlock, Tag("dropped")]
    | Annotated[OtherBlock, Tag("other")],
    Discriminator(_block_tag),
]

Blocks = StrictStr | Annotated[list[Block], few(PARTS)]


def joined(texts: Texts) -> str:
    """The text of all pieces, one per line."""
    return texts if isinstance(texts, str) else "\n".join(piece.text for piece in texts)
