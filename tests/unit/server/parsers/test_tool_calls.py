# ruff: noqa: RUF001 - the markers of some models are made of full-width signs
"""Every format of tool calls is parsed incrementally, for every division into pieces."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from grammars.json_schema.checker import check_schema
from server.parsers import formats
from server.parsers.events import (
    AnswerEvent,
    AnswerParser,
    CallArguments,
    CallStarted,
    Content,
    Reasoning,
)
from server.parsers.formats import GENERIC, HERMES, LLAMA3, ToolFormat, detect_format
from server.structured_output.tool_grammar import AnswerGrammar, CallRules, ToolSignature
from server.templates.chat_template import ChatTemplate, SpecialTokens
from tests.support.byte_vocabulary import Bytes

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "its name"},
        "days": {"type": "integer", "description": "how many"},
    },
    "required": ["city"],
}
SCHEMAS: Mapping[str, Mapping[str, Any]] = {"get_weather": WEATHER, "get_time": {}}
ROME = ("get_weather", {"city": 'Rome {x} "y"', "days": 3})
OSLO = ("get_weather", {"city": "Oslo\n]", "days": -1})
SIZES = [1, 2, 3, 7, 1000]

Calls = list[tuple[str, Any]]


def read(parser: AnswerParser, text: str, size: int) -> tuple[Calls, str, str]:
    """(calls, content, thinking) of a text that comes in pieces of `size` characters."""
    events: list[AnswerEvent] = []
    for start in range(0, len(text), size):
        events += parser.feed(text[start : start + size])
    events += parser.finish()
    calls: list[list[str]] = []
    for event in events:
        if isinstance(event, CallStarted):
            calls.append([event.name, ""])
        elif isinstance(event, CallArguments):
            calls[-1][1] += event.text
    content = "".join(event.text for event in events if isinstance(event, Content))
    thinking = "".join(event.text for event in events if isinstance(event, Reasoning))
    return [(name, json.loads(arguments)) for name, arguments in calls], content, thinking


FAMILIES = {family.name: family for family in (*formats._FAMILIES, GENERIC)}
WRITTEN = [
    name for name, family in FAMILIES.items() if family.syntax and not family.syntax.parameters
]


def written(family: ToolFormat, *calls: tuple[str, Any]) -> str:
    assert family.syntax is not None
    return family.syntax.write([(name, json.dumps(arguments)) for name, arguments in calls])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WRITTEN)
def test_what_a_format_writes_it_reads(name: str, size: int) -> None:
    family = FAMILIES[name]
    assert family.syntax is not None
    calls = [ROME] if family.syntax.separator is None else [ROME, OSLO]
    text = written(family, *calls)
    assert read(family.make_parser(SCHEMAS), text, size) == (calls, "", "")


MIXED = [name for name in WRITTEN if name not in ("generic", "llama3", "functionary", "harmony")]
"""Formats whose calls may come after text."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MIXED)
def test_text_before_calls_is_content(name: str, size: int) -> None:
    family = FAMILIES[name]
    text = "Let me see <b>.\n\n" + written(family, ROME)
    expected = [ROME], "Let me see <b>.", ""
    assert read(family.make_parser(SCHEMAS), text, size) == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "name", [name for name in FAMILIES if name not in ("harmony", "functionary")]
)
@pytest.mark.parametrize("text", ["Plain text.\n", "Odd < [ {text", " \n", "[1, 2]", '{"a": 1}'])
def test_text_alone_is_content(name: str, text: str, size: int) -> None:
    assert read(FAMILIES[name].make_parser(SCHEMAS), text, size) == ([], text, "")


TEXTS = {
    "qwen-coder": (
        "Sure.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\nItaly\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n"
        "<function=get_time>\n</function>\n</tool_call>",
        [("get_weather", {"city": "Rome\nItaly", "days": 3}), ("get_time", {})],
        "Sure.",
    ),
    "glm": (
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>"
        "<tool_call>get_time<arg_key>zone</arg_key><arg_value>[1]</arg_value></tool_call>",
        [("get_weather", {"city": "Rome", "days": 3}), ("get_time", {"zone": [1]})],
        "",
    ),
    "minimax-m2": (
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">12</parameter>\n'
        '</invoke>\n<invoke name="get_time">\n<parameter name="zone">True</parameter>\n</invoke>\n'
        "</minimax:tool_call>",
        [("get_weather", {"city": "12"}), ("get_time", {"zone": True})],
        "",
    ),
    "dsml-tool-calls": (
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_time">\n'
        '<｜DSML｜parameter name="zone" string="true">3</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="list" string="false">[3]</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
        [("get_time", {"zone": "3", "list": [3]})],
        "",
    ),
    "minicpm": (
        '<function name="get_weather"><param name="city">Rome</param></function>\n'
        '<function name="get_time"></function>',
        [("get_weather", {"city": "Rome"}), ("get_time", {})],
        "",
    ),
    "hunyuan": (
        "<tool_call:opensource>get_weather<tool_sep:opensource>\n"
        "<arg_key:opensource>city</arg_key:opensource>\n"
        "<arg_value:opensource>Rome</arg_value:opensource>\n</tool_call:opensource>",
        [("get_weather", {"city": "Rome"})],
        "",
    ),
    "gemma": (
        'Hm.<|tool_call>call:get_weather{city:<|"|>Rome {a:b}<|"|>,days:3,'
        "at:{x:[1,true]}}<tool_call|>",
        [("get_weather", {"city": "Rome {a:b}", "days": 3, "at": {"x": [1, True]}})],
        "Hm.",
    ),
    "pythonic": (
        "<|tool_call_start|>[get_weather(city='Rome', days=3), get_time()]<|tool_call_end|>",
        [("get_weather", {"city": "Rome", "days": 3}), ("get_time", {})],
        "",
    ),
    "gigachat-role": (
        'function call<|role_sep|>\n{"name": "get_time", "arguments": {}}<|message_sep|>',
        [("get_time", {})],
        "",
    ),
    "minimax-m1": (
        '<tool_calls>\n{"name": "get_time", "arguments": {}}\n'
        '{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_calls>',
        [("get_time", {}), ("get_weather", {"city": "Rome"})],
        "",
    ),
    "mistral-named": (
        '[TOOL_CALLS]get_time[CALL_ID]123456789[ARGS]{"zone": "}"}',
        [("get_time", {"zone": "}"})],
        "",
    ),
    "kimi": (
        "On it.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_time:0"
        '<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|><|tool_calls_section_end|>',
        [("get_time", {"a": 1})],
        "On it.",
    ),
    "functionary": (
        'all\nLet me see.\n>>>get_weather\n{"city": "Rome"}',
        [("get_weather", {"city": "Rome"})],
        "Let me see.",
    ),
    "llama3": (
        '<|python_tag|>{"name": "get_time", "parameters": {}}; '
        '{"type": "function", "function": "get_weather", "parameters": {"city": "Rome"}}',
        [("get_time", {}), ("get_weather", {"city": "Rome"})],
        "",
    ),
    "hermes": (
        '<tool_call>\n{"arguments": {"city": "Rome"}, "name": "get_weather"}\n</tool_call>\n'
        '<tool_call>{"name": "get_time"}</tool_call>\nDone.',
        [("get_weather", {"city": "Rome"}), ("get_time", {})],
        "Done.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TEXTS)
def test_what_models_write(name: str, size: int) -> None:
    text, calls, content = TEXTS[name]
    assert read(FAMILIES[name].make_parser(SCHEMAS), text, size) == (calls, content, "")


@pytest.mark.parametrize("size", SIZES)
def test_channels(size: int) -> None:
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.get_time <|constrain|>json<|message|>{"a": 1}<|call|>'
    )
    parser = FAMILIES["harmony"].make_parser(SCHEMAS)
    assert read(parser, text, size) == ([("get_time", {"a": 1})], "", "Hm.")
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes."
    )
    parser = FAMILIES["harmony"].make_parser(SCHEMAS)
    assert read(parser, text, size) == ([], "Yes.", "Hm.")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "text",
    [
        '{"name": "unknown", "parameters": {"a": 1}}',
        '{"city": "Rome"}',
        '[{"a": "b"}]',
        '{"name": "get_weather"',
        "{not json",
    ],
)
def test_json_that_calls_no_known_tool_is_content(text: str, size: int) -> None:
    for family in (LLAMA3, GENERIC):
        assert read(family.make_parser(SCHEMAS), text, size) == ([], text, "")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\nnot json\n",
        "<tool_cal",
        "<|tool_call_start|>[os.system('x'",
        "[TOOL_CALLS]???",
    ],
)
def test_broken_calls_never_raise(text: str, size: int) -> None:
    for name in FAMILIES:
        if name != "functionary":
            read(FAMILIES[name].make_parser(SCHEMAS), text, size)


def test_a_cut_off_call_keeps_its_beginning() -> None:
    parser = HERMES.make_parser(SCHEMAS)
    events = parser.feed('<tool_call>\n{"name": "get_weather", "arguments": {"city": "Ro')
    assert events == [CallStarted("get_weather"), CallArguments('{"city": "Ro')]
    assert parser.finish() == []


def test_arguments_pass_at_once() -> None:
    parser = HERMES.make_parser(SCHEMAS)
    parser.feed('<tool_call>\n{"name": "get_weather", "arguments": ')
    assert parser.feed('{"ci') == [CallStarted("get_weather"), CallArguments('{"ci')]
    assert parser.feed('ty": "R') == [CallArguments('ty": "R')]
    assert parser.feed('ome"}}\n</tool_call>') == [CallArguments('ome"}')]


def test_text_values_are_streamed() -> None:
    parser = FAMILIES["qwen-coder"].make_parser(SCHEMAS)
    parser.feed("<tool_call>\n<function=get_weather>\n<parameter=city>\n")
    assert parser.feed('Ro"') == [CallArguments('{"city": "Ro\\"')]
    assert parser.feed("me\n") == [CallArguments("me")]
    assert parser.feed("</parameter>") == [CallArguments('"')]
    assert parser.feed("\n</function>") == [CallArguments("}")]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("<tool_call>\n{...}</tool_call>", "hermes"),
        ("<tool_call><function=x><parameter=y>", "qwen-coder"),
        ("<tool_call>x<arg_key>", "glm"),
        ("[TOOL_CALLS]", "mistral"),
        ("[TOOL_CALLS]x[ARGS]", "mistral-named"),
        ('<|start_header_id|>{"name": x, "parameters": y}', "llama3"),
        ("nothing known", "generic"),
    ],
)
def test_detection(source: str, name: str) -> None:
    assert detect_format(source, knows_calls=True).name == name
    assert detect_format(source, knows_calls=False) is GENERIC


UNREAD = {"Kimi-K3", "MiniMax-M3", "muse-glimmer"}
"""Templates whose notation has no parser."""


def collected_templates() -> list[Path]:
    """Real templates to test against: the folder that LLAMAPACK_TEMPLATES names, if any."""
    folder = os.environ.get("LLAMAPACK_TEMPLATES")
    paths = sorted(Path(folder).glob("*.jinja")) if folder else []
    return [path for path in paths if path.stem not in UNREAD]


ASKING = {"role": "user", "content": "zq7user"}
CALLED = {"name": "get_weather", "arguments": '{"city": "Rome {x}", "days": 3}'}
OFFERED = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "d", "parameters": WEATHER},
    }
]


def called_history(template: ChatTemplate) -> str:
    """A chat with a call and its result, as the template writes it."""
    call = {"id": "call00001", "type": "function", "function": CALLED}
    calling = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "call00001", "content": "zq7result"}
    return template.render([ASKING, calling, result], tools=OFFERED)


@pytest.mark.parametrize("path", collected_templates(), ids=lambda path: path.stem)
def test_calls_of_a_collected_template_are_read(path: Path) -> None:
    """The history's calls, as the template writes them, come out of the parser unchanged."""
    template = ChatTemplate(path.read_text(), specials=SpecialTokens("<s>", "</s>"))
    prompt = template.render([ASKING], tools=OFFERED)
    history = called_history(template)
    family = template.for_tools(True).tool_format
    begins_with_call = family.name in ("generic", "llama3", "functionary", "harmony")
    start = history.rindex("zq7user") + len("zq7user")
    if begins_with_call:
        pairs = enumerate(zip(prompt, history, strict=False))
        start = next((at for at, (a, b) in pairs if a != b), len(prompt))
    answer = history[start : history.rindex("zq7result")]
    parser = family.make_parser(SCHEMAS)
    events = parser.feed(answer)
    assert [event.name for event in events if isinstance(event, CallStarted)] == ["get_weather"]
    arguments = "".join(event.text for event in events if isinstance(event, CallArguments))
    decoded, _ = json.JSONDecoder().raw_decode(arguments)
    assert decoded == {"city": "Rome {x}", "days": 3}


OTHER_FORMS = {
    "Apriel-1.6-15b-Thinker-fixed": "an id after the arguments",
    "unsloth-Apriel-1.5": "an id after the arguments",
    "mistralai-Mistral-Nemo-Instruct-2407": "an id after the arguments",
    "Mistral-Small-3.2-24B-Instruct-2506": "an id before the arguments",
    "CohereForAI-c4ai-command-r-plus-tool_use": "indentation",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "no end of the last call",
    "LFM2.5-8B-A1B": "texts in single quotes",
    "openai-gpt-oss-120b": "the type of the arguments without its mark",
}
"""Templates that write the history's calls in another form than they ask of a model."""


@pytest.mark.parametrize("path", collected_templates(), ids=lambda path: path.stem)
def test_calls_of_a_collected_template_follow_the_grammar(path: Path) -> None:
    """The grammar forces the same form that the template shows to the model."""
    template = ChatTemplate(path.read_text(), specials=SpecialTokens("<s>", "</s>"))
    history = called_history(template)
    rules = CallRules(
        syntax=template.for_tools(True).tool_format.syntax,
        tools=[ToolSignature("get_weather", check_schema(WEATHER))],
        is_required=True,
    )
    lark = AnswerGrammar(Bytes()).write(calls=rules)
    starts = range(history.rindex("zq7user") + len("zq7user"), history.rindex("zq7result"))
    assert any(begins(lark, history[start:]) for start in starts) == (path.stem not in OTHER_FORMS)


def begins(lark: str, text: str) -> bool:
    """Whether the text begins with a complete answer of the grammar."""
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(lark))
    for byte in text.encode():
        if matcher.try_consume_tokens([byte]) != 1:
            return False
        if matcher.is_accepting():
            return True
    return False


PARTS = {"type": "object", "properties": {"l": {"type": "array"}, "n": {"type": "integer"}}}
VALUES = [
    ('["</param>", 1]', ["</param>", 1]),
    ('["a\\"</param></function>"]', ['a"</param></function>']),
    ('["cut', '["cut'),
    ('{"cut": "', '{"cut": "'),
    ('5" long', '5" long'),
    ("NaN", "NaN"),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("written_value", "value"), VALUES)
def test_an_end_mark_in_a_json_string_is_a_part_of_it(
    written_value: str, value: Any, size: int
) -> None:
    """Unless the string never ends: then the mark was the end of the value."""
    parser = FAMILIES["minicpm"].make_parser({"f": PARTS})
    begin, end = (
        '<function name="f"><param name="l">',
        '</param><param name="n">3</param></function>',
    )
    calls, content, _ = read(parser, begin + written_value + end, size)
    assert calls == [("f", {"l": value, "n": 3})]
    assert content == ""


NAMED = ["a>b", " a", "a ", "a", 'x">y', "line\nbreak", ""]


@pytest.mark.parametrize("size", SIZES)
def test_names_of_parameters_may_contain_marks(size: int) -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in NAMED}}
    text = "".join(f"<parameter={name}>\n{name}!\n</parameter>\n" for name in NAMED)
    text = f"<tool_call>\n<function=f>\n{text}</function>\n</tool_call>"
    calls, _, _ = read(FAMILIES["qwen-coder"].make_parser({"f": schema}), text, size)
    assert calls == [("f", {name: f"{name}!" for name in NAMED})]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", ["\n", "\n\nx", "x\n\n", "\n\n\n", ""])
def test_one_line_break_at_each_end_of_a_text_is_the_formats(text: str, size: int) -> None:
    answer = f"<tool_call>\n<function=get_weather>\n<parameter=city>\n{text}\n</parameter>\n"
    parser = FAMILIES["qwen-coder"].make_parser(SCHEMAS)
    calls, _, _ = read(parser, f"{answer}</function>\n</tool_call>", size)
    assert calls == [("get_weather", {"city": text})]


def test_python_arguments_whose_names_are_no_python_names() -> None:
    answer = '<|tool_call_start|>[f(x=1, **{"from": "a", "b-c": [true]})]<|tool_call_end|>'
    calls, _, _ = read(FAMILIES["pythonic"].make_parser({"f": {}}), answer, 7)
    assert calls == [("f", {"x": 1, "from": "a", "b-c": [True]})]
