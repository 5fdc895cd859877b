"""Malformed and extreme request bodies, made from valid ones and a seed."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

ANTHROPIC: dict[str, Any] = {
    "model": "m",
    "max_tokens": 4,
    "system": [
        {"type": "text", "text": "Be kind", "cache_control": {"type": "ephemeral"}},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "Rome"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "is_error": False,
                    "content": [{"type": "text", "text": "21"}],
                },
                {
                    "type": "document",
                    "title": "Notes",
                    "source": {"type": "text", "media_type": "text/plain", "data": "Cold."},
                },
            ],
        },
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": CITY, "strict": True}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "summarized"},
    "output_config": {"effort": "low", "format": None},
    "stop_sequences": ["###"],
    "metadata": {"user_id": "u"},
    "top_k": 5,
}

RESPONSE: dict[str, Any] = {
    "model": "m",
    "instructions": "Be kind",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "llamapack:x"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "21"},
    ],
    "tools": [
        {"type": "function", "name": "f", "parameters": CITY, "strict": True},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]},
        {"type": "web_search"},
    ],
    "tool_choice": "auto",
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "text"}, "verbosity": "low"},
    "include": ["message.output_text.logprobs"],
    "truncation": "auto",
    "max_output_tokens": 4,
    "background": False,
    "store": True,
    "previous_response_id": None,
    "metadata": {"a": "b"},
    "prompt_cache_key": "k",
}

OLLAMA_CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Weather?", "images": []},
        {
            "role": "assistant",
            "thinking": "hm",
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"city": "Rome"}}}],
        },
        {"role": "tool", "content": "21", "tool_name": "f", "tool_call_id": "c"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": CITY}}],
    "options": {"num_predict": 4, "num_ctx": 512, "stop": ["###"], "top_k": 5, "num_gpu": -1},
    "format": "",
    "think": False,
    "stream": False,
    "keep_alive": "5m",
    "logprobs": True,
    "top_logprobs": 2,
    "truncate": True,
    "shift": False,
}

OLLAMA_GENERATE: dict[str, Any] = {
    "model": "m",
    "prompt": "One two",
    "system": "Be kind",
    "template": "chatml",
    "context": [5, 6, 7],
    "suffix": "",
    "raw": False,
    "images": [],
    "options": {"num_predict": 4, "temperature": 0.5},
    "format": {"type": "object"},
    "stream": True,
    "keep_alive": 60,
}

OLLAMA_CREATE: dict[str, Any] = {
    "model": "made",
    "from": "demo-target",
    "modelfile": "FROM demo-target\nPARAMETER seed 1\nSYSTEM hi",
    "system": "Be kind",
    "template": "chatml",
    "license": ["MIT"],
    "parameters": {"temperature": 0.5, "stop": ["a"]},
    "messages": [{"role": "user", "content": "Hi"}],
    "stream": False,
}

PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj\n<</Type/Catalog>>\nendobj\n").decode()

PIECES: tuple[dict[str, Any], ...] = (
    {"type": "text", "text": "a"},
    {"type": "input_text", "text": "a"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
    {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    },
    {"type": "document", "source": {"type": "url", "url": "file:///etc/passwd"}},
    {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
    {"type": "input_file", "file_data": "data:text/plain;base64,YQ==", "filename": "a"},
    {"type": "thinking", "thinking": "hm", "signature": ""},
    {"type": "redacted_thinking", "data": "x"},
    {"type": "tool_use", "id": "t2", "name": "g", "input": {"a": [1, {"b": None}]}},
    {"type": "tool_result", "tool_use_id": "t9", "content": []},
    {"type": "mid_conv_system", "content": "a"},
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
    {"type": "item_reference", "id": "msg_0"},
    {"type": "reasoning", "summary": [], "encrypted_content": "llamapack:////"},
    {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "refusal"}]},
    {"type": "function", "name": "f", "parameters": {"$ref": "#/$defs/a", "$defs": {"a": {}}}},
    {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
    {"type": "json_schema", "name": "s", "schema": {"type": "array", "minItems": 9}},
    {"role": "system", "content": "a"},
    {"role": "assistant", "content": None},
    {"background": True, "store": False},
    {"filename": "../a", "text": "\x00"},
)
"""Parts of conversations, right ones and wrong ones."""

VALID: dict[str, dict[str, Any]] = {
    "/chat/completions": {
        "messages": MESSAGES,
        "max_tokens": 4,
        "temperature": 0.5,
        "stop": ["\n"],
        "n": 1,
        "stream": False,
        "logit_bias": {"5": 1},
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    },
    "/v1/completions": {
        "prompt": "One two",
        "max_tokens": 4,
        "n": 1,
        "best_of": 1,
        "logprobs": 2,
        "echo": False,
    },
    "/completion": {
        "prompt": "One two",
        "n_predict": 4,
        "top_k": 40,
        "samplers": ["top_k"],
        "grammar": 'root ::= "a"',
        "json_schema": {},
        "logit_bias": [[5, 1.0]],
        "cache_prompt": True,
        "id_slot": -1,
    },
    "/messages": ANTHROPIC,
    "/messages/count_tokens": ANTHROPIC,
    "/messages/render": ANTHROPIC,
    "/responses": RESPONSE,
    "/responses/input_tokens": RESPONSE,
    "/infill": {
        "input_prefix": "def f(x):\n",
        "input_suffix": "\n",
        "input_extra": [{"filename": "a.py", "text": "x = 1"}],
        "prompt": "    return ",
        "n_predict": 4,
        "n_indent": 1,
        "samplers": ["top_k", "infill"],
    },
    "/chat/completions/control": {"id": "chatcmpl-0", "action": "reasoning_end"},
    "/chat/completions/render": {"messages": MESSAGES, "add_generation_prompt": True},
    "/chat/completions/input_tokens": {"messages": MESSAGES},
    "/completions/render": {"prompt": ["One two", "three"]},
    "/tokenize": {"content": "hello", "add_special": True, "with_pieces": True},
    "/detokenize": {"tokens": [5, 6, 7]},
    "/apply-template": {"messages": MESSAGES},
    "/embeddings": {"input": "hello"},
    "/api/chat": OLLAMA_CHAT,
    "/api/generate": OLLAMA_GENERATE,
    "/api/embed": {
        "model": "m",
        "input": ["hello", "you"],
        "truncate": True,
        "dimensions": 4,
        "options": {"num_ctx": 16},
    },
    "/api/embeddings": {"model": "m", "prompt": "hello"},
    "/api/show": {"model": "demo-target", "verbose": False},
    "/api/create": OLLAMA_CREATE,
    "/api/copy": {"source": "demo-target", "destination": "copied"},
    "/api/push": {"model": "demo-target"},
    "/api/pull": {"model": "demo-target", "stream": False, "insecure": False},
    "/models/download": {"model": "demo-target", "quantization": ""},
    "/models/load": {"model": "demo-target", "context_length": 16, "echo_load_config": True},
    "/models/unload": {"instance_id": "demo-target"},
    "/slots/0?action=erase": {},
    "/props": {},
}
"""Valid bodies, by the end of the path."""

ODD: tuple[Any, ...] = (
    *(None, True, False, "", " ", "a" * 5000, "\x00", "\ud800", "💥" * 300, "-1", "1e9", "NaN"),
    *(0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 1e308, -1e308, 0.1, float("nan")),
    *(float("inf"), float("-inf"), [], {}, [[]], [{}], {"a": {}}, [None], [-1], [2**40], [1.5]),
    *(["a"] * 500, list(range(500)), {"type": "json_schema"}, {"$ref": "#"}, "root ::= root"),
    *('root ::= "a" root', "root ::= ((((", {"pattern": "(a*)*b"}, {"enum": []}, {"not": {}}),
    *({"minItems": 10**9}, {"type": "string", "maxLength": 10**9}, {"-1": 1e9}, {"x": "y"}),
)
"""Values that are wrong for most fields."""


def valid_body(path: str) -> dict[str, Any]:
    """A valid body for a path; the longest matching ending decides."""
    ends = [end for end in VALID if path.endswith(end)]
    return dict(VALID[max(ends, key=len)]) if ends else {"input": "x", "prompt": "x"}


def bodies(path: str, seed: int) -> Iterator[bytes]:
    """An endless sequence of broken bodies for a path; the seed determines the bodies."""
    rng = random.Random(f"{path} {seed}")
    while True:
        body = valid_body(path)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            _change(rng, body)
        yield rng.choices(ENCODINGS, WEIGHTS)[0](rng, body)


def _change(rng: random.Random, body: dict[str, Any]) -> None:
    names = [*body, "stream", "seed", "min_p", "stop", "n_probs", "mirostat", "priority", "unknown"]
    place: Any = body
    name: Any = rng.choice(names)
    # Sometimes go deeper: into the first value of a list or an object.
    while isinstance(place.get(name) if isinstance(place, dict) else None, dict | list):
        if rng.random() < 0.5 or not place[name]:
            break
        inner = place[name]
        if isinstance(inner, list):
            place[name] = [*inner[:-1], rng.choice(ODD)]
            return
        place[name] = dict(inner)
        place, name = place[name], rng.choice([*inner])
    if rng.random() < 0.1:
        place.pop(name, None)
    else:
        place[name] = rng.choice(ODD)


def _json(rng: random.Random, body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def _cut(rng: random.Random, body: Any) -> bytes:
    data = _json(rng, body)
    return data[: rng.randrange(len(data))]


def _flipped(rng: random.Random, body: Any) -> bytes:
    data = bytearray(_json(rng, body))
    for _ in range(rng.randrange(1, 6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def _nested(rng: random.Random, body: Any) -> bytes:
    depth = rng.choice((50, 1000, 20000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return b'{"messages":' + opening * depth + b"1" + closing * depth + b"}"


def _noise(rng: random.Random, body: Any) -> bytes:
    return rng.randbytes(rng.randrange(200))


Encoding = Callable[[random.Random, Any], bytes]
ENCODINGS: tuple[Encoding, ...] = (_json, _cut, _flipped, _nested, _noise)
WEIGHTS = (80, 5, 8, 4, 3)


def extremes() -> Iterator[tuple[str, str, bytes]]:
    """A name, a path and a body for each of the known bad inputs."""
    chat, native = "/v1/chat/completions", "/completion"

    def of(path: str, **fields: Any) -> bytes:
        return json.dumps({**valid_body(path), **fields}).encode()

    for value in (10**6, 2**31, 2**63, 10**30):
        yield f"n of {value}", chat, of(chat, n=value)
        yield f"max_tokens of {value}", chat, of(chat, max_tokens=value, stream=False)
        yield f"n_predict of {value}", native, of(native, n_predict=value)
        yield f"n_probs of {value}", native, of(native, n_probs=value)
        yield f"id_slot of {value}", native, of(native, id_slot=value)
    many = [[token, 1.0] for token in range(500_000)]
    yield "500,000 logit biases", native, of(native, logit_bias=many)
    yield "500,000 logit biases by name", chat, of(chat, logit_bias={str(n): 1 for n, _ in many})
    yield "100,000 stop strings", chat, of(chat, stop=[f"s{n}" for n in range(100_000)])
    yield "100,000 prompts", native, of(native, prompt=["x"] * 100_000)
    yield "100,000 messages", chat, of(chat, messages=MESSAGES * 100_000)
    yield "a million tokens", native, of(native, prompt=[5] * 1_000_000)
    yield "a token beyond the vocabulary", native, of(native, prompt=[2**31 - 1])
    yield "a negative token", native, of(native, prompt=[-5])
    yield "invalid UTF-8", native, b'{"prompt": "\xff\xfe\xc3"}'
    yield "a lone surrogate", native, b'{"prompt": "\\ud800"}'
    yield (
        "a deep schema",
        chat,
        of(chat, response_format={"type": "json_schema", "json_schema": {"schema": _deep(400)}}),
    )
    yield "a wide grammar", native, of(native, grammar=_wide_grammar(20_000))
    yield "a grammar without end", native, of(native, grammar="root ::= root root")
    yield (
        "a regex that explodes",
        native,
        of(native, grammar="", json_schema={"type": "string", "pattern": "^(a|a|a|b)*(a|b){500}$"}),
    )
    yield "100,000 levels", chat, b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def _deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def _wide_grammar(rules: int) -> str:
    lines = [f'r{n} ::= "x{n}" | r{n + 1}' for n in range(rules)]
    return "\n".join(["root ::= r0", *lines, f'r{rules} ::= "end"'])


def huge(mebibytes: int) -> Iterator[tuple[str, str, bytes]]:
    """A name, a path and a body of nearly `mebibytes` MiB for each kind."""
    size = mebibytes * 1024 * 1024 - 1000
    native, chat = "/completion", "/v1/chat/completions"
    kinds = (
        ("text", native, b'{"prompt": "' + b"a b " * (size // 4) + b'"}'),
        ("numbers", native, b'{"prompt": [' + b"5," * (size // 2 - 10) + b"5]}"),
        ("brackets", chat, b'{"messages": ' + b"[" * (size // 2) + b"]" * (size // 2) + b"}"),
        ("objects", chat, b'{"messages": [' + b"{}," * (size // 3 - 10) + b"{}]}"),
        ("blanks", "/tokenize", b" " * size + b"{}"),
        ("text to tokenize", "/tokenize", b'{"content": "' + b"a b " * (size // 4) + b'"}'),
        ("tokens", "/detokenize", b'{"tokens": [' + b"5," * (size // 2 - 10) + b"5]}"),
        ("one key again and again", chat, b"{" + b'"a":1,' * (size // 6 - 10) + b'"b":1}'),
    )
    for name, path, body in kinds:
        yield f"{mebibytes} MiB of {name}", path, body
