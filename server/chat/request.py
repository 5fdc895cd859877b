"""The body of a chat completion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    FailFast,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
)

from protocol.commands import UNLIMITED
from server.bodies.bounds import (
    BUDGET_CHARS,
    DOCUMENTS,
    LOGPROBS,
    MESSAGES,
    METADATA,
    TOOLS,
    VARIABLES,
)
from server.bodies.few import few
from server.bodies.label import Label
from server.chat.messages import AssistantMessage, Message
from server.chat.tools import NamedChoice, Tool, ToolChoice
from server.chat.unsupported import CHAT_FIELDS
from server.errors import InvalidRequest
from server.parsers.reasoning import effort_variables
from server.requests.field_types import INT32_MAX, Flag, Whole
from server.requests.sampling_fields import SamplingFields
from server.structured_output.output_format import ANY_OBJECT, OutputFormat, any_object_format
from server.structured_output.response_format import ResponseFormat, response_output_format
from server.templates.continuation import ContinuedField


class ChatRequest(SamplingFields):
    """`POST /v1/chat/completions`: OpenAI's fields and llama-server's.

    `metadata`, `store`, `service_tier` and `verbosity` are checked and have no effect.
    """

    unsupported = CHAT_FIELDS

    messages: Annotated[list[Message], FailFast(), Field(min_length=1, max_length=MESSAGES.most)]
    logprobs: Flag = False
    top_logprobs: Annotated[Whole, Field(ge=0, le=LOGPROBS.most)] | None = None

    tools: Annotated[list[Tool], Field(max_length=TOOLS.most), few(TOOLS)] = Field(
        default_factory=list
    )
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: Flag | None = None

    response_format: ResponseFormat | None = None

    reasoning_effort: Label | None = None
    """"none" turns thinking off. Other words go to the chat template. If the template doesn't read
    the effort, the word sets a budget."""
    reasoning_format: Literal["none", "auto", "deepseek"] | None = None
    reasoning_budget_tokens: Annotated[Whole, Field(ge=-1, le=INT32_MAX)] = Field(
        UNLIMITED,
        validation_alias=AliasChoices(
            "reasoning_budget_tokens", "thinking_budget_tokens", "thinking_token_budget"
        ),
    )
    """Most tokens of thinking. -1 is the server's default."""
    reasoning_budget_message: Annotated[StrictStr, Field(max_length=BUDGET_CHARS.most)] | None = (
        None
    )
    """Text put at the end of thinking that has reached its budget."""
    reasoning_control: Flag = False
    """Whether `/v1/chat/completions/control` may end the thinking of a streamed answer."""
    chat_template_kwargs: Annotated[
        dict[Label, Any], Field(max_length=VARIABLES.most), few(VARIABLES)
    ] = Field(default_factory=dict)
    documents: (
        Annotated[list[dict[str, Any]], Field(max_length=DOCUMENTS.most), few(DOCUMENTS)] | None
    ) = None
    add_generation_prompt: Flag = True
    continue_final_message: Flag | ContinuedField | None = None
    """Whether the answer continues the last message. By default a last message of the assistant is
    continued. A field's name says which of its texts."""

    user: Label | None = None
    metadata: (
        Annotated[dict[Label, Label | None], Field(max_length=METADATA.most), few(METADATA)] | None
    ) = None
    store: StrictBool | None = None
    service_tier: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    verbosity: Label | Annotated[StrictInt, Field(ge=-INT32_MAX, le=INT32_MAX)] | None = None

    def check(self) -> None:
        """Raise `InvalidRequest` for fields that contradict each other."""
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest("'top_logprobs' needs 'logprobs' to be true", param="top_logprobs")
        if self.continue_final_message and "add_generation_prompt" in self.model_fields_set:
            self._check_continuation()
        self._check_tools()

    @property
    def user_hint(self) -> str:
        """Whom the request is for: the first of the fields that may tell."""
        return self.safety_identifier or self.user or self.prompt_cache_key or ""

    @property
    def num_logprobs(self) -> int:
        """Alternatives to report with each token; -1 reports nothing."""
        if self.logprobs:
            return self.top_logprobs or 0
        return self.n_probs or -1

    @property
    def continued(self) -> ContinuedField | None:
        """What the answer continues in the last message, if anything.

        A message that has thinking alone was cut while the model thought.
        """
        asked, last = self.continue_final_message, self.messages[-1]
        if asked is False:
            return None
        if not isinstance(last, AssistantMessage) or last.tool_calls:
            return "content" if asked else None
        if asked == "content" or not last.thinking_text:
            return "content"
        return "content" if last.text and asked != "reasoning_content" else "reasoning_content"

    @property
    def template_variables(self) -> dict[str, Any]:
        """The variables of the chat template, besides the messages."""
        return {**self.chat_template_kwargs, **effort_variables(self.reasoning_effort)}

    @property
    def must_call(self) -> bool:
        """Whether the answer has to be a tool call."""
        return self.tool_choice == "required" or isinstance(self.tool_choice, NamedChoice)

    def offered_tools(self) -> list[Tool]:
        """The tools that the model is told about."""
        return [] if self.tool_choice == "none" else self.tools

    def callable_tools(self) -> list[tuple[int, Tool]]:
        """The tools that the answer may call, with their indices in `tools`."""
        named = (
            self.tool_choice.function.name if isinstance(self.tool_choice, NamedChoice) else None
        )
        offered = enumerate(self.offered_tools())
        return [pair for pair in offered if named is None or pair[1].function.name == named]

    def output_format(self) -> OutputFormat:
        """What the answer has to follow. In chats, an empty schema means any JSON object."""
        format_ = super().output_format()
        if format_.schema in ({}, ANY_OBJECT):
            return any_object_format(format_.param)
        return format_

    @property
    def is_structured(self) -> bool:
        """Whether a constraint has to be built for the answer, for its calls too."""
        return bool(self.offered_tools()) or super().is_structured

    def _formats(self) -> Iterator[OutputFormat]:
        yield response_output_format(self.response_format)
        yield from super()._formats()

    def _check_continuation(self) -> None:
        if self.add_generation_prompt:
            raise InvalidRequest(
                "'continue_final_message' and 'add_generation_prompt' exclude each other",
                param="continue_final_message",
            )

    def _check_tools(self) -> None:
        names = Counter(tool.function.name for tool in self.tools)
        for index, tool in enumerate(self.tools):
            if names[tool.function.name] > 1:
                param = f"tools.{index}.function.name"
                raise InvalidRequest(f"'{param}' is given to two tools", param=param)
        if isinstance(self.tool_choice, NamedChoice):
            name = self.tool_choice.function.name
            if name not in names:
                param = "tool_choice.function.name"
                raise InvalidRequest(f"'{param}' is none of the tools (got {name!r})", param=param)
        if self.tool_choice == "required" and not self.tools:
            raise InvalidRequest("'tool_choice' is required, but no 'tools'", param="tool_choice")
