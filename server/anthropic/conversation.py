"""From a body of Anthropic's to the chat that every dialect shares."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.anthropic.blocks import (
    Block,
    DocumentBlock,
    DroppedBlock,
    SearchResultBlock,
    SystemBlock,
    TextBlock,
    Texts,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    joined,
)
from server.anthropic.request import (
    JsonFormat,
    MessagesRequest,
    OwnTool,
    ServerTool,
    TokenCountRequest,
)
from server.chat.messages import (
    AssistantMessage,
    FunctionCall,
    InstructionMessage,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from server.chat.request import ChatRequest
from server.chat.tools import Function, NamedChoice, NamedFunction, Tool, ToolChoice
from server.documents.pdf import UnreadableDocument, within
from server.errors import ApiError, InvalidRequest

logger = logging.getLogger(__name__)

_BILLING_HEADER = "x-anthropic-billing-header:"
"""Begins a block of Claude Code's that differs in every request. The model has no use for it, and
nothing after it could be found in the cache."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat, and where its parts come from in Anthropic's body."""

    body: ChatRequest
    origins: Sequence[int | None]
    """The index of the message that each of the chat's messages comes from; None for `system`."""
    tools: Sequence[int]
    """The index of each of the chat's tools."""
    format_param: str

    def renamed(self, error: ApiError) -> ApiError:
        """The error, with its field named as in Anthropic's body."""
        if error.param is not None:
            param = self._renamed(error.param)
            error.message = error.message.replace(error.param, param)
            error.args = (error.message,)
            error.param = param
        return error

    def _renamed(self, param: str) -> str:
        if found := re.match(r"messages\.(\d+)", param):
            origin = self.origins[int(found[1])]
            return "system" if origin is None else f"messages.{origin}"
        if found := re.match(r"tools\.(\d+)\.function(\.parameters)?", param):
            rest = param[found.end() :]
            return f"tools.{self.tools[int(found[1])]}{'.input_schema' if found[2] else ''}{rest}"
        if param.startswith("response_format"):
            return param.replace("response_format.json_schema", self.format_param).replace(
                "response_format", self.format_param
            )
        return {"prompt": "messages", "n_predict": "max_tokens", "stop": "stop_sequences"}.get(
            param, param
        )


def to_chat(body: TokenCountRequest) -> Chat:
    """The same conversation as a chat. Raises `InvalidRequest` naming a block that is misplaced."""
    turns = _Turns()
    if system := _system_text(body.system):
        turns.origin = None
        turns.add(InstructionMessage(role="system", content=system))
    for index, message in enumerate(body.messages):
        turns.origin = index
        content = message.content
        blocks: list[Block] = (
            [TextBlock(type="text", text=content)] if isinstance(content, str) else content
        )
        add = {"user": turns.user, "assistant": turns.assistant, "system": turns.system}
        try:
            add[message.role](blocks)
        except UnreadableDocument as error:
            raise error.refusal() from error
    dropped = [tool.type for tool in body.tools if isinstance(tool, ServerTool)]
    if dropped:
        logger.info("tools that only Anthropic's servers run are left out: %s", ", ".join(dropped))
    own = body.own_tools
    fields: dict[str, Any] = {
        "model": body.model,
        "messages": turns.messages,
        "tools": [_tool(tool) for _, tool in own],
        **_choice(body),
        **_thinking(body),
        **_sampling(body),
    }
    format_param = "output_config.format"
    if isinstance(body, MessagesRequest) and body.output_format is not None:
        format_param = "output_format"
    return Chat(
        ChatRequest.model_validate(fields), turns.origins, [index for index, _ in own], format_param
    )


class _Turns:
    """Collects the messages of a chat. Turns of one role in a row become one message."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.origins: list[int | None] = []
        self.origin: int | None = None
        self._names: dict[str, str] = {}
        """The tool of each call, by the call's id."""

    def add(self, message: Message) -> None:
        self.messages.append(message)
        self.origins.append(self.origin)

    def system(self, blocks: Sequence[Block]) -> None:
        """Instructions, where they stand."""
        texts = [self._expect(TextBlock, block, at).text for at, block in enumerate(blocks)]
        self.add(InstructionMessage(role="system", content="\n".join(texts)))

    def user(self, blocks: Sequence[Block]) -> None:
        """Results of tools, text and documents, in their order."""
        texts: list[str] = []
        for at, block in enumerate(blocks):
            if isinstance(block, TextBlock | DocumentBlock | SearchResultBlock):
                with within("messages", str(self.origin), "content", str(at)):
                    texts.append(block.text)
            elif isinstance(block, ToolResultBlock | SystemBlock):
                self._end_user(texts)
                texts = []
                with within("messages", str(self.origin), "content", str(at)):
                    self._add_inserted(block)
            elif not isinstance(block, DroppedBlock):
                raise self._misplaced(block, at)
        if texts or not blocks:
            self._end_user(texts or [""])

    def assistant(self, blocks: Sequence[Block]) -> None:
        """Thinking, text and calls. The thinking is given before the text, whatever the order."""
        texts: list[str] = []
        thinking: list[str] = []
        calls: list[ToolCall] = []
        for at, block in enumerate(blocks):
            if isinstance(block, TextBlock):
                texts.append(block.text)
            elif isinstance(block, ThinkingBlock):
                thinking.append(block.thinking)
            elif isinstance(block, ToolUseBlock):
                calls.append(self._call(block))
            elif not isinstance(block, DroppedBlock):
                raise self._misplaced(block, at)
        message = AssistantMessage(
            role="assistant",
            content="".join(texts),
            reasoning_content="\n".join(filter(None, thinking)) or None,
            tool_calls=calls or None,
        )
        last = self.messages[-1] if self.messages else None
        if isinstance(last, AssistantMessage):
            self.messages[-1] = _merged(last, message)
        else:
            self.add(message)

    def _call(self, block: ToolUseBlock) -> ToolCall:
        self._names[block.id] = block.name
        arguments = json.dumps(block.input, ensure_ascii=False)
        return ToolCall(id=block.id, function=FunctionCall(name=block.name, arguments=arguments))

    def _add_inserted(self, block: ToolResultBlock | SystemBlock) -> None:
        if isinstance(block, SystemBlock):
            self.add(InstructionMessage(role="system", content=joined(block.content)))
            return
        name = self._names.get(block.tool_use_id)
        call = block.tool_use_id
        self.add(ToolMessage(role="tool", content=block.text, tool_call_id=call, name=name))

    def _end_user(self, texts: Sequence[str]) -> None:
        if not texts:
            return
        text = "\n".join(texts)
        last = self.messages[-1] if self.messages else None
        if isinstance(last, UserMessage) and isinstance(last.content, str):
            self.messages[-1] = UserMessage(role="user", content=f"{last.content}\n{text}")
        else:
            self.add(UserMessage(role="user", content=text))

    def _expect(self, kind: type[TextBlock], block: Block, at: int) -> TextBlock:
        if not isinstance(block, kind):
            raise self._misplaced(block, at)
        return block

    def _misplaced(self, block: Block, at: int) -> InvalidRequest:
        param = f"messages.{self.origin}.content.{at}"
        name = getattr(block, "type", "")
        message = f"'{param}' has the type {name!r}, which this role can't have"
        return InvalidRequest(message, param=param)


def _merged(first: AssistantMessage, second: AssistantMessage) -> AssistantMessage:
    thinking = [first.reasoning_content, second.reasoning_content]
    return AssistantMessage(
        role="assistant",
        content=f"{first.content or ''}{second.content or ''}",
        reasoning_content="\n".join(filter(None, thinking)) or None,
        tool_calls=[*(first.tool_calls or ()), *(second.tool_calls or ())] or None,
    )


def _system_text(system: Texts) -> str:
    if isinstance(system, str):
        return system
    texts = (block.text for block in system)
    return "\n".join(text for text in texts if not text.startswith(_BILLING_HEADER))


def _tool(tool: OwnTool) -> Tool:
    function = Function(
        name=tool.name,
        description=tool.description,
        parameters=tool.input_schema,
        strict=tool.strict,
    )
    return Tool(type="function", function=function)


def _choice(body: TokenCountRequest) -> dict[str, Any]:
    choice = body.tool_choice
    if choice is None or not body.own_tools:
        return {}
    named = NamedChoice(type="function", function=NamedFunction(name=choice.name))
    kinds: dict[str, ToolChoice] = {
        "auto": "auto",
        "any": "required",
        "none": "none",
        "tool": named,
    }
    parallel = {"parallel_tool_calls": False} if choice.disable_parallel_tool_use else {}
    return {"tool_choice": kinds[choice.type], **parallel}


def _thinking(body: TokenCountRequest) -> dict[str, Any]:
    """Thinking is off unless the request turns it on, as Anthropic documents."""
    thinking = body.thinking
    if thinking is None or thinking.type == "disabled":
        return {"reasoning_effort": "none"}
    fields: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": True}}
    if body.output_config.effort is not None:
        # Templates know three efforts.
        effort = body.output_config.effort
        fields["reasoning_effort"] = "high" if effort in ("xhigh", "max") else effort
    if thinking.budget_tokens is not None:
        fields["reasoning_budget_tokens"] = thinking.budget_tokens
    return fields


def _sampling(body: TokenCountRequest) -> dict[str, Any]:
    format_ = body.output_config.format
    if not isinstance(body, MessagesRequest):
        return _response_format(format_)
    own = {"temperature": body.temperature, "top_p": body.top_p, "top_k": body.top_k}
    return {
        "max_tokens": body.max_tokens,
        "stream": body.stream,
        # The first report of progress tells how much was cached.
        "return_progress": body.stream,
        "stop": body.stop_sequences,
        "user": body.metadata.user_id,
        **{name: value for name, value in own.items() if value is not None},
        **_response_format(body.output_format or format_),
    }


def _response_format(format_: JsonFormat | None) -> dict[str, Any]:
    if format_ is None:
        return {}
    schema = {"name": "answer", "schema": format_.schema_, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
