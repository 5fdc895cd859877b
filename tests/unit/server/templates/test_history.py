"""Histories that clients send: several system messages, empty answers, calls without arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.errors import InvalidRequest
from server.templates.chat_template import ChatTemplate
from server.templates.continuation import ContinuedField
from tests.support.templates import collected_templates, read_template

Message = dict[str, Any]

TOOLS: list[Message] = [
    {
        "type": "function",
        "function": {
            "name": "get_time",
            "description": "The time",
            "parameters": {"type": "object", "properties": {}},
        },
    }
]


def said(role: str, content: str | None, **fields: Any) -> Message:
    return {"role": role, "content": content, **fields}


def calling(arguments: Any) -> Message:
    function = {"name": "get_time", "arguments": arguments}
    call = {"id": "call_0123456789", "type": "function", "function": function}
    return said("assistant", None, tool_calls=[call])


USER, ANSWER, NEXT = said("user", "Q1"), said("assistant", "A1"), said("user", "Q2")
ONE, TWO = said("system", "RULE1"), said("system", "RULE2")
RESULT = said("tool", "NOON", tool_call_id="call_0123456789")

HISTORIES: dict[str, tuple[list[Message], bool]] = {
    "two system messages": ([ONE, TWO, USER], False),
    "three system messages": ([ONE, TWO, said("system", "RULE3"), USER], False),
    "developer and system": ([said("developer", "RULE1"), TWO, USER], False),
    "system and developer": ([ONE, said("developer", "RULE2"), USER], False),
    "a later system message": ([ONE, USER, ANSWER, TWO, NEXT], False),
    "a later developer message alone": ([USER, ANSWER, said("developer", "RULE2"), NEXT], False),
    "two system messages and tools": ([ONE, TWO, USER], True),
    "null": ([USER, said("assistant", None), NEXT], False),
    "null and no calls": ([USER, said("assistant", None, tool_calls=[]), NEXT], False),
    "thinking alone": ([USER, said("assistant", None, reasoning_content="T"), NEXT], False),
    "empty after a system message": ([ONE, USER, said("assistant", ""), NEXT], False),
    "arguments ''": ([USER, calling(""), RESULT], True),
    "arguments ' '": ([USER, calling(" "), RESULT], True),
    "arguments line break": ([USER, calling("\n\t"), RESULT], True),
    "arguments null": ([USER, calling(None), RESULT], True),
    "arguments {}": ([USER, calling("{}"), RESULT], True),
}
"""Histories, and whether the request has tools."""

REFUSED = {
    ("mistralai-Ministral-3-14B-Reasoning-2512", kind): "Assistant message must have a string"
    for kind in ("null", "null and no calls", "thinking alone", "empty after a system message")
}
"""The templates that refuse a history themselves, with their words. All others show every text."""


def words_of(messages: list[Message]) -> list[str]:
    """What the prompt must show: every text, and the names of called functions."""
    texts = [message["content"] for message in messages if message["content"]]
    return texts + ["get_time" for message in messages if message.get("tool_calls")]


@pytest.mark.parametrize("kind", HISTORIES)
@pytest.mark.parametrize("path", collected_templates(), ids=lambda path: path.stem)
def test_collected_templates_show_the_history(path: Path, kind: str) -> None:
    messages, has_tools = HISTORIES[kind]
    tools = TOOLS if has_tools else None
    template = read_template(path)
    refusal = REFUSED.get((path.stem, kind))
    if refusal is not None:
        with pytest.raises(InvalidRequest, match=refusal):
            template.render(messages, tools=tools)
        return
    text = template.render(messages, tools=tools)
    assert [word for word in words_of(messages) if word not in text] == []


@pytest.mark.parametrize("path", collected_templates(), ids=lambda path: path.stem)
def test_collected_templates_continue_the_thinking(path: Path) -> None:
    template = read_template(path)
    cut = said("assistant", None, reasoning_content="It is a city in")
    text = template.render([USER, cut], continued="reasoning_content")
    markers = template.for_tools(False).thinking_markers
    if markers is None:
        assert text == template.render([USER])
    else:
        assert text.endswith("It is a city in")
        assert markers.opened_by(text.removesuffix("It is a city in"))


PLAIN = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
    "{% for c in m.tool_calls or [] %}({{ c.function.name }} ARGUMENTS){% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
STRING = PLAIN.replace("ARGUMENTS", "{{ c.function.arguments }}")
FIRST = (
    "{% if messages[0].role == 'system' %}[system]{{ messages[0].content }}"
    "{% set messages = messages[1:] %}{% endif %}"
)
OTHERS_DROPPED = FIRST + STRING.replace(
    "{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"
)
OTHERS_REFUSED = FIRST + STRING.replace(
    "[{{ m.role }}]",
    "{% if m.role == 'system' %}{{ raise_exception('first only') }}{% endif %}[{{ m.role }}]",
)
GATHERED = (
    "{% set ns = namespace(text='') %}{% for m in messages if m.role == 'system' %}"
    "{% set ns.text = ns.text + ('\n\n' if ns.text else '') + m.content %}{% endfor %}"
    "{% if ns.text %}[system]{{ ns.text }}{% endif %}"
) + STRING.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
NONE_SHOWN = STRING.replace(
    "{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"
)


@pytest.mark.parametrize(
    "source",
    [OTHERS_DROPPED, OTHERS_REFUSED, GATHERED],
    ids=["dropped", "refused", "gathered at the beginning"],
)
@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([ONE, TWO, USER], "[system]RULE1\n\nRULE2[user]Q1"),
        ([said("developer", "RULE1"), TWO, USER], "[system]RULE1\n\nRULE2[user]Q1"),
        # Later ones stay where they are: the prompt's beginning may be in the cache.
        ([ONE, USER, ANSWER, TWO, NEXT], "[system]RULE1[user]Q1[assistant]A1[user]RULE2\n\nQ2"),
        ([ONE, USER, TWO, ANSWER, NEXT], "[system]RULE1[user]Q1\n\nRULE2[assistant]A1[user]Q2"),
        ([ONE, USER, TWO, TWO, ANSWER], "[system]RULE1[user]Q1\n\nRULE2\n\nRULE2[assistant]A1"),
        ([USER, ANSWER, TWO, ANSWER], "[user]Q1[assistant]A1[user]RULE2[assistant]A1"),
        ([USER, ANSWER, TWO], "[user]Q1[assistant]A1[user]RULE2"),
        ([USER, ANSWER, said("system", ""), NEXT], "[user]Q1[assistant]A1[user]Q2"),
        ([USER, ONE], "[user]Q1\n\nRULE1"),
        ([said("system", ""), TWO, USER], "[system]RULE2[user]Q1"),
        ([ONE, USER], "[system]RULE1[user]Q1"),
        ([USER], "[user]Q1"),
    ],
)
def test_system_messages_become_one(source: str, messages: list[Message], prompt: str) -> None:
    template = ChatTemplate(source)
    assert template.capabilities.system_role
    assert not template.capabilities.several_systems
    assert template.render(messages) == prompt + "[assistant]"


def test_system_messages_stay_where_the_template_shows_them() -> None:
    template = ChatTemplate(STRING)
    assert template.capabilities.several_systems
    text = template.render([ONE, TWO, USER, ANSWER, said("system", "RULE3"), NEXT])
    assert text == (
        "[system]RULE1[system]RULE2[user]Q1[assistant]A1[system]RULE3[user]Q2[assistant]"
    )


def test_system_messages_join_the_user_where_there_is_no_such_role() -> None:
    template = ChatTemplate(NONE_SHOWN)
    assert not template.capabilities.system_role
    text = template.render([ONE, USER, ANSWER, said("developer", "RULE2"), NEXT])
    assert text == "[user]RULE1\n\nQ1[assistant]A1[user]RULE2\n\nQ2[assistant]"
    assert template.render([said("system", ""), USER]) == "[user]Q1[assistant]"


ALTERNATING = STRING.replace(
    "[{{ m.role }}]",
    "{% if loop.previtem and loop.previtem.role == 'user' == m.role %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role }}]",
)


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([USER, NEXT], "[user]Q1\n\nQ2"),
        ([USER, NEXT, ANSWER, USER, USER], "[user]Q1\n\nQ2[assistant]A1[user]Q1\n\nQ1"),
        ([USER, ANSWER, NEXT], "[user]Q1[assistant]A1[user]Q2"),
    ],
)
def test_messages_of_the_user_in_a_row(messages: list[Message], prompt: str) -> None:
    template = ChatTemplate(ALTERNATING)
    assert not template.capabilities.user_runs
    assert template.render(messages) == prompt + "[assistant]"
    assert ChatTemplate(STRING).capabilities.user_runs


OBJECT = PLAIN.replace("ARGUMENTS", "{{ c.function.arguments | tojson }}")
PARSED = PLAIN.replace(
    "ARGUMENTS",
    "{{ c.function.arguments }}{% set _ = (c.function.arguments | from_json).items() %}",
)


@pytest.mark.parametrize("source", [STRING, OBJECT, PARSED], ids=["string", "object", "parsed"])
@pytest.mark.parametrize("arguments", ["", " ", "\r\n", None, "null", "{}"])
def test_no_arguments_are_an_empty_object(source: str, arguments: str | None) -> None:
    text = ChatTemplate(source).render([USER, calling(arguments), RESULT])
    assert "(get_time {})" in text


@pytest.mark.parametrize("source", [OBJECT, PARSED], ids=["object", "parsed"])
@pytest.mark.parametrize("broken", ["{", '{"city": "Par', "[1]", "3", "Paris"])
@pytest.mark.parametrize("has_tools", [True, False])
def test_a_broken_call_is_told_at_the_clients_message(
    source: str, broken: str, has_tools: bool
) -> None:
    template = ChatTemplate(source)
    assert template.capabilities.json_arguments
    messages = [USER, calling("{}"), RESULT, calling(broken), RESULT]
    with pytest.raises(InvalidRequest) as caught:
        template.render(messages, tools=TOOLS if has_tools else None)
    assert caught.value.param == "messages.3.tool_calls.0.function.arguments"


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a": ' + "[" * 200 + "]" * 200 + "}",
        '{"a":' * 5000 + "1" + "}" * 5000,
        '{"a": ' + "1" * 5000 + "}",
        '{"a": [' + "[]," * 700_000 + "[]]}",
        "{" + '"a": {},' * 200_000 + '"a": 1}',
    ],
)
def test_arguments_that_would_take_much_are_refused(arguments: str) -> None:
    template = ChatTemplate(OBJECT)
    with pytest.raises(InvalidRequest, match=r"messages\.1\.tool_calls"):
        template.render([USER, calling(arguments), RESULT], tools=TOOLS)


def test_a_broken_call_stays_where_calls_are_text() -> None:
    template = ChatTemplate(STRING)
    assert not template.capabilities.json_arguments
    assert '(get_time {"a)' in template.render([USER, calling('{"a'), RESULT], tools=TOOLS)


THINKING = (
    "{% for m in messages %}[{{ m.role }}]"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>{% endif %}"
    "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% if enable_thinking is defined"
    " and not enable_thinking %}<think></think>{% endif %}{% endif %}"
)
UNREAD = THINKING.replace("m.reasoning_content", "m.nowhere")
OPENED = UNREAD.replace("[assistant]", "[assistant]<think>\n")
NO_EMPTY = UNREAD.replace(
    "{{ m.content }}",
    "{% if m.role == 'assistant' and not m.content %}{{ raise_exception('empty') }}{% endif %}"
    "{{ m.content }}",
)


@pytest.mark.parametrize(
    ("source", "field", "message", "end"),
    [
        (THINKING, "reasoning_content", {"reasoning_content": "Hm "}, "<think>\nHm "),
        (THINKING, "reasoning_content", {"reasoning": "Hm"}, "<think>\nHm"),
        (UNREAD, "reasoning_content", {"reasoning_content": "Hm"}, "<think>Hm"),
        (OPENED, "reasoning_content", {"thinking": "Hm"}, "<think>\nHm"),
        (NO_EMPTY, "reasoning_content", {"reasoning_content": "Hm"}, "<think>Hm"),
        (STRING, "reasoning_content", {"reasoning_content": "Hm"}, ""),
        (THINKING, "content", {}, ""),
        (THINKING, "content", {"content": ""}, ""),
        (OPENED, "content", {"content": None}, "<think>\n"),
        (THINKING, "content", {"content": "So ", "reasoning": "Hm"}, "<think>\nHm\n</think>So "),
        (
            STRING,
            "content",
            {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            "a\n\nb",
        ),
    ],
)
def test_the_last_message_is_continued(
    source: str, field: ContinuedField, message: Message, end: str
) -> None:
    last = {"role": "assistant", "content": None, **message}
    text = ChatTemplate(source).render([USER, last], continued=field)
    assert text == "[user]Q1[assistant]" + end


def test_cut_thinking_is_continued_even_if_thinking_is_off() -> None:
    last = said("assistant", None, reasoning_content="Hm")
    text = ChatTemplate(THINKING).render(
        [USER, last], continued="reasoning_content", variables={"enable_thinking": False}
    )
    assert text.endswith("[assistant]<think>\nHm")
