"""Built-in templates write what llama.cpp writes for the same name."""

from __future__ import annotations

import ctypes

import pytest
from llama_cpp import llama_cpp as lib

from server.templates.builtin import builtin_names, builtin_template
from server.templates.chat_template import ChatTemplate

Conversation = list[tuple[str, str]]

SYSTEM, USER, ANSWER = ("system", "be brief"), ("user", "hello"), ("assistant", "hi")
MORE, REST, RESULT = ("user", "and 2+2?"), ("assistant", "4"), ("tool", "it is 4")
CONVERSATIONS: dict[str, Conversation] = {
    "user": [USER],
    "system": [SYSTEM, USER],
    "second question": [USER, ANSWER, MORE],
    "all": [SYSTEM, USER, ANSWER, MORE, REST, MORE],
    "ends with an answer": [SYSTEM, USER, ANSWER],
    "result of a tool": [USER, ANSWER, RESULT, REST, MORE],
    "spaces": [(role, f" {text} \n") for role, text in (SYSTEM, USER, ANSWER, MORE)],
    "two systems": [SYSTEM, ("system", "and kind"), USER],
    "late system": [USER, ANSWER, SYSTEM, MORE],
    "quotes and braces": [("user", 'it\'s "{{ x }}" {% if %} \\n ü 😀'), ANSWER, USER],
}


def names_of_llama_cpp() -> list[str]:
    count = lib.llama_chat_builtin_templates(None, 0)
    names = (ctypes.c_char_p * count)()
    lib.llama_chat_builtin_templates(names, count)
    return [name.decode() for name in names if name]


def of_llama_cpp(name: str, conversation: Conversation, add_prompt: bool) -> str:
    messages = (lib.llama_chat_message * len(conversation))(
        *(lib.llama_chat_message(role.encode(), text.encode()) for role, text in conversation)
    )
    buffer = ctypes.create_string_buffer(1 << 14)
    length = lib.llama_chat_apply_template(
        name.encode(), messages, len(conversation), add_prompt, buffer, len(buffer)
    )
    assert 0 <= length < len(buffer)
    return buffer.raw[:length].decode()


def test_every_name_of_llama_cpp_is_known() -> None:
    assert sorted(builtin_names()) == sorted(names_of_llama_cpp())


@pytest.mark.parametrize("name", builtin_names())
@pytest.mark.parametrize("kind", CONVERSATIONS)
def test_a_name_means_what_it_means_to_llama_cpp(name: str, kind: str) -> None:
    source = builtin_template(name)
    assert source is not None
    template = ChatTemplate(source).for_tools(False)
    conversation = CONVERSATIONS[kind]
    for add_prompt in (True, False):
        if name == "rwkv-world" and add_prompt == (conversation[-1][0] == "assistant"):
            continue  # llama.cpp looks at the last message there, not at the wish
        messages = [{"role": role, "content": text} for role, text in conversation]
        ours = template.render({"messages": messages, "add_generation_prompt": add_prompt})
        assert ours == of_llama_cpp(name, conversation, add_prompt)


@pytest.mark.parametrize("text", ["{{ messages[0].content }}", "llama33", "", "CHATML"])
def test_any_other_text_is_no_name(text: str) -> None:
    assert builtin_template(text) is None
