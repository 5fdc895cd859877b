"""Finds out what a chat template can express, by rendering small conversations once at load.

A template is a program, and its source tells little about what it accepts. So each question is a
conversation with a made-up word in it. The answer is whether the rendered prompt shows the word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from server.templates.outcome import RenderLimit

_WORD = "zq7needle"
_KEY = "zq7key"
_NAME = "zq7function"
_OTHER = "zq7second"
_ARGUMENTS = {_KEY: "v"}
_RAW_ARGUMENTS = f'{{"{_KEY}": "v"}}'
_SHORT_ID = "call00001"
_LONG_ID = "call_abcdefgh0123456789"

Message = dict[str, Any]
Render = Callable[[Mapping[str, Any]], str]
"""Renders the template with these variables; raises `RenderLimit` on a breach of limits, and
anything on refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateCapabilities:
    """What the template supports. Messages are adapted to this before they are rendered."""

    string_content: bool = True
    typed_content: bool = False
    """Content may be a list of parts."""
    system_role: bool = True
    several_systems: bool = True
    """System messages may follow one another, and other messages. Each is shown where it stands."""
    user_runs: bool = True
    """Messages of the user may follow one another."""
    empty_tools: bool = False
    """Without tools, the template wants an empty list instead of no variable."""
    tools: bool = False
    """Tool definitions reach the prompt."""
    tool_calls: bool = False
    """Calls in the history reach the prompt."""
    tool_results: bool = False
    parallel_tool_calls: bool = False
    object_arguments: bool = False
    """A call's arguments must be an object, not OpenAI's JSON string."""
    json_arguments: bool = False
    """A call's arguments must be valid, because the template reads them."""
    null_content: bool = False
    """Calls are shown only in messages whose content is null."""
    short_tool_ids: bool = False
    """Call ids must have nine letters and digits (Mistral)."""
    reasoning_field: str | None = None
    """The message field from which the template reads earlier reasoning."""
    thinking_variables: tuple[str, ...] = ()
    """Variables that turn reasoning on and off."""


def probe(render: Render) -> TemplateCapabilities:
    """Find out all capabilities of a template. Raises `RenderLimit`."""
    prober = _Prober(render)
    prober.empty_tools = prober.text([_user("a")]) is None
    string_content = prober.shows([_user(_WORD)], _WORD)
    typed_content = prober.shows([_user([{"type": "text", "text": _WORD}])], _WORD, "'type'")
    prober.typed = typed_content and not string_content
    null_content, object_arguments, tool_calls = _call_style(prober)
    style = _CallStyle(null_content=null_content, object_arguments=object_arguments)
    return TemplateCapabilities(
        string_content=string_content or not typed_content,
        typed_content=typed_content,
        system_role=prober.shows([{"role": "system", "content": _WORD}, _user("a")], _WORD),
        several_systems=_shows_several_systems(prober),
        user_runs=_shows_user_runs(prober),
        empty_tools=prober.empty_tools,
        tools=prober.shows([_user("a")], _NAME, tools=True),
        tool_calls=tool_calls,
        tool_results=tool_calls and prober.shows(_call_history(style, result=_WORD), _WORD),
        parallel_tool_calls=tool_calls and prober.shows(_parallel_history(style), _OTHER),
        object_arguments=object_arguments,
        json_arguments=object_arguments
        or (tool_calls and not prober.shows(_call_history(style, arguments="{"), _NAME)),
        null_content=null_content,
        short_tool_ids=tool_calls
        and not prober.shows(_call_history(style, call_id=_LONG_ID), _NAME),
        reasoning_field=_reasoning_field(prober, style),
        thinking_variables=_thinking_variables(prober),
    )


@dataclass(frozen=True, slots=True)
class _CallStyle:
    null_content: bool
    object_arguments: bool


class _Prober:
    """Renders conversations and looks for words in the result."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self.typed = False
        self.empty_tools = False

    def text(self, messages: list[Message], **variables: Any) -> str | None:
        """The rendered prompt; None if the template fails for any reason."""
        if self.typed:
            messages = [_with_parts(message) for message in messages]
        base: Message = {"messages": messages, "add_generation_prompt": True}
        base["tools"] = [] if self.empty_tools else None
        try:
            return self._render(base | variables)
        except RenderLimit:
            raise
        except Exception:
            # A template may raise anything; for us, every exception means "not supported".
            return None

    def shows(
        self, messages: list[Message], word: str, *forbidden: str, tools: bool = False
    ) -> bool:
        """Whether the prompt shows `word` and none of the `forbidden` texts."""
        text = self.text(messages, **({"tools": [_tool()]} if tools else {}))
        return text is not None and word in text and not any(bad in text for bad in forbidden)


def _user(content: str | list[Message]) -> Message:
    return {"role": "user", "content": content}


def _with_parts(message: Message) -> Message:
    content = message.get("content")
    if not isinstance(content, str):
        return message
    return message | {"content": [{"type": "text", "text": content}]}


def _tool() -> Message:
    parameters = {
        "type": "object",
        "properties": {_KEY: {"type": "string", "description": "d"}},
        "required": [_KEY],
    }
    function = {"name": _NAME, "description": "d", "parameters": parameters}
    return {"type": "function", "function": function}


def _call(
    name: str, call_id: str, style: _CallStyle, *, arguments: object | None = None
) -> Message:
    if arguments is None:
        arguments = _ARGUMENTS if style.object_arguments else _RAW_ARGUMENTS
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def _result(call_id: str, name: str, content: str) -> Message:
    return {"role": "tool", "tool_call_id": call_id, "name": name, "content": content}


def _calling(style: _CallStyle, *calls: Message) -> Message:
    content = None if style.null_content else ""
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def _call_history(
    style: _CallStyle,
    *,
    result: str = "r",
    call_id: str = _SHORT_ID,
    arguments: str | None = None,
    **fields: str,
) -> list[Message]:
    calling = _calling(style, _call(_NAME, call_id, style, arguments=arguments)) | fields
    return [_user("a"), calling, _result(call_id, _NAME, result)]


def _parallel_history(style: _CallStyle) -> list[Message]:
    second = "call00002"
    calls = _call(_NAME, _SHORT_ID, style), _call(_OTHER, second, style)
    results = _result(_SHORT_ID, _NAME, "r"), _result(second, _NAME, "r")
    return [_user("a"), _calling(style, *calls), *results]


def _shows_several_systems(prober: _Prober) -> bool:
    """Whether each system message is shown where it stands: two at the beginning, and one after an
    answer."""
    words = [f"{_WORD}{number}" for number in range(4)]
    first, second, later = ({"role": "system", "content": words[at]} for at in (0, 1, 3))
    answered = [_user("a"), {"role": "assistant", "content": words[2]}]
    text = prober.text([first, second, *answered, later, _user("c")])
    places = [-1 if text is None else text.find(word) for word in words]
    return places[0] >= 0 and places == sorted(places)


def _shows_user_runs(prober: _Prober) -> bool:
    """Whether two messages of the user in a row are both shown."""
    words = [f"{_WORD}{number}" for number in range(2)]
    text = prober.text([_user(word) for word in words])
    return text is not None and all(word in text for word in words)


def _call_style(prober: _Prober) -> tuple[bool, bool, bool]:
    """(null_content, object_arguments, whether any style shows a call with its arguments).

    A string is tried first. The string is byte for byte what the model wrote, so the history that
    comes back matches the cache. Escaped quotes or doubled braces show that the template serialized
    the string again.
    """
    for null_content in (False, True):
        for object_arguments in (False, True):
            style = _CallStyle(null_content=null_content, object_arguments=object_arguments)
            spoiled = (f'\\"{_KEY}', f"'{_KEY}'", "\\u0022", f'{{{{"{_KEY}')
            history = _call_history(style)
            if prober.shows(history, _NAME, *spoiled) and prober.shows(history, _KEY):
                return null_content, object_arguments, True
    return False, False, False


def _reasoning_field(prober: _Prober, style: _CallStyle) -> str | None:
    for field in ("reasoning_content", "thinking", "reasoning"):
        if prober.shows(_call_history(style, **{field: _WORD}), _WORD):
            return field
    return None


def _thinking_variables(prober: _Prober) -> tuple[str, ...]:
    def matters(name: str) -> bool:
        texts = [prober.text([_user("a")], **{name: value}) for value in (True, False)]
        return None not in texts and texts[0] != texts[1]

    return tuple(name for name in ("enable_thinking", "thinking") if matters(name))
