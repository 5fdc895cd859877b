"""The body of a message, and of counting its tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, FailFast, Field, StrictStr, Tag

from server.anthropic.blocks import Blocks, Cacheable, Texts
from server.bodies.bounds import MESSAGES, TOOLS
from server.bodies.few import few
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.chat.tools import Name
from server.errors import InvalidRequest
from server.requests.field_types import INT32_MAX, Flag, Probability, Real, StopStrings, Whole


class Message(RequestModel):
    """One turn of a conversation. Turns of the role `system` stay where they stand."""

    role: Literal["user", "assistant", "system"]
    content: Blocks


class OwnTool(Cacheable):
    """A tool that the client runs."""

    type: Literal["custom"] = "custom"
    name: Name
    description: StrictStr | None = None
    input_schema: dict[str, Any]
    strict: Flag | None = None


class ServerTool(Cacheable):
    """A tool that Anthropic's servers run. It is left out."""

    type: Label


def _tool_tag(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    return "own" if kind in (None, "custom") else "server"


Tool = Annotated[
    Annotated[OwnTool, Tag("own")] | Annotated[ServerTool, Tag("server")],
    Discriminator(_tool_tag),
]


class ToolChoice(RequestModel):
    """Whether and what the answer calls."""

    type: Literal["auto", "any", "tool", "none"]
    name: Label = ""
    disable_parallel_tool_use: Flag = False


class Thinking(RequestModel):
    """Whether and how long the model thinks."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Annotated[Whole, Field(ge=0, le=INT32_MAX)] | None = None
    display: Literal["summarized", "omitted"] = "summarized"


class JsonFormat(RequestModel):
    """The answer is JSON that is valid for a schema."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(RequestModel):
    """How much work the answer takes, and its form."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class Metadata(RequestModel):
    """What the application says of the request: whom it is for."""

    user_id: Label | None = None


class TokenCountRequest(RequestModel):
    """`POST /v1/messages/count_tokens`: the fields that the prompt depends on."""

    model: Label
    messages: Annotated[list[Message], FailFast(), Field(min_length=1, max_length=MESSAGES.most)]
    system: Texts = ""
    tools: Annotated[list[Tool], Field(max_length=TOOLS.most), few(TOOLS)] = Field(
        default_factory=list
    )
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig = OutputConfig()

    @property
    def own_tools(self) -> list[tuple[int, OwnTool]]:
        """The client's tools, with their indices in `tools`."""
        pairs = enumerate(self.tools)
        return [(index, tool) for index, tool in pairs if isinstance(tool, OwnTool)]

    def check(self) -> None:
        """Raise `InvalidRequest` for fields that contradict each other."""
        names = Counter(tool.name for _, tool in self.own_tools)
        for index, tool in self.own_tools:
            if names[tool.name] > 1:
                param = f"tools.{index}.name"
                raise InvalidRequest(f"'{param}' is given to two tools", param=param)
        choice = self.tool_choice
        if choice is None:
            return
        if choice.type == "tool" and choice.name not in names:
            param = "tool_choice.name"
            raise InvalidRequest(
                f"'{param}' is none of the tools (got {choice.name!r})", param=param
            )
        if choice.type == "any" and not names:
            raise InvalidRequest("'tool_choice' is any, but no 'tools'", param="tool_choice")


class MessagesRequest(TokenCountRequest, Cacheable):
    """`POST /v1/messages`. `cache_control` isn't needed: every prompt is cached.

    `service_tier` and `context_management` are accepted and have no effect.
    """

    max_tokens: Annotated[Whole, Field(ge=0, le=INT32_MAX)]
    """0 computes the prompt alone, so that a later request finds it in the cache."""
    stream: Flag = False
    stop_sequences: StopStrings = Field(default_factory=list)
    temperature: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[Whole, Field(ge=-INT32_MAX, le=INT32_MAX)] | None = None
    metadata: Metadata = Metadata()
    output_format: JsonFormat | None = None
    """The older name of `output_config.format`."""

    @property
    def marks_cache(self) -> bool:
        """Whether the client asks for the cache anywhere."""
        return any(isinstance(one, Cacheable) and one.cache_control for one in self._objects())

    def _objects(self) -> Iterator[object]:
        """All that may ask for the cache."""
        yield self
        yield from self.tools
        if not isinstance(self.system, str):
            yield from self.system
        for message in self.messages:
            for block in () if isinstance(message.content, str) else message.content:
                yield block
                inner = getattr(block, "content", "")
                yield from () if isinstance(inner, str) else inner

    @property
    def is_structured(self) -> bool:
        """Whether a constraint has to be built for the answer, or for its calls."""
        formats = (self.output_format, self.output_config.format)
        return bool(self.own_tools) or any(format_ is not None for format_ in formats)

    def check(self) -> None:
        super().check()
        if self.output_format is not None and self.output_config.format is not None:
            message = "'output_format' and 'output_config.format' are the same: give one"
            raise InvalidRequest(message, param="output_format")
