"""The body of a response."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictBool, StrictStr, Tag

from server.bodies.bounds import LOGPROBS, MESSAGES, METADATA, TOOLS
from server.bodies.few import few
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.chat.tools import Name
from server.errors import InvalidRequest
from server.openai.responses.items import Item
from server.requests.field_types import INT32_MAX, Flag, Probability, Real, Whole
from server.structured_output.response_format import JsonObjectFormat, TextFormat


class FunctionTool(RequestModel):
    """A function that the model may call."""

    type: Literal["function"]
    name: Name
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None


class OtherTool(RequestModel):
    """A tool that this server doesn't have. It is left out."""

    type: Label


def _tool_tag(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    return kind if kind in ("function", "namespace") else "other"


NamespacedTool = Annotated[
    Annotated[FunctionTool, Tag("function")] | Annotated[OtherTool, Tag("other")],
    Discriminator(lambda tool: "function" if _tool_tag(tool) == "function" else "other"),
]


class Namespace(RequestModel):
    """Functions with a name in common, such as those of one MCP server."""

    type: Literal["namespace"]
    name: Name
    tools: Annotated[list[NamespacedTool], Field(max_length=TOOLS.most), few(TOOLS)] = Field(
        default_factory=list
    )


Tool = Annotated[
    Annotated[FunctionTool, Tag("function")]
    | Annotated[Namespace, Tag("namespace")]
    | Annotated[OtherTool, Tag("other")],
    Discriminator(_tool_tag),
]


class NamedTool(RequestModel):
    """A function by its name."""

    type: Literal["function"]
    name: Label


class AllowedTools(RequestModel):
    """The functions that this answer may call."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"] = "auto"
    tools: Annotated[list[NamedTool], few(TOOLS)]


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[NamedTool | AllowedTools, Field(discriminator="type")]
)


class SchemaFormat(RequestModel):
    """JSON of a schema."""

    type: Literal["json_schema"]
    name: Label = "answer"
    description: StrictStr | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: StrictBool | None = None


class TextConfig(RequestModel):
    """The form of the text."""

    format: Annotated[TextFormat | JsonObjectFormat | SchemaFormat, Field(discriminator="type")] = (
        TextFormat(type="text")
    )
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(RequestModel):
    """How much the model thinks, and whether its thinking is shown as a summary."""

    effort: Label | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseRequest(RequestModel):
    """`POST /v1/responses`.

    `service_tier` and `max_tool_calls` have no effect: the server has no tools of its own.
    """

    model: Label | None = None
    input: StrictStr | Annotated[list[Item], Field(max_length=MESSAGES.most), few(MESSAGES)] = (
        Field(default_factory=list)
    )
    instructions: StrictStr | None = None
    tools: Annotated[list[Tool], Field(max_length=TOOLS.most), few(TOOLS)] = Field(
        default_factory=list
    )
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: Flag = True
    stream: Flag = False
    store: Flag = True
    previous_response_id: Label | None = None
    include: Annotated[list[Label], few(METADATA)] = Field(default_factory=list)
    reasoning: ReasoningConfig = ReasoningConfig()
    text: TextConfig = TextConfig()
    max_output_tokens: Annotated[Whole, Field(ge=1, le=INT32_MAX)] | None = None
    temperature: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    top_p: Probability | None = None
    top_logprobs: Annotated[Whole, Field(ge=0, le=LOGPROBS.most)] | None = None
    truncation: Literal["auto", "disabled"] = "disabled"
    metadata: Annotated[dict[Label, Label], few(METADATA)] = Field(default_factory=dict)
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    background: Flag = False
    conversation: Any = None
    prompt: Any = None

    def check(self) -> None:
        """Raise `InvalidRequest` for what this server can't do."""
        if self.background and not self.store:
            message = "'background' needs 'store' to be true: the response is read later"
            raise InvalidRequest(message, param="background")
        for name in ("conversation", "prompt"):
            if getattr(self, name) is not None:
                raise InvalidRequest(
                    f"'{name}' is not supported: there is no such store", param=name
                )
        if not self.input and self.previous_response_id is None:
            raise InvalidRequest("'input' is required", param="input")

    @property
    def is_structured(self) -> bool:
        """Whether a constraint has to be built for the answer, or for its calls."""
        return bool(self.tools) or not isinstance(self.text.format, TextFormat)

    @property
    def has_logprobs(self) -> bool:
        """Whether the log-probabilities of the text are reported."""
        return bool(self.top_logprobs) or "message.output_text.logprobs" in self.include
