"""Chat templates: the sandbox, the detected capabilities, and the adapted messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.errors import InvalidRequest
from server.model.tokenizer import Tokenizer
from server.startup import ChatTemplateError
from server.templates.chat_template import (
    CHATML,
    ChatTemplate,
    SpecialTokens,
    load,
)
from tests.support.templates import collected_templates, read_template

USER = {"role": "user", "content": "Hello?"}
ANSWER = {"role": "assistant", "content": "Hi."}
SYSTEM = {"role": "system", "content": "Be brief."}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "its name"}},
                "required": ["city"],
            },
        },
    }
]


def call(city: str, call_id: str = "call_0123456789abcdef") -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": f'{{"city": "{city}"}}'}
    return {"id": call_id, "type": "function", "function": function}


def calling(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def result(text: str, call_id: str = "call_0123456789abcdef") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


PLAIN = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def test_chatml_is_the_fallback() -> None:
    assert ChatTemplate().render([SYSTEM, USER]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_generation_prompt_can_be_left_out() -> None:
    assert ChatTemplate(PLAIN).render([USER], add_generation_prompt=False) == "[user]Hello?"


def test_developer_is_system() -> None:
    messages = [{"role": "developer", "content": "x"}, USER]
    assert ChatTemplate(PLAIN).render(messages).startswith("[system]x")


def test_text_parts_are_joined_for_string_templates() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    text = ChatTemplate(PLAIN).render([{"role": "user", "content": parts}])
    assert text == "[user]a\nb[assistant]"


def test_other_parts_are_refused_by_string_templates() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "data:"}}]
    with pytest.raises(InvalidRequest) as caught:
        ChatTemplate(PLAIN).render([USER, {"role": "user", "content": parts}])
    assert caught.value.param == "messages.1.content"


def test_strings_become_parts_for_list_templates() -> None:
    source = (
        "{% for m in messages %}[{{ m.role }}]"
        "{% for part in m.content %}{{ part.type + ':' + part.text }}{% endfor %}{% endfor %}"
    )
    template = ChatTemplate(source)
    assert not template.capabilities.string_content
    assert template.render([SYSTEM, USER]) == "[system]text:Be brief.[user]text:Hello?"


@pytest.mark.parametrize(
    "rule",
    [
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}",
        "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}",
    ],
    ids=["refused", "ignored"],
)
def test_system_is_merged_into_the_first_user_message(rule: str) -> None:
    template = ChatTemplate(rule + PLAIN)
    assert not template.capabilities.system_role
    assert template.render([SYSTEM, USER]) == "[user]Be brief.\n\nHello?[assistant]"
    assert template.render([SYSTEM]) == "[user]Be brief.[assistant]"


def test_the_templates_own_message_reaches_the_client() -> None:
    rule = "{% if messages | length > 1 %}{{ raise_exception('one at a time') }}{% endif %}"
    with pytest.raises(InvalidRequest, match="one at a time") as caught:
        ChatTemplate(rule + PLAIN).render([USER, ANSWER, USER])
    assert caught.value.param == "messages"


def test_a_template_that_breaks_on_these_messages_is_the_requests_error() -> None:
    rule = "{% if messages | length > 1 %}{{ nowhere.field }}{% endif %}"
    with pytest.raises(InvalidRequest, match="nowhere"):
        ChatTemplate(rule + PLAIN).render([USER, ANSWER, USER])


@pytest.mark.parametrize("source", ["{% for %}", "{{", "{% unknown %}"])
def test_no_template(source: str) -> None:
    with pytest.raises(ChatTemplateError):
        ChatTemplate(source)


def test_special_tokens_and_variables() -> None:
    source = "{{ bos_token }}" + PLAIN + "{{ greeting }}{{ eos_token }}"
    template = ChatTemplate(
        source, specials=SpecialTokens("<s>", "</s>"), variables={"greeting": "hi"}
    )
    assert template.render([USER]) == "<s>[user]Hello?[assistant]hi</s>"
    assert template.render([USER], variables={"greeting": "yo"}).endswith("yo</s>")


def test_tojson_is_not_html_escaped() -> None:
    source = PLAIN + "{{ data | tojson }}|{{ data | tojson(indent=1, sort_keys=true) }}"
    text = ChatTemplate(source).render([USER], variables={"data": {"b": "é<'>", "a": 1}})
    assert text.endswith('{"b": "é<\'>", "a": 1}|{\n "a": 1,\n "b": "é<\'>"\n}')


def test_helpers_that_templates_rely_on() -> None:
    source = (
        "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
        "{% generation %}{{ messages[0].content }}{% endgeneration %}"
        "{{ strftime_now('%Y') | length }}{{ date_string is string }}"
        "{% set queue = [] %}{% set _ = queue.append('q') %}{{ queue.pop() }}"
    )
    assert ChatTemplate(source).render([USER]) == "01Hello?4Trueq"


@pytest.mark.parametrize(
    "attack",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__['os'] }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% set _ = messages[0].update(x=1) %}",
    ],
)
def test_the_sandbox_holds(attack: str) -> None:
    with pytest.raises(InvalidRequest):
        ChatTemplate(attack + PLAIN).render([USER])


def test_operators_variables_survive_a_template_that_changes_them() -> None:
    source = "{% set _ = items.append(1) %}{{ items | length }}"
    template = ChatTemplate(source, variables={"items": []})
    assert template.render([USER]) == "1"
    assert template.render([USER]) == "1"


CALLS = (
    "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}"
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
    "{% for c in m.tool_calls or [] %}({{ c.function.name }} {{ ARGUMENTS }}){% endfor %}"
    "{% endfor %}"
)


def calls_template(arguments: str = "c.function.arguments", rule: str = "") -> ChatTemplate:
    return ChatTemplate(rule + CALLS.replace("ARGUMENTS", arguments))


def test_arguments_as_a_string_are_kept_byte_for_byte() -> None:
    template = calls_template()
    assert template.capabilities.tool_calls
    assert not template.capabilities.object_arguments
    message = calling(call("Paris"))
    message["tool_calls"][0]["function"]["arguments"] = '{"city":  "Paris"}'
    text = template.render([USER, message, result("sun")], tools=TOOLS)
    assert text == ('<get_weather>[user]Hello?[assistant](get_weather {"city":  "Paris"})[tool]sun')


@pytest.mark.parametrize(
    "arguments", ["c.function.arguments | tojson", "c.function.arguments.city"]
)
def test_arguments_become_objects_where_the_template_needs_them(arguments: str) -> None:
    text = calls_template("c.function.arguments | tojson").render([USER, calling(call("Paris"))])
    assert '{"city": "Paris"}' in text


@pytest.mark.parametrize("broken", ["{", "[]", "3"])
def test_arguments_that_are_no_object(broken: str) -> None:
    message = calling(call("Paris"))
    message["tool_calls"][0]["function"]["arguments"] = broken
    template = calls_template("c.function.arguments | tojson")
    with pytest.raises(InvalidRequest) as caught:
        template.render([USER, message])
    assert caught.value.param == "messages.1.tool_calls.0.function.arguments"


def test_parallel_calls_are_taken_apart() -> None:
    rule = (
        "{% for m in messages %}{% if (m.tool_calls or []) | length > 1 %}"
        "{{ raise_exception('one call') }}{% endif %}{% endfor %}"
    )
    template = calls_template(rule=rule)
    assert not template.capabilities.parallel_tool_calls
    two = calling(call("Rome", "call_a"), call("Oslo", "call_b"))
    text = template.render([USER, two, result("rain", "call_b"), result("sun", "call_a")])
    assert text == (
        '[user]Hello?[assistant](get_weather {"city": "Rome"})[tool]sun'
        '[assistant](get_weather {"city": "Oslo"})[tool]rain'
    )


def test_null_content() -> None:
    rule = "{% for m in messages %}{% if m.content is none %}NULL{% endif %}{% endfor %}"
    assert "NULL" not in calls_template(rule=rule).render([USER, calling(call("Paris"))])
    source = (
        "{% for m in messages %}{% if m.content is none %}"
        "{{ m.tool_calls[0].function.name + m.tool_calls[0].function.arguments }}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    template = ChatTemplate(source)
    assert template.capabilities.null_content
    assert "get_weather" in template.render([USER, calling(call("Paris"))])


def test_short_tool_ids() -> None:
    rule = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{% if c.id | length != 9 %}"
        "{{ raise_exception('nine') }}{% endif %}<{{ c.id }}>{% endfor %}"
        "{% if m.tool_call_id %}<{{ m.tool_call_id }}>{% endif %}{% endfor %}"
    )
    template = calls_template(rule=rule)
    assert template.capabilities.short_tool_ids
    text = template.render([USER, calling(call("Paris")), result("sun")])
    first, second = (part.split(">")[0] for part in text.split("<")[1:3])
    assert first == second
    assert len(first) == 9
    assert first.isalnum()


def test_tools_without_a_template_for_them() -> None:
    template = ChatTemplate(PLAIN)
    assert not template.capabilities.tools
    messages = [SYSTEM, USER, calling(call("Rome")), result("sun")]
    text = template.render(messages, tools=TOOLS)
    assert text.startswith("[system]Be brief.\n\n")
    assert '"name": "get_weather"' in text
    assert (
        '[assistant]{"tool_calls": [{"name": "get_weather", "arguments": {"city": "Rome"}}]}'
        in text
    )
    assert "[user]Result of the function call call_0123456789abcdef:\nsun" in text


def test_results_of_one_turn_are_one_user_message() -> None:
    two = calling(call("Rome", "a"), call("Oslo", "b"))
    text = ChatTemplate(PLAIN).render([USER, two, result("sun", "a"), result("rain", "b")])
    assert text.count("[user]") == 2


def test_the_tool_variant_is_used_with_tools_alone() -> None:
    template = ChatTemplate(PLAIN, tool_source="TOOLS" + CALLS.replace("ARGUMENTS", "'x'"))
    assert not template.render([USER]).startswith("TOOLS")
    assert template.render([USER], tools=TOOLS).startswith("TOOLS<get_weather>")
    assert template.tool_source is not None


def test_a_template_that_needs_a_list_of_tools() -> None:
    template = ChatTemplate("{{ tools | length }}" + PLAIN)
    assert template.render([USER]) == "0[user]Hello?[assistant]"


THINKING = (
    "{% for m in messages %}[{{ m.role }}]"
    "{% if m.thinking %}({{ m.thinking }}){% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name + c.function.arguments }}{% endfor %}"
    "{% endfor %}[assistant]{% if not enable_thinking %}<think></think>{% endif %}"
)


def test_thinking_is_on_unless_turned_off() -> None:
    template = ChatTemplate(THINKING)
    assert template.capabilities.thinking_variables == ("enable_thinking",)
    assert template.render([USER]).endswith("[assistant]")
    off = {"enable_thinking": False}
    assert template.render([USER], variables=off).endswith("</think>")
    assert ChatTemplate(THINKING, variables=off).render([USER]).endswith("</think>")


def test_thinking_by_another_name() -> None:
    template = ChatTemplate(THINKING.replace("enable_thinking", "thinking"))
    text = template.render([USER], variables={"enable_thinking": True})
    assert text.endswith("[assistant]")


def test_reasoning_of_the_history_goes_where_the_template_reads_it() -> None:
    template = ChatTemplate(THINKING)
    assert template.capabilities.reasoning_field == "thinking"
    message = calling(call("Rome")) | {"reasoning_content": "hmm"}
    assert "(hmm)" in template.render([USER, message, result("sun")])


@pytest.mark.parametrize("source", [CHATML, PLAIN, PLAIN.replace("m.content", "m.content | trim")])
def test_the_last_message_can_be_continued(source: str) -> None:
    message = {"role": "assistant", "content": "Once upon "}
    text = ChatTemplate(source).render([USER, message], continued="content")
    assert text.endswith("Once upon ")
    assert "Hello?" in text


def test_continuing_with_a_template_that_rewrites_the_message() -> None:
    source = PLAIN.replace("m.content", "m.content.split('llama')[0]")
    message = {"role": "assistant", "content": "Once"}
    text = ChatTemplate(source).render([USER, message], continued="content")
    assert text == "[user]Hello?[assistant]Once"


@pytest.mark.parametrize("messages", [[], [USER], [USER, calling(call("Rome"))]])
def test_nothing_to_continue(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ChatTemplate().render(messages, continued="content")
    assert caught.value.param == "messages"


class Vocabulary(Tokenizer):
    """The part of a tokenizer that templates need."""

    n_vocab = 3
    bos: int | None = 1
    eos: int | None = 2
    end_tokens = frozenset({2})
    longest_piece = 8

    def __init__(self, **metadata: str) -> None:
        self._metadata = metadata

    def metadata(self, key: str) -> str | None:
        return self._metadata.get(key.removeprefix("tokenizer.").replace(".", "_"))

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        raise NotImplementedError

    def join_pair(self, first: list[int], second: list[int]) -> list[int]:
        return [*first, *second]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return {1: b"<s>", 2: b"</s>"}[token] if special else b""


def test_loading_from_a_model() -> None:
    vocabulary = Vocabulary(chat_template="{{ bos_token }}" + PLAIN)
    assert load(vocabulary).render([USER]).startswith("<s>[user]")
    assert load(Vocabulary()).source == CHATML
    assert load(vocabulary, override=PLAIN).source == PLAIN


CONVERSATIONS = {
    "user": ([USER], False, ["Hello?"]),
    "system": ([SYSTEM, USER], False, ["Be brief.", "Hello?"]),
    "turns": ([SYSTEM, USER, {"role": "assistant", "content": "Hi."}, USER], False, ["Hi."]),
    "tools": ([SYSTEM, USER], True, ["get_weather", "Be brief."]),
    "result": ([USER, calling(call("Rome")), result("sunny")], True, ["Rome", "sunny"]),
    "results": (
        [
            USER,
            calling(call("Rome", "call_a"), call("Oslo", "call_b")),
            result("sunny", "call_a"),
            result("rainy", "call_b"),
        ],
        True,
        ["Rome", "sunny", "Oslo", "rainy"],
    ),
}


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("path", collected_templates(), ids=lambda path: path.stem)
def test_collected_template(path: Path, conversation: str) -> None:
    template = read_template(path)
    messages, has_tools, words = CONVERSATIONS[conversation]
    text = template.render(messages, tools=TOOLS if has_tools else None)
    for word in words:
        assert word in text
    for thinking in (True, False):
        template.render(messages, variables={"enable_thinking": thinking})


@pytest.mark.parametrize("path", collected_templates(), ids=lambda path: path.stem)
def test_collected_template_continues(path: Path) -> None:
    template = read_template(path)
    message = {"role": "assistant", "content": "Once upon "}
    assert template.render([USER, message], continued="content").endswith("Once upon ")
