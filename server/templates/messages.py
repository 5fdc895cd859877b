"""Adapts OpenAI messages to one chat template. Pure functions on messages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from server.bodies.json_bounds import MAX_VALUE_BYTES, is_too_deep, value_bytes
from server.errors import InvalidRequest
from server.parsers.fallback import describe_calls, describe_result
from server.parsers.syntax import CallSyntax
from server.templates.capabilities import TemplateCapabilities

Message = dict[str, Any]

REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")


def adapt(
    messages: Sequence[Mapping[str, Any]],
    capabilities: TemplateCapabilities,
    syntax: CallSyntax,
    *,
    instructions: str = "",
) -> list[Message]:
    """The same conversation in the form that the template understands.

    `syntax` is the syntax of calls for templates that don't write calls themselves.
    `instructions` are added to the system prompt.

    Raises `InvalidRequest` for arguments of a call that must be an object and aren't, and for
    content other than text if the template doesn't support it.
    """
    adapted = [_cleaned(message, capabilities) for message in messages]
    # Errors name the client's message, so they are looked for before messages are put in or out.
    if capabilities.json_arguments:
        _check_arguments(adapted)
    adapted = [_checked(message, capabilities, index) for index, message in enumerate(adapted)]
    if instructions:
        adapted = _with_instructions(adapted, instructions)
    adapted = _adapt_calls(adapted, capabilities, syntax)
    adapted = [_with_content(message, capabilities) for message in adapted]
    if not (capabilities.system_role and capabilities.several_systems):
        adapted = _in_place(adapted)
        adapted = _one_system(adapted) if capabilities.system_role else _merge_system(adapted)
    if not capabilities.user_runs:
        adapted = _without_user_runs(adapted)
    if not capabilities.string_content:
        adapted = [_with_parts(message) for message in adapted]
    return adapted


def text_of(content: object, separator: str = "\n") -> str:
    """The text of a message's content: its text parts, one per line."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return separator.join(str(part.get("text", "")) for part in content if _is_text(part))
    return json.dumps(content, ensure_ascii=False)


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type", "text") in ("text", "refusal")


def _cleaned(message: Mapping[str, Any], capabilities: TemplateCapabilities) -> Message:
    """The message without absent fields (templates ask `is defined`), and with known field
    names."""
    cleaned = {key: value for key, value in message.items() if value is not None}
    if not cleaned.get("tool_calls"):
        cleaned.pop("tool_calls", None)
    if cleaned.get("role") == "developer":
        cleaned["role"] = "system"
    found = [cleaned.pop(name) for name in REASONING_FIELDS if name in cleaned]
    reasoning = next(filter(None, found), found[0] if found else None)
    if reasoning is not None and capabilities.reasoning_field is not None:
        cleaned[capabilities.reasoning_field] = reasoning
    return cleaned


def _checked(message: Message, capabilities: TemplateCapabilities, index: int) -> Message:
    """The message with readable calls. Raises `InvalidRequest` naming message `index`."""
    if _has_other_parts(message) and not capabilities.typed_content:
        text = "the model's chat template takes text alone"
        raise InvalidRequest(text, param=f"messages.{index}.content")
    if "tool_calls" not in message:
        return message
    calls = []
    for number, call in enumerate(message["tool_calls"]):
        param = f"messages.{index}.tool_calls.{number}.function.arguments"
        function = call["function"]
        arguments = _readable(function.get("arguments"), capabilities, param)
        calls.append(call | {"function": function | {"arguments": arguments}})
    return message | {"tool_calls": calls}


def _check_arguments(messages: Sequence[Message]) -> None:
    """Raise `InvalidRequest` if the values in the texts of all calls together take much memory."""
    left = MAX_VALUE_BYTES
    for index, message in enumerate(messages):
        for call in message.get("tool_calls", ()):
            arguments = call["function"].get("arguments")
            if isinstance(arguments, str):
                left -= value_bytes(arguments.encode(errors="replace"))
        if left < 0:
            param = f"messages.{index}.tool_calls"
            raise InvalidRequest(f"{param}: the arguments have too many values", param=param)


def _readable(arguments: object, capabilities: TemplateCapabilities, param: str) -> object:
    """Arguments as the template reads them. Nothing and null mean no arguments."""
    if arguments is None or (isinstance(arguments, str) and arguments.strip() in ("", "null")):
        arguments = "{}"
    if not capabilities.json_arguments:
        return arguments
    as_object = _as_object(arguments, param)
    return as_object if capabilities.object_arguments else arguments


def _has_other_parts(message: Message) -> bool:
    content = message.get("content")
    return isinstance(content, list) and not all(_is_text(part) for part in content)


def _with_content(message: Message, capabilities: TemplateCapabilities) -> Message:
    """The message with its content as a string, unless only a list can hold all parts."""
    if _has_other_parts(message):
        return message
    content = message.get("content")
    text = text_of(content)
    if not text and "tool_calls" in message and capabilities.null_content:
        return message | {"content": None}
    return message | {"content": text}


def _with_parts(message: Message) -> Message:
    content = message.get("content")
    if not isinstance(content, str):
        return message
    parts = [{"type": "text", "text": content}] if content else []
    return message | {"content": parts}


def _with_instructions(messages: list[Message], text: str) -> list[Message]:
    """The messages with `text` at the end of the system prompt."""
    if messages and messages[0]["role"] == "system":
        first = messages[0]
        return [first | {"content": f"{text_of(first.get('content'))}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _in_place(messages: list[Message]) -> list[Message]:
    """Give the text of later system messages to a message beside them.

    For templates that show none there. At the beginning of the prompt, the text would change all
    that the cache holds of the conversation.
    """
    first = next((i for i, message in enumerate(messages) if message["role"] != "system"), None)
    out, waiting = messages[:first], ""
    for message in messages[len(out) :]:
        last = out[-1] if out else message
        if message["role"] == "system":
            text = text_of(message["content"])
            if last["role"] in ("user", "tool") and not waiting:
                out[-1] = last | {"content": _followed(last["content"], text)}
            else:
                waiting = _followed(waiting, text)
            continue
        if waiting and message["role"] == "user":
            message = message | {"content": _prefixed(waiting, message["content"])}
        elif waiting:
            out.append({"role": "user", "content": waiting})
        waiting = ""
        out.append(message)
    return [*out, {"role": "user", "content": waiting}] if waiting else out


def _without_user_runs(messages: list[Message]) -> list[Message]:
    """Join messages of the user that follow one another, for templates that refuse them."""
    out: list[Message] = []
    for message in messages:
        last = out[-1] if out else None
        if last is not None and last["role"] == message["role"] == "user":
            content = _joined(last["content"], message["content"])
            out[-1] = last | {"content": content}
        else:
            out.append(message)
    return out


def _joined(first: Any, second: Any) -> Any:
    """Two contents in one, each a text or a list of parts."""
    if isinstance(second, str):
        return _followed(first, second)
    return [*first, *second] if isinstance(first, list) else _prefixed(first, second)


def _followed(content: Any, text: str) -> Any:
    if isinstance(content, list):
        return [*content, {"type": "text", "text": text}]
    return f"{content}\n\n{text}" if content and text else content or text


def _one_system(messages: list[Message]) -> list[Message]:
    """Join all system messages at the beginning, for templates that show one alone."""
    texts, rest = _split_system(messages)
    joined = "\n\n".join(filter(None, texts))
    return [{"role": "system", "content": joined}, *rest] if texts else rest


def _split_system(messages: list[Message]) -> tuple[list[str], list[Message]]:
    """The texts of the system messages, and the other messages."""
    texts = [text_of(message["content"]) for message in messages if message["role"] == "system"]
    return texts, [message for message in messages if message["role"] != "system"]


def _merge_system(messages: list[Message]) -> list[Message]:
    """Move system text to the front of the first user message, for templates without a system
    role."""
    texts, rest = _split_system(messages)
    system = "\n\n".join(filter(None, texts))
    if not system:
        return rest
    for index, message in enumerate(rest):
        if message["role"] == "user":
            rest[index] = message | {"content": _prefixed(system, message["content"])}
            return rest
    return [{"role": "user", "content": system}, *rest]


def _prefixed(text: str, content: Any) -> Any:
    if isinstance(content, list):
        return [{"type": "text", "text": text}, *content]
    return f"{text}\n\n{content}" if content else text


def _adapt_calls(
    messages: list[Message], capabilities: TemplateCapabilities, syntax: CallSyntax
) -> list[Message]:
    if not capabilities.tool_calls:
        messages = [_call_as_text(message, syntax) for message in messages]
    elif not capabilities.parallel_tool_calls:
        messages = _one_call_each(messages)
    if not capabilities.tool_results:
        messages = _results_as_text(messages)
    if capabilities.short_tool_ids:
        messages = [_with_short_ids(message) for message in messages]
    return messages


def _call_as_text(message: Message, syntax: CallSyntax) -> Message:
    if "tool_calls" not in message:
        return message
    calls = describe_calls([call["function"] for call in message["tool_calls"]], syntax)
    content = text_of(message.get("content"))
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return rest | {"content": f"{content}\n{calls}" if content else calls}


def _results_as_text(messages: list[Message]) -> list[Message]:
    """Turn results into user messages. Results in a row become one message, since roles often must
    alternate."""
    out: list[Message] = []
    in_results = False
    for message in messages:
        is_result = message["role"] == "tool"
        if is_result:
            content = text_of(message.get("content"))
            text = describe_result(message.get("tool_call_id", ""), content)
            if in_results:
                out[-1] = {"role": "user", "content": f"{out[-1]['content']}\n\n{text}"}
            else:
                out.append({"role": "user", "content": text})
        else:
            out.append(message)
        in_results = is_result
    return out


def _one_call_each(messages: list[Message]) -> list[Message]:
    """Put each call in its own message, followed by its result, for templates that require that."""
    out: list[Message] = []
    moved: set[int] = set()
    for index, message in enumerate(messages):
        if index in moved:
            continue
        calls = message.get("tool_calls", ())
        if len(calls) < 2:
            out.append(message)
            continue
        for number, call in enumerate(calls):
            first = message if number == 0 else {"role": message["role"], "content": ""}
            out.append(first | {"tool_calls": [call]})
            answer = _answer_to(call, messages, index, moved)
            if answer is not None:
                moved.add(answer)
                out.append(messages[answer])
    return out


def _answer_to(
    call: Mapping[str, Any], messages: list[Message], start: int, taken: set[int]
) -> int | None:
    """Index of the tool message that answers `call`, in the run of results after `start`."""
    for index in range(start + 1, len(messages)):
        if messages[index]["role"] != "tool":
            return None
        if index not in taken and messages[index].get("tool_call_id") == call.get("id"):
            return index
    return None


def _with_short_ids(message: Message) -> Message:
    if "tool_call_id" in message:
        message = message | {"tool_call_id": _short_id(message["tool_call_id"])}
    if "tool_calls" in message:
        calls = [call | {"id": _short_id(call.get("id", ""))} for call in message["tool_calls"]]
        message = message | {"tool_calls": calls}
    return message


def _short_id(call_id: str) -> str:
    """Nine letters and digits; the same id always gives the same short id."""
    if len(call_id) == 9 and call_id.isalnum():
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]


def _as_object(arguments: object, param: str) -> object:
    """Arguments as an object. Raises `InvalidRequest` unless `arguments` is a JSON object or the
    text of one."""
    if isinstance(arguments, str):
        data = arguments.encode(errors="replace")
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = None
        if is_too_deep(data, arguments):
            raise InvalidRequest(f"{param} nests too many arrays and objects", param=param)
    if not isinstance(arguments, dict):
        message = f"{param} must be a JSON object, because the model's chat template reads its keys"
        raise InvalidRequest(message, param=param)
    return arguments
