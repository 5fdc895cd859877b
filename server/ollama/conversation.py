"""From a body of Ollama's to the chat that every dialect shares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from server.chat.messages import (
    AssistantMessage,
    InstructionMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from server.chat.messages import Message as ChatMessage
from server.chat.tools import Tool as ChatTool
from server.errors import ApiError
from server.ollama.options import option_of
from server.ollama.request import AnswerRequest, Call, Message, Tool


def chat_messages(messages: Sequence[Message]) -> list[ChatMessage]:
    """The messages, with results of tools tied to their calls."""
    calls = _Calls()
    return [_chat_message(message, calls) for message in messages]


def chat_tools(tools: Sequence[Tool]) -> list[ChatTool]:
    """The tools as chats have them."""
    return [ChatTool(type="function", function=tool.function) for tool in tools]


def thinking_fields(body: AnswerRequest) -> dict[str, Any]:
    """The fields of a chat that say whether and how much the model thinks."""
    if body.think is None:
        return {}
    if body.think is False:
        return {"reasoning_effort": "none"}
    fields: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": True}}
    if isinstance(body.think, str):
        # Templates know three efforts.
        fields["reasoning_effort"] = "high" if body.think == "max" else body.think
    return fields


def format_fields(body: AnswerRequest) -> dict[str, Any]:
    """The field that says what the answer follows."""
    if body.format == "":
        return {}
    if body.format == "json":
        return {"response_format": {"type": "json_object"}}
    schema = {"name": "answer", "schema": body.format, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def renamed(error: ApiError) -> ApiError:
    """The error, with its field named as in Ollama's body."""
    if error.param is not None:
        param = _param(error.param)
        error.message = error.message.replace(error.param, param)
        error.args = (error.message,)
        error.param = param
    return error


def _param(param: str) -> str:
    if param.startswith("response_format"):
        return re.sub(r"^response_format(\.json_schema)?(\.schema)?", "format", param)
    option = option_of(param)
    return param if option is None else f"options.{option}"


class _Calls:
    """The calls that wait for their results. Ollama's clients often give no ids."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: dict[str, str] = {}
        """The names of the functions, by the ids of the calls."""

    def call(self, call: Call) -> ToolCall:
        """A call with an id."""
        self._count += 1
        name = call.id or f"call_{self._count:05d}"
        self._waiting[name] = call.function.name
        return ToolCall(id=name, function=call.function)

    def answered(self, message: Message) -> tuple[str | None, str | None]:
        """The id and the function of the call that a result belongs to."""
        found = message.tool_call_id
        if found not in self._waiting:
            fits = (
                name
                for name, function in self._waiting.items()
                if not message.tool_name or function == message.tool_name
            )
            found = found or next(fits, "")
        function = self._waiting.pop(found, "")
        return found or None, message.tool_name or function or None


def _chat_message(message: Message, calls: _Calls) -> ChatMessage:
    match message.role:
        case "system":
            return InstructionMessage(role="system", content=message.content)
        case "user":
            return UserMessage(role="user", content=message.content)
        case "assistant":
            return AssistantMessage(
                role="assistant",
                content=message.content,
                reasoning_content=message.thinking or None,
                tool_calls=[calls.call(call) for call in message.tool_calls] or None,
            )
        case "tool":
            call, name = calls.answered(message)
            return ToolMessage(role="tool", content=message.content, tool_call_id=call, name=name)
