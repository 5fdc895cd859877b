"""llama.cpp's built-in chat templates by name, as Jinja templates of our own.

Most of them put a text before and after each message. Two kinds do more. Some have no system
message: its text moves into the next message of the user. Others open a turn, which holds the
system message and the user's, and close it after the answer.
"""

# ruff: noqa: RUF001 (some models write their marks with characters of full width)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

_ROLES = ("system", "user", "assistant", "tool")
_ALL = frozenset(_ROLES)

Around = tuple[str, str]
"""The texts before and after a message."""


class _Form(Protocol):
    def source(self) -> str:
        """The Jinja template."""
        ...


@dataclass(frozen=True, slots=True)
class _Framed:
    """A text before and after each message. A role without texts is left out."""

    around: Mapping[str, Around]
    prompt: str
    """What opens the answer."""
    lead: str = ""
    lead_without_system: str = ""
    """Replaces `lead` where the first message is not a system message."""
    trimmed: frozenset[str] = frozenset()
    system_first: bool = False
    """Whether only a system message at the beginning counts."""
    separator: str = ""
    """Stands before every message but the first."""

    def source(self) -> str:
        lead = _text(self.lead)
        if self.lead_without_system:
            lead += (
                "{%- if not messages or messages[0].role != 'system' -%}"
                f"{_text(self.lead_without_system)}{{%- endif -%}}"
            )
        between = ""
        if self.separator:
            between = f"{{%- if not loop.first -%}}{_text(self.separator)}{{%- endif -%}}"
        return f"{lead}{_each(self._cases(), between)}{_answer(self.prompt)}"

    def _cases(self) -> dict[str, str]:
        cases = {}
        for role, (before, after) in self.around.items():
            content = _content(trimmed=role in self.trimmed)
            written = f"{_text(before)}{content}{_text(after)}"
            if role == "system" and self.system_first:
                written = f"{{%- if loop.first -%}}{written}{{%- endif -%}}"
            cases[role] = written
        return cases


@dataclass(frozen=True, slots=True)
class _Merged:
    """As `_Framed`; the system message's text stands at the beginning of the next user's."""

    around: Mapping[str, Around]
    prompt: str
    is_trimmed: bool = False

    def source(self) -> str:
        content = _content(trimmed=self.is_trimmed)
        text = "message.content | trim" if self.is_trimmed else "message.content"
        cases = {"system": f"{{%- set held.text = held.text + ({text}) -%}}"}
        for role, (before, after) in self.around.items():
            if role == "system":
                continue
            held = (
                "{%- if held.text -%}{{- held.text + '\\n\\n' -}}{%- endif -%}"
                "{%- set held.text = '' -%}"
            )
            held = held if role == "user" else ""
            cases[role] = f"{_text(before)}{held}{content}{_text(after)}"
        return f"{{%- set held = namespace(text='') -%}}{_each(cases)}{_answer(self.prompt)}"


@dataclass(frozen=True, slots=True)
class _Turns:
    """A turn is opened by its first message, and closed by an answer."""

    first: str
    later: str
    system: Around
    user_end: str
    answer: str = ""
    trimmed: frozenset[str] = frozenset()

    def source(self) -> str:
        system, user, answer = (
            _content(trimmed=role in self.trimmed) for role in ("system", "user", "assistant")
        )
        closed = f"{_text(self.answer)}{answer}{_text('</s>')}{{%- set turn.open = false -%}}"
        cases = {
            "system": f"{_text(self.system[0])}{system}{_text(self.system[1])}",
            "user": f"{user}{_text(self.user_end)}",
            "assistant": closed,
            "tool": closed,
        }
        opened = (
            "{%- if not turn.open -%}"
            f"{{%- if loop.first -%}}{_text(self.first)}{{%- else -%}}{_text(self.later)}"
            "{%- endif -%}{%- set turn.open = true -%}{%- endif -%}"
        )
        return f"{{%- set turn = namespace(open=false) -%}}{_each(cases, opened)}"


def builtin_template(name: str) -> str | None:
    """The Jinja template of that name; None for a text that is no name."""
    form = _FORMS.get(name)
    return None if form is None else form.source()


def builtin_names() -> tuple[str, ...]:
    """The names of all built-in templates."""
    return tuple(_FORMS)


def _text(text: str) -> str:
    return f"{{{{- {text!r} -}}}}" if text else ""


def _content(*, trimmed: bool) -> str:
    return "{{- message.content | trim -}}" if trimmed else "{{- message.content -}}"


def _each(cases: Mapping[str, str], before: str = "") -> str:
    body = "".join(
        f"{{%- {'elif' if index else 'if'} message.role == {role!r} -%}}{written}"
        for index, (role, written) in enumerate(cases.items())
    )
    return f"{{%- for message in messages -%}}{before}{body}{{%- endif -%}}{{%- endfor -%}}"


def _answer(prompt: str) -> str:
    if not prompt:
        return ""
    return f"{{%- if add_generation_prompt -%}}{_text(prompt)}{{%- endif -%}}"


def _named(before: str, after: str, names: Mapping[str, str] | None = None) -> dict[str, Around]:
    """The same texts for every role, with its name for ROLE."""
    called = {role: (names or {}).get(role, role) for role in _ROLES}
    return {role: (before.replace("ROLE", name), after) for role, name in called.items()}


def _same(
    before: str, after: str, prompt: str = "", trimmed: frozenset[str] = frozenset()
) -> _Framed:
    answer = prompt or before.replace("ROLE", "assistant")
    return _Framed(_named(before, after), answer, trimmed=trimmed)


def _three(system: Around, user: Around, assistant: Around) -> dict[str, Around]:
    """Texts of a form that leaves out the results of tools."""
    return {"system": system, "user": user, "assistant": assistant}


def _bailing(prompt: str, end: str = "", lead: str = "") -> _Framed:
    names = {"system": "SYSTEM", "user": "HUMAN", "assistant": "ASSISTANT", "tool": "TOOL"}
    around = _named("<role>ROLE</role>", end, names)
    return _Framed(around, prompt, lead_without_system=lead)


def _llama2(later: str, system: Around, trimmed: frozenset[str] = frozenset()) -> _Turns:
    return _Turns("[INST] ", later, system, " [/INST]", trimmed=trimmed)


_EXAONE = (
    ("[|system|]", "[|endofturn|]\n"),
    ("[|user|]", "\n"),
    ("[|assistant|]", "[|endofturn|]\n"),
)
_GRANITE = _same("<|start_of_role|>ROLE<|end_of_role|>", "<|end_of_text|>\n")
_SYS = ("<<SYS>>\n", "\n<</SYS>>\n\n")
_SOS, _EOS = "<s>", "</s>"
_DEEPSEEK_END = "<｜end▁of▁sentence｜>"
_COMMAND_R = "<|START_OF_TURN_TOKEN|><|{}_TOKEN|>", "<|END_OF_TURN_TOKEN|>"
_GIGACHAT_TOOLS = "<|message_sep|>available functions<|role_sep|>[]<|message_sep|>"
_PANGU = {"system": "系统", "user": "用户", "assistant": "助手", "tool": "工具"}
_GEMMA = _named("<start_of_turn>ROLE\n", "<end_of_turn>\n", {"assistant": "model"})
_SMOLVLM = ("Assistant: ", "<end_of_utterance>\n")
_KIMI = _named("<|im_ROLE|>ROLE<|im_middle|>", "<|im_end|>")
_OPENCHAT = _named(
    "GPT4 Correct ROLE: ",
    "<|end_of_turn|>",
    {"user": "User", "assistant": "Assistant", "tool": "Tool"},
)

_FORMS: dict[str, _Form] = {
    "bailing": _bailing("<role>ASSISTANT</role>"),
    "bailing-think": _bailing("<role>ASSISTANT</role><think>"),
    "bailing2": _bailing(
        "<role>ASSISTANT</role>",
        "<|role_end|>",
        "<role>SYSTEM</role>detailed thinking off<|role_end|>",
    ),
    "chatglm3": _Framed(_named("<|ROLE|>\n ", ""), "<|assistant|>", "[gMASK]sop"),
    "chatglm4": _Framed(_named("<|ROLE|>\n", ""), "<|assistant|>\n", "[gMASK]<sop>"),
    "chatml": _same("<|im_start|>ROLE\n", "<|im_end|>\n"),
    "command-r": _Framed(
        {
            role: (_COMMAND_R[0].format(name), _COMMAND_R[1])
            for role, name in (("system", "SYSTEM"), ("user", "USER"), ("assistant", "CHATBOT"))
        },
        _COMMAND_R[0].format("CHATBOT"),
        trimmed=_ALL,
    ),
    "deepseek": _Framed(
        _three(("", ""), ("### Instruction:\n", "\n"), ("### Response:\n", "\n<|EOT|>\n")),
        "### Response:\n",
    ),
    "deepseek-ocr": _Framed(dict.fromkeys(_ROLES, ("", "")), ""),
    "deepseek2": _Framed(
        _three(("", "\n\n"), ("User: ", "\n\n"), ("Assistant: ", _DEEPSEEK_END)), "Assistant:"
    ),
    "deepseek3": _Framed(
        _three(("", "\n\n"), ("<｜User｜>", ""), ("<｜Assistant｜>", _DEEPSEEK_END)),
        "<｜Assistant｜>",
    ),
    "exaone-moe": _same("<|ROLE|>\n", "<|endofturn|>\n", trimmed=_ALL),
    "exaone3": _Framed(_three(*_EXAONE), "[|assistant|]", trimmed=_ALL),
    "exaone4": _Framed(
        _three(*_EXAONE) | {"tool": ("[|tool|]", "[|endofturn|]\n")}, "[|assistant|]", trimmed=_ALL
    ),
    "falcon3": _same("<|ROLE|>\n", "\n"),
    "gemma": _Merged(_GEMMA, "<start_of_turn>model\n", is_trimmed=True),
    "gigachat": _Framed(
        _three(
            ("", "<|message_sep|>"),
            ("user<|role_sep|>", _GIGACHAT_TOOLS),
            ("assistant<|role_sep|>", "<|message_sep|>"),
        ),
        "assistant<|role_sep|>",
        _SOS,
        system_first=True,
    ),
    "glmedge": _same("<|ROLE|>\n", "", "<|assistant|>"),
    "gpt-oss": _Framed(
        _named("<|start|>ROLE<|message|>", "<|end|>")
        | {"assistant": ("<|start|>assistant<|message|>", "<|return|>")},
        "<|start|>assistant",
    ),
    "granite": _GRANITE,
    "granite-4.0": _GRANITE,
    "granite-4.1": _GRANITE,
    "grok-2": _Framed(
        _three(*((f"{name}: ", "<|separator|>\n\n") for name in ("System", "Human", "Assistant"))),
        "Assistant:",
        trimmed=frozenset(("system", "user")),
    ),
    "hunyuan-dense": _Framed(
        _three(
            ("", "<｜hy_place▁holder▁no▁3｜>"),
            ("<｜hy_User｜>", "<｜hy_Assistant｜>"),
            ("<｜hy_Assistant｜>", "<｜hy_place▁holder▁no▁2｜>"),
        ),
        "",
        system_first=True,
    ),
    "hunyuan-moe": _Framed(
        {
            "system": ("<|startoftext|>", "<|extra_4|>"),
            "user": ("<|startoftext|>", "<|extra_0|>"),
            "assistant": ("", "<|eos|>"),
            "tool": ("<|startoftext|>", "<|extra_0|>"),
        },
        "",
    ),
    "hunyuan-vl": _Framed(
        _three(
            ("", "<｜hy_place▁holder▁no▁3｜>"), ("", "<｜hy_User｜>"), ("", "<｜hy_Assistant｜>")
        ),
        "",
        "<｜hy_begin▁of▁sentence｜>",
        system_first=True,
    ),
    "kimi-k2": _Framed(
        _KIMI | {"tool": ("<|im_system|>tool<|im_middle|>", "<|im_end|>")},
        "<|im_assistant|>assistant<|im_middle|>",
    ),
    "llama2": _llama2("[INST] ", ("", "\n")),
    "llama2-sys": _llama2("[INST] ", _SYS),
    "llama2-sys-bos": _llama2("<s>[INST] ", _SYS),
    "llama2-sys-strip": _llama2("[INST] ", _SYS, _ALL),
    "llama3": _same("<|start_header_id|>ROLE<|end_header_id|>\n\n", "<|eot_id|>", trimmed=_ALL),
    "llama4": _same("<|header_start|>ROLE<|header_end|>\n\n", "<|eot|>", trimmed=_ALL),
    "megrez": _same("<|role_start|>ROLE<|role_end|>", "<|turn_end|>"),
    "minicpm": _Framed(
        dict.fromkeys(_ROLES, ("", "")) | {"user": ("<用户>", "<AI>")}, "", trimmed=_ALL
    ),
    "mistral-v1": _Turns(" [INST] ", " [INST] ", ("", "\n\n"), " [/INST]", " "),
    "mistral-v3": _Turns(
        "[INST] ", "[INST] ", ("", "\n\n"), "[/INST]", " ", frozenset(("assistant",))
    ),
    "mistral-v3-tekken": _Turns("[INST]", "[INST]", ("", "\n\n"), "[/INST]"),
    "mistral-v7": _Framed(
        {
            "system": ("[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"),
            "user": ("[INST] ", "[/INST]"),
            "assistant": (" ", _EOS),
            "tool": (" ", _EOS),
        },
        "",
    ),
    "mistral-v7-tekken": _Framed(
        {
            "system": ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
            "user": ("[INST]", "[/INST]"),
            "assistant": ("", _EOS),
            "tool": ("", _EOS),
        },
        "",
    ),
    "monarch": _Framed(_named("ROLE\n", "</s>\n"), "<s>assistant\n", separator=_SOS),
    "openchat": _Framed(_OPENCHAT | {"system": ("", "<|end_of_turn|>")}, "GPT4 Correct Assistant:"),
    "orion": _Merged(
        {
            "user": ("Human: ", "\n\nAssistant: </s>"),
            "assistant": ("", _EOS),
            "tool": ("", _EOS),
        },
        "",
    ),
    "pangu-embedded": _Framed(
        _named("[unused9]ROLE：", "[unused10]", _PANGU),
        "[unused9]助手：",
        lead_without_system="[unused9]系统：[unused10]",
    ),
    "phi3": _same("<|ROLE|>\n", "<|end|>\n"),
    "phi4": _same("<|im_start|>ROLE<|im_sep|>", "<|im_end|>"),
    "rwkv-world": _Framed(
        _three(("System: ", "\n\n"), ("User: ", "\n\n"), ("Assistant: ", "\n\n")),
        "Assistant:",
        trimmed=_ALL,
    ),
    "seed_oss": _Framed(
        _named("<seed:bos>ROLE\n", "<seed:eos>"),
        "<seed:bos>assistant\n",
        trimmed=frozenset(("assistant",)),
    ),
    "smolvlm": _Framed(
        {
            "system": ("", "\n\n"),
            "user": ("User: ", "<end_of_utterance>\n"),
            "assistant": _SMOLVLM,
            "tool": _SMOLVLM,
        },
        "Assistant:",
        "<|im_start|>",
    ),
    "solar-open": _same("<|begin|>ROLE<|content|>", "<|end|>", "<|begin|>assistant"),
    "vicuna": _Framed(
        _three(("", "\n\n"), ("USER: ", "\n"), ("ASSISTANT: ", "</s>\n")), "ASSISTANT:"
    ),
    "vicuna-orca": _Framed(
        _three(("SYSTEM: ", "\n"), ("USER: ", "\n"), ("ASSISTANT: ", "</s>\n")), "ASSISTANT:"
    ),
    "yandex": _Framed(
        {"user": (" Пользователь: ", "\n\n"), "assistant": (" Ассистент: ", "\n\n")},
        " Ассистент:[SEP]",
    ),
    "zephyr": _same("<|ROLE|>\n", "<|endoftext|>\n"),
}
