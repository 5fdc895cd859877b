"""From the body of a response to the chat that every dialect shares."""

from __future__ import annotations

import base64
import json
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
from server.chat.tools import Function, NamedChoice, NamedFunction, Tool
from server.documents.pdf import UnreadableDocument, within
from server.errors import InvalidRequest
from server.openai.responses.items import (
    CallItem,
    CallOutputItem,
    DroppedItem,
    Item,
    MessageItem,
    ReasoningItem,
    text_of,
)
from server.openai.responses.request import (
    AllowedTools,
    FunctionTool,
    NamedTool,
    Namespace,
    ResponseRequest,
    SchemaFormat,
)

logger = logging.getLogger(__name__)

_SEALED = "llamapack:"
_MAX_SEALED = 1 << 22
"""Most bytes of thinking that are unpacked."""


@dataclass(frozen=True, slots=True)
class OwnName:
    """A function's name, and the namespace that it is in."""

    name: str
    namespace: str | None = None


def seal(thinking: str) -> str:
    """Thinking as `encrypted_content`: opaque to clients, but no secret."""
    return _SEALED + base64.b64encode(zlib.compress(thinking.encode(), 1)).decode()


def unseal(sealed: str) -> str:
    """The thinking in what `seal` made; an empty text if somebody else made it."""
    if not sealed.startswith(_SEALED):
        return ""
    try:
        data = base64.b64decode(sealed.removeprefix(_SEALED), validate=True)
        return zlib.decompressobj().decompress(data, _MAX_SEALED).decode(errors="replace")
    except (ValueError, zlib.error):
        return ""


def function_names(body: ResponseRequest) -> dict[str, OwnName]:
    """By the name that the model is told: each function, those in namespaces too."""
    names: dict[str, OwnName] = {}
    for told, _, own in _functions(body):
        names[told] = own
    return names


def to_chat(body: ResponseRequest, items: Sequence[Item]) -> ChatRequest:
    """The chat of a response. `items` are the whole input, those of earlier responses first."""
    turns = _Turns({(own.name, own.namespace): told for told, _, own in _functions(body)})
    if body.instructions:
        turns.add(InstructionMessage(role="system", content=body.instructions))
    num_earlier = len(items) - _num_own(body)
    for at, item in enumerate(items):
        try:
            with within("input", str(max(at - num_earlier, 0))):
                turns.take(item)
        except UnreadableDocument as error:
            raise error.refusal() from error
    turns.finish()
    if not turns.messages:
        raise InvalidRequest("'input' holds no message", param="input")
    fields: dict[str, Any] = {
        "model": body.model,
        "messages": turns.messages,
        "tools": [_tool(told, tool) for told, tool, _ in _offered(body)],
        "parallel_tool_calls": body.parallel_tool_calls,
        "tool_choice": _choice(body),
        "stream": body.stream,
        "reasoning_effort": body.reasoning.effort,
        "max_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "verbosity": body.text.verbosity,
        "user": body.user,
        "safety_identifier": body.safety_identifier,
        "prompt_cache_key": body.prompt_cache_key,
        # OpenAI's agents end a conversation with an answer; it is no beginning of the next.
        "continue_final_message": False,
        **_format(body),
    }
    if body.has_logprobs:
        fields |= {"logprobs": True, "top_logprobs": body.top_logprobs or 0}
    given = {name: value for name, value in fields.items() if value is not None}
    return ChatRequest.model_validate(given)


def _num_own(body: ResponseRequest) -> int:
    return 1 if isinstance(body.input, str) else len(body.input)


class _Turns:
    """Collects messages. Thinking, text and calls in a row are one message of the model."""

    def __init__(self, told: Mapping[tuple[str, str | None], str]) -> None:
        """`told` are the names that the model knows functions by."""
        self.messages: list[Message] = []
        self._told = told
        self._names: dict[str, str] = {}
        """The function of each call, by the call's id."""
        self._thinking: list[str] = []
        self._texts: list[str] = []
        self._calls: list[ToolCall] = []

    def add(self, message: Message) -> None:
        """Add a message after the model's."""
        self.finish()
        self.messages.append(message)

    def take(self, item: Item) -> None:
        """Add an item."""
        match item:
            case MessageItem(role="assistant"):
                if self._calls:
                    self.finish()
                self._texts.append(text_of(item.content))
            case MessageItem(role="user"):
                with within("content"):
                    self.add(UserMessage(role="user", content=text_of(item.content)))
            case MessageItem():
                role: Any = item.role
                with within("content"):
                    self.add(InstructionMessage(role=role, content=text_of(item.content)))
            case CallItem():
                self._take_call(item)
            case CallOutputItem():
                name = self._names.get(item.call_id)
                with within("output"):
                    content, call = text_of(item.output), item.call_id
                self.add(ToolMessage(role="tool", content=content, tool_call_id=call, name=name))
            case ReasoningItem():
                if self._texts or self._calls:
                    self.finish()
                self._thinking.append(_thinking(item))
            case DroppedItem():
                logger.info("an item of the type %.100r is left out", item.type)

    def finish(self) -> None:
        """End the model's message, if there is one."""
        thinking = "\n".join(filter(None, self._thinking))
        if thinking or self._texts or self._calls:
            message = AssistantMessage(
                role="assistant",
                content="\n".join(self._texts),
                reasoning_content=thinking or None,
                tool_calls=self._calls or None,
            )
            self.messages.append(message)
        self._thinking, self._texts, self._calls = [], [], []

    def _take_call(self, item: CallItem) -> None:
        name = self._told.get((item.name, item.namespace), item.name)
        self._names[item.call_id] = name
        function = FunctionCall(name=name, arguments=item.arguments)
        self._calls.append(ToolCall(id=item.call_id, function=function))


def _thinking(item: ReasoningItem) -> str:
    """The thinking itself if the client has it, else the summary."""
    return text_of(item.content) or unseal(item.encrypted_content or "") or text_of(item.summary)


def _functions(body: ResponseRequest) -> Iterator[tuple[str, FunctionTool, OwnName]]:
    """Each function, with the name that the model is told, and its own."""
    for tool in body.tools:
        if isinstance(tool, FunctionTool):
            yield tool.name, tool, OwnName(tool.name)
        elif isinstance(tool, Namespace):
            for inner in tool.tools:
                if isinstance(inner, FunctionTool):
                    told = f"{tool.name}__{inner.name}"
                    yield told, inner, OwnName(inner.name, tool.name)


def _offered(body: ResponseRequest) -> list[tuple[str, FunctionTool, OwnName]]:
    """The functions that this answer may call."""
    found = list(_functions(body))
    others = [tool.type for tool in body.tools if not isinstance(tool, FunctionTool | Namespace)]
    if others:
        logger.info("tools that this server doesn't have are left out: %.1000s", ", ".join(others))
    if not isinstance(body.tool_choice, AllowedTools):
        return found
    allowed = {tool.name for tool in body.tool_choice.tools}
    return [entry for entry in found if entry[2].name in allowed or entry[0] in allowed]


def _tool(told: str, tool: FunctionTool) -> Tool:
    function = Function(
        name=told, description=tool.description, parameters=tool.parameters, strict=tool.strict
    )
    return Tool(type="function", function=function)


def _choice(body: ResponseRequest) -> Any:
    choice = body.tool_choice
    if not _offered_names(body) and choice != "required":
        return None
    if isinstance(choice, AllowedTools):
        return choice.mode
    if isinstance(choice, NamedTool):
        told = [told for told, _, own in _functions(body) if choice.name in (told, own.name)]
        if not told:
            message = f"'tool_choice.name' is none of the tools (got {choice.name!r})"
            raise InvalidRequest(message, param="tool_choice.name")
        return NamedChoice(type="function", function=NamedFunction(name=told[0]))
    return choice


def _offered_names(body: ResponseRequest) -> list[str]:
    return [told for told, _, _ in _functions(body)]


def _format(body: ResponseRequest) -> dict[str, Any]:
    format_ = body.text.format
    if isinstance(format_, SchemaFormat):
        schema = {"name": format_.name, "schema": format_.schema_, "strict": format_.strict}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"response_format": json.loads(format_.model_dump_json(by_alias=True))}
