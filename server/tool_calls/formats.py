# ruff: noqa: RUF001 - the markers of some models are made of full-width signs
"""The families of templates: how each writes calls, and how to tell which one a template is of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from server.tool_calls.bare import BareCalls
from server.tool_calls.events import AnswerParser
from server.tool_calls.named import NamedCalls
from server.tool_calls.syntax import NAME, NUMBER, CallSyntax
from server.tool_calls.tagged import TaggedCalls

_OBJECT = f'{{"name": "{NAME}", "arguments": '
_WORD = r"(?P<name>[\w.\-]+)"


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """One way to call tools in text."""

    name: str
    signs: tuple[str, ...]
    """Texts that all stand in a template of this family."""
    make_parser: Callable[[Collection[str]], AnswerParser]
    """A parser for one answer, given the names of the request's tools."""
    syntax: CallSyntax | None = None
    """What a constrained answer is written in; None where arguments aren't JSON."""


def _tagged(opening: str, closing: str) -> Callable[[Collection[str]], AnswerParser]:
    return lambda names: TaggedCalls(opening, closing)


def _bare(*prefixes: str) -> Callable[[Collection[str]], AnswerParser]:
    return lambda names: BareCalls(names, prefixes=prefixes)


def _named(
    opening: str, header: str, *, noise: str = "", closing: str = ""
) -> Callable[[Collection[str]], AnswerParser]:
    return lambda names: NamedCalls(opening, header, noise=noise, closing=closing)


GENERIC = ToolFormat(
    "generic",
    (),
    _bare(),
    CallSyntax(
        opening='{"tool_calls": [',
        before=_OBJECT,
        after="}",
        separator=", ",
        closing="]}",
        is_bare=True,
    ),
)

HERMES = ToolFormat(
    "hermes",
    ("<tool_call>",),
    _tagged("<tool_call>", "</tool_call>"),
    CallSyntax(
        opening="<tool_call>",
        before="\n" + _OBJECT,
        after="}\n</tool_call>",
        separator="\n<tool_call>",
    ),
)

LLAMA3 = ToolFormat(
    "llama3",
    ("<|start_header_id|>", '"parameters": '),
    _bare("<|python_tag|>"),
    CallSyntax(
        opening="",
        before=f'{{"name": "{NAME}", "parameters": ',
        after="}",
        separator=None,
        is_bare=True,
    ),
)

FIREFUNCTION = ToolFormat(
    "firefunction",
    ("functools[",),
    _tagged("functools", ""),
    CallSyntax(opening="functools[", before=_OBJECT, after="}", separator=", ", closing="]"),
)

MISTRAL_LIST = ToolFormat(
    "mistral",
    ("[TOOL_CALLS]",),
    _tagged("[TOOL_CALLS]", ""),
    CallSyntax(opening="[TOOL_CALLS][", before=_OBJECT, after="}", separator=", ", closing="]"),
)

MISTRAL_NAMED = ToolFormat(
    "mistral-named",
    ("[TOOL_CALLS]", "[ARGS]"),
    _named("[TOOL_CALLS]", rf"^\s*{_WORD}(\[CALL_ID\].*?)?\[ARGS\]"),
    CallSyntax(opening="[TOOL_CALLS]", before=f"{NAME}[ARGS]", after="", separator="[TOOL_CALLS]"),
)

DEEPSEEK_R1 = ToolFormat(
    "deepseek-r1",
    ("<｜tool▁calls▁begin｜>", "```json"),
    _named(
        "<｜tool▁call▁begin｜>",
        rf"<｜tool▁sep｜>\s*{_WORD}",
        noise=r"```|<｜tool▁call▁end｜>",
        closing="<｜tool▁calls▁end｜>",
    ),
    CallSyntax(
        opening="<｜tool▁calls▁begin｜>",
        before=f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{NAME}\n```json\n",
        after="\n```<｜tool▁call▁end｜>",
        separator="\n",
        closing="<｜tool▁calls▁end｜>",
    ),
)

DEEPSEEK_V3 = ToolFormat(
    "deepseek-v3",
    ("<｜tool▁calls▁begin｜>",),
    _named(
        "<｜tool▁call▁begin｜>",
        rf"^\s*{_WORD}\s*<｜tool▁sep｜>",
        noise=r"<｜tool▁call▁end｜>",
        closing="<｜tool▁calls▁end｜>",
    ),
    CallSyntax(
        opening="<｜tool▁calls▁begin｜>",
        before=f"<｜tool▁call▁begin｜>{NAME}<｜tool▁sep｜>",
        after="<｜tool▁call▁end｜>",
        separator="",
        closing="<｜tool▁calls▁end｜>",
    ),
)

KIMI = ToolFormat(
    "kimi",
    ("<|tool_calls_section_begin|>",),
    _named(
        "<|tool_call_begin|>",
        rf"^\s*(functions\.)?{_WORD}?(:\d+)?\s*<\|tool_call_argument_begin\|>",
        noise=r"<\|tool_call_end\|>",
        closing="<|tool_calls_section_end|>",
    ),
    CallSyntax(
        opening="<|tool_calls_section_begin|>",
        before=f"<|tool_call_begin|>functions.{NAME}:{NUMBER}<|tool_call_argument_begin|>",
        after="<|tool_call_end|>",
        separator="",
        closing="<|tool_calls_section_end|>",
    ),
)

FUNCTION_TAG = ToolFormat(
    "function-tag",
    ("<function=", "</function>"),
    _named("<function=", rf"^{_WORD}>", closing="</function>"),
    CallSyntax(
        opening="<function=", before=f"{NAME}>", after="</function>", separator="<function="
    ),
)

COMMAND_R = ToolFormat(
    "command-r",
    ("<|START_ACTION|>",),
    _tagged("<|START_ACTION|>", "<|END_ACTION|>"),
    CallSyntax(
        opening="<|START_ACTION|>[\n    ",
        before=f'{{"tool_call_id": "{NUMBER}", "tool_name": "{NAME}", "parameters": ',
        after="}",
        separator=",\n    ",
        closing="\n]<|END_ACTION|>",
    ),
)


def _listed(name: str, opening: str, closing: str, *signs: str) -> ToolFormat:
    """A JSON list of calls between two markers."""
    syntax = CallSyntax(
        opening=opening + "[", before=_OBJECT, after="}", separator=", ", closing="]" + closing
    )
    return ToolFormat(name, signs or (opening,), _tagged(opening, closing), syntax)


_FAMILIES = (
    DEEPSEEK_R1,
    DEEPSEEK_V3,
    KIMI,
    COMMAND_R,
    MISTRAL_NAMED,
    MISTRAL_LIST,
    FIREFUNCTION,
    _listed("nemotron", "<TOOLCALL>", "</TOOLCALL>"),
    _listed("apriel", "<tool_calls>", "</tool_calls>"),
    _listed("granite", "<|tool_call|>", ""),
    HERMES,
    FUNCTION_TAG,
    LLAMA3,
)
"""The most particular first, since some signs stand in the templates of several families."""


def detect_format(source: str, *, has_tools: bool) -> ToolFormat:
    """The format that a chat template teaches; `has_tools` says whether it shows tools at all."""
    if has_tools:
        for family in _FAMILIES:
            if all(sign in source for sign in family.signs):
                return family
    return GENERIC
