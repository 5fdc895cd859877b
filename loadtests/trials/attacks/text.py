"""Texts that llama.cpp's tokenizers can't split: long runs of characters of one class."""

from __future__ import annotations

from loadtests.trials.attacks.attack import CHAT, NATIVE, Attack, Setting, Target, completion, posts

NUMBER = 1
_WIDE = ("-c", "32768")  # 4,096 tokens a slot, so that the texts are split at all


def _setting(pre: str) -> Setting:
    return Setting((*_WIDE, "--override-kv", f"tokenizer.ggml.pre=str:{pre}"))


_TEKKEN, _GPT_4O = _setting("tekken"), _setting("gpt-4o")


def _message(text: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 1}


async def _every_route(target: Target) -> None:
    """The same text wherever a text is split."""
    text = "a" * 60_000
    for path, body in (
        ("/tokenize", {"content": text}),
        ("/apply-template", _message(text)),
        ("/v1/chat/completions/input_tokens", _message(text)),
        ("/v1/completions", {"prompt": text, "max_tokens": 1}),
        (NATIVE, completion(prompt=["a", text])),
        (NATIVE, completion(logit_bias=[[text, 1.0]])),
        (NATIVE, completion(dry_multiplier=1.0, dry_sequence_breakers=[text[:4000]])),
        (CHAT, {**_message("Hi"), "tools": [_tool(text)]}),
        (CHAT, {**_message("Hi"), "stop": [text[:4000]]}),
    ):
        await target.post(path, body)


def _tool(text: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": "f", "description": text, "parameters": {}}}


ATTACKS = (
    Attack(NUMBER, "40,000 letters, tekken", posts(CHAT, _message("a" * 40_000)), _TEKKEN),
    Attack(NUMBER, "60,000 letters on every route, tekken", _every_route, _TEKKEN),
    Attack(
        NUMBER,
        "50,000 ideographs, tekken",
        posts("/tokenize", {"content": "\u4e2d" * 50_000}),
        _TEKKEN,
    ),
    Attack(
        NUMBER,
        "400,000 letters of both cases, tekken",
        posts("/tokenize", {"content": "aB" * 200_000}, 4),
        _TEKKEN,
    ),
    Attack(
        NUMBER,
        "100,000 spaces and line ends, tekken",
        posts("/tokenize", {"content": " \n" * 50_000}, 4),
        _TEKKEN,
    ),
    Attack(NUMBER, "40,000 letters, gpt-4o", posts(CHAT, _message("a" * 40_000), 4), _GPT_4O),
    Attack(
        NUMBER,
        "100,000 combining marks, gpt-4o",
        posts("/tokenize", {"content": "e" + "\u0301" * 100_000}),
        _GPT_4O,
    ),
    Attack(
        NUMBER,
        "a million letters, the model's own splitting",
        posts("/tokenize", {"content": "a" * 1_000_000}),
    ),
)
