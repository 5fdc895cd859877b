# ruff: noqa: RUF001 - the markers of some models are made of full-width signs
"""The families of chat templates: how each family writes calls, and how to detect a family."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.parsers import harmony
from server.parsers.bare import BareCalls
from server.parsers.buffered import BufferedCalls, Call, gemma_call, keyed_calls, python_calls
from server.parsers.events import AnswerParser
from server.parsers.functionary import FunctionaryAnswer
from server.parsers.named import NamedCalls
from server.parsers.parameters import ParameterCalls, ParameterMarks
from server.parsers.syntax import BREAK, KEY, KIND, NAME, NUMBER, CallSyntax, ParameterSyntax
from server.parsers.tagged import TaggedCalls

_OBJECT = f'{{"name": "{NAME}", "arguments": '
_WORD = r"(?P<name>[\w.\-]+)"

Schemas = Mapping[str, Mapping[str, Any]]
"""The JSON Schemas of the arguments of a request's tools, by the tool's name."""

MakeParser = Callable[[Schemas], AnswerParser]


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """One way to write tool calls in text."""

    name: str
    signs: tuple[str, ...]
    """Texts that all occur in a template of this family."""
    make_parser: MakeParser
    """Makes the parser for one answer."""
    syntax: CallSyntax
    """The syntax that a constrained answer uses."""
    marks: tuple[str, ...] = ()
    """Markers, besides the markers of the syntax, that the parser has to see."""
    has_channels: bool = False
    """Whether all answers use this format, with or without tools, and for thinking as well."""

    def visible_marks(self) -> set[str]:
        """Texts that must be part of an answer's text, even where they are control tokens."""
        return {*self.marks, *self.syntax.marks()}


def _tagged(opening: str, closing: str) -> MakeParser:
    return lambda schemas: TaggedCalls(opening, closing)


def _bare(*prefixes: str) -> MakeParser:
    return lambda schemas: BareCalls(schemas.keys(), prefixes=prefixes)


def _named(
    opening: str, header: str, *, section: str = "", ends: Sequence[str] = (), closing: str = ""
) -> MakeParser:
    return lambda schemas: NamedCalls(opening, header, section=section, ends=ends, closing=closing)


def _buffered(opening: str, closing: str, translate: Callable[[str], list[Call]]) -> MakeParser:
    return lambda schemas: BufferedCalls(opening, closing, translate)


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
    marks=("<|python_tag|>",),
)

MISTRAL_NAMED = ToolFormat(
    "mistral-named",
    ("[TOOL_CALLS]", "[ARGS]"),
    _named("[TOOL_CALLS]", rf"^\s*{_WORD}(\[CALL_ID\].*?)?\[ARGS\]"),
    CallSyntax(opening="[TOOL_CALLS]", before=f"{NAME}[ARGS]", after="", separator="[TOOL_CALLS]"),
    marks=("[CALL_ID]",),
)

DEEPSEEK_R1 = ToolFormat(
    "deepseek-r1",
    ("<｜tool▁calls▁begin｜>", "```json"),
    _named(
        "<｜tool▁call▁begin｜>",
        rf"<｜tool▁sep｜>\s*{_WORD}",
        section="<｜tool▁calls▁begin｜>",
        ends=("```", "<｜tool▁call▁end｜>"),
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
        section="<｜tool▁calls▁begin｜>",
        ends=("<｜tool▁call▁end｜>",),
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
        section="<|tool_calls_section_begin|>",
        ends=("<|tool_call_end|>",),
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

SOLAR = ToolFormat(
    "solar",
    ("<|tool_call:begin|>",),
    _named(
        "<|tool_call:begin|>",
        rf"<\|tool_call:name\|>{_WORD}<\|tool_call:args\|>",
        section="<|tool_calls|>",
        ends=("<|tool_call:end|>",),
        closing="<|calls|>",
    ),
    CallSyntax(
        opening="<|tool_calls|>",
        before=f"<|tool_call:begin|>call{NUMBER}<|tool_call:name|>{NAME}<|tool_call:args|>",
        after="<|tool_call:end|>",
        separator="",
        closing="<|calls|>",
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

FUNCTIONARY = ToolFormat(
    "functionary",
    (">>>all",),
    lambda schemas: FunctionaryAnswer(),
    CallSyntax(opening="", before=f"{NAME}\n", after="", separator=">>>", is_bare=True),
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

COMMAND_R_PLUS = ToolFormat(
    "command-r-plus",
    ("Action:", "```json", "tool_name"),
    _tagged("Action:\n```json\n", "```"),
    CallSyntax(
        opening="Action:\n```json\n[\n    ",
        before=f'{{"tool_name": "{NAME}", "parameters": ',
        after="}",
        separator=",\n    ",
        closing="\n]```",
    ),
)

HARMONY = ToolFormat(
    "harmony",
    ("<|channel|>analysis<|message|>", "<|call|>"),
    lambda schemas: harmony.HarmonyAnswer(),
    CallSyntax(
        opening="<|channel|>commentary to=functions.",
        before=f"{NAME} <|constrain|>json<|message|>",
        after="",
        separator=None,
    ),
    marks=harmony.MARKS,
    has_channels=True,
)

GEMMA = ToolFormat(
    "gemma",
    ("<|tool_call>call:",),
    _buffered("<|tool_call>", "<tool_call|>", gemma_call),
    CallSyntax(
        opening="<|tool_call>",
        before=f"call:{NAME}{{",
        after="}<tool_call|>",
        separator="<|tool_call>",
        parameters=ParameterSyntax(
            before=f"{KEY}:",
            after="",
            separator=",",
            quote='<|"|>',
            usual_name=lambda name: re.fullmatch(r"[\w$@.\-]+", name) is not None,
            unusual_before=f'"{KEY}":',
        ),
    ),
    marks=("<|tool_call>", "<tool_call|>", '<|"|>'),
)

PYTHONIC = ToolFormat(
    "pythonic",
    ("<|tool_call_start|>",),
    _buffered("<|tool_call_start|>", "<|tool_call_end|>", python_calls),
    CallSyntax(
        opening="<|tool_call_start|>[",
        before=f"{NAME}(",
        after=")",
        separator=", ",
        closing="]<|tool_call_end|>",
        parameters=ParameterSyntax(
            before=f"{KEY}=",
            after="",
            separator=", ",
            quote=None,
            usual_name=lambda name: (
                name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
            ),
            unusual_before=f'**{{"{KEY}": ',
            unusual_after="}",
        ),
    ),
    marks=("<|tool_call_start|>", "<|tool_call_end|>"),
)

APERTUS = ToolFormat(
    "apertus",
    ("<|tools_prefix|>",),
    _buffered("<|tools_prefix|>", "<|tools_suffix|>", keyed_calls),
    CallSyntax(
        opening="<|tools_prefix|>[",
        before=f'{{"{NAME}": ',
        after="}",
        separator=", ",
        closing="]<|tools_suffix|>",
    ),
)

GIGACHAT = ToolFormat(
    "gigachat",
    ("<|function_call|>",),
    _tagged("<|function_call|>", "<|message_sep|>"),
    CallSyntax(opening="<|function_call|>", before=_OBJECT, after="}", separator=None),
    marks=("<|message_sep|>",),
)

GIGACHAT_ROLE = ToolFormat(
    "gigachat-role",
    ("function call", "<|role_sep|>"),
    _tagged("function call<|role_sep|>", "<|message_sep|>"),
    CallSyntax(opening="function call<|role_sep|>\n", before=_OBJECT, after="}", separator=None),
    marks=("<|role_sep|>", "<|message_sep|>"),
)


def _listed(
    name: str, opening: str, closing: str = "", *signs: str, separator: str = ", "
) -> ToolFormat:
    """A JSON list of calls between two markers."""
    syntax = CallSyntax(
        opening=opening + "[",
        before=_OBJECT,
        after="}",
        separator=separator,
        closing="]" + closing,
    )
    return ToolFormat(name, signs or (opening,), _tagged(opening, closing), syntax)


MINIMAX_M1 = ToolFormat(
    "minimax-m1",
    ("<tool_calls>", '{"name": <tool-name>'),
    _tagged("<tool_calls>", "</tool_calls>"),
    CallSyntax(
        opening="<tool_calls>\n",
        before=_OBJECT,
        after="}",
        separator="\n",
        closing="\n</tool_calls>",
    ),
)


def _with_parameters(
    name: str, signs: tuple[str, ...], marks: ParameterMarks, syntax: CallSyntax
) -> ToolFormat:
    return ToolFormat(name, signs, lambda schemas: ParameterCalls(marks, schemas), syntax)


QWEN_CODER = _with_parameters(
    "qwen-coder",
    ("<tool_call>", "<function=", "<parameter="),
    ParameterMarks(
        opening="<tool_call>",
        function="<function=",
        name_end=">",
        key="<parameter=",
        key_end=">",
        value_end="</parameter>",
        end="</function>",
        closing="</tool_call>",
    ),
    CallSyntax(
        opening="<tool_call>",
        before=f"\n<function={NAME}>\n",
        after="</function>\n</tool_call>",
        separator="\n<tool_call>",
        parameters=ParameterSyntax(before=f"<parameter={KEY}>\n", after="\n</parameter>\n"),
    ),
)

SEED = _with_parameters(
    "seed",
    ("<seed:tool_call>",),
    ParameterMarks(
        opening="<seed:tool_call>",
        function="<function=",
        name_end=">",
        key="<parameter=",
        key_end=">",
        value_end="</parameter>",
        end="</function>",
        closing="</seed:tool_call>",
    ),
    CallSyntax(
        opening="<seed:tool_call>",
        before=f"\n<function={NAME}>\n",
        after="</function>\n</seed:tool_call>",
        separator="\n<seed:tool_call>",
        parameters=ParameterSyntax(before=f"<parameter={KEY}>", after="</parameter>\n"),
    ),
)

MINIMAX_M2 = _with_parameters(
    "minimax-m2",
    ("<minimax:tool_call>",),
    ParameterMarks(
        opening="<minimax:tool_call>",
        function='<invoke name="',
        name_end='">',
        key='<parameter name="',
        key_end='">',
        value_end="</parameter>",
        end="</invoke>",
        closing="</minimax:tool_call>",
    ),
    CallSyntax(
        opening="<minimax:tool_call>",
        before=f'\n<invoke name="{NAME}">\n',
        after="</invoke>",
        separator="",
        closing="\n</minimax:tool_call>",
        parameters=ParameterSyntax(before=f'<parameter name="{KEY}">', after="</parameter>\n"),
    ),
)

MINICPM = _with_parameters(
    "minicpm",
    ('<function name="', '<param name="'),
    ParameterMarks(
        opening='<function name="',
        function="",
        name_end='">',
        key='<param name="',
        key_end='">',
        value_end="</param>",
        end="</function>",
        closing="</function>",
    ),
    CallSyntax(
        opening='<function name="',
        before=f'{NAME}">',
        after="</function>",
        separator='\n<function name="',
        parameters=ParameterSyntax(before=f'<param name="{KEY}">', after="</param>"),
    ),
)


def _arg_key(name: str, suffix: str, name_end: str, syntax: CallSyntax, *signs: str) -> ToolFormat:
    """GLM's syntax: keys and values as separate elements."""
    call, key, value = f"tool_call{suffix}", f"arg_key{suffix}", f"arg_value{suffix}"
    marks = ParameterMarks(
        opening=f"<{call}>",
        function="",
        name_end=name_end,
        key=f"<{key}>",
        key_end=f"</{key}>",
        value=f"<{value}>",
        value_end=f"</{value}>",
        end=f"</{call}>",
        closing=f"</{call}>",
    )
    return _with_parameters(name, signs, marks, syntax)


GLM = _arg_key(
    "glm",
    "",
    "\n",
    CallSyntax(
        opening="<tool_call>",
        before=NAME + BREAK,
        after="</tool_call>",
        separator=f"{BREAK}<tool_call>",
        parameters=ParameterSyntax(
            before=f"<arg_key>{KEY}</arg_key>{BREAK}<arg_value>", after=f"</arg_value>{BREAK}"
        ),
    ),
    "<tool_call>",
    "<arg_key>",
)

HUNYUAN = _arg_key(
    "hunyuan",
    ":opensource",
    "<tool_sep:opensource>",
    CallSyntax(
        opening="<tool_calls:opensource>\n",
        before=f"<tool_call:opensource>{NAME}<tool_sep:opensource>\n",
        after="</tool_call:opensource>",
        separator="\n",
        closing="\n</tool_calls:opensource>",
        parameters=ParameterSyntax(
            before=f"<arg_key:opensource>{KEY}</arg_key:opensource>\n<arg_value:opensource>",
            after="</arg_value:opensource>\n",
        ),
    ),
    ":opensource",
    "arg_key",
)


def _dsml(name: str, section: str) -> ToolFormat:
    """DeepSeek's markup language; its marks contain a special token."""
    marks = ParameterMarks(
        opening=f"<｜DSML｜{section}>",
        function='<｜DSML｜invoke name="',
        name_end='">',
        key='<｜DSML｜parameter name="',
        key_end='"',
        value=">",
        value_end="</｜DSML｜parameter>",
        end="</｜DSML｜invoke>",
        closing=f"</｜DSML｜{section}>",
    )
    syntax = CallSyntax(
        opening=f"<｜DSML｜{section}>\n",
        before=f'<｜DSML｜invoke name="{NAME}">\n',
        after="</｜DSML｜invoke>\n",
        separator="",
        closing=f"</｜DSML｜{section}>",
        parameters=ParameterSyntax(
            before=f'<｜DSML｜parameter name="{KEY}" string="{KIND}">',
            after="</｜DSML｜parameter>\n",
        ),
    )
    return _with_parameters(name, ("｜DSML｜", section), marks, syntax)


_FAMILIES = (
    HARMONY,
    _dsml("dsml-function-calls", "function_calls"),
    _dsml("dsml-tool-calls", "tool_calls"),
    DEEPSEEK_R1,
    DEEPSEEK_V3,
    KIMI,
    SOLAR,
    COMMAND_R,
    COMMAND_R_PLUS,
    GEMMA,
    PYTHONIC,
    APERTUS,
    GIGACHAT,
    GIGACHAT_ROLE,
    MISTRAL_NAMED,
    _listed("mistral", "[TOOL_CALLS]"),
    _listed("firefunction", "functools", "", "functools["),
    _listed("nemotron", "<TOOLCALL>", "</TOOLCALL>"),
    MINIMAX_M1,
    _listed("apriel", "<tool_calls>", "</tool_calls>"),
    _listed("granite", "<|tool_call|>"),
    SEED,
    MINIMAX_M2,
    HUNYUAN,
    MINICPM,
    QWEN_CODER,
    GLM,
    HERMES,
    FUNCTION_TAG,
    FUNCTIONARY,
    LLAMA3,
)
"""The most specific family comes first, because several families share some signs."""


FAMILIES: Mapping[str, ToolFormat] = {family.name: family for family in (GENERIC, *_FAMILIES)}
"""All families by name."""


def detect_format(source: str, *, knows_calls: bool) -> ToolFormat:
    """The format that a chat template teaches. `knows_calls` says whether the template has any
    format."""
    if not knows_calls:
        return GENERIC
    for family in _FAMILIES:
        if all(sign in source for sign in family.signs):
            return family
    return GENERIC
