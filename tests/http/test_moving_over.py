"""What clients of llama-server count on: names, shapes and numbers that must not change."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from config import ServeSettings
from server.access.key_ring import KeyRing, read_keys
from server.app import create_app
from server.generation.timings import timings_json
from server.generation.types import Timings
from tests.support.fake_server import MODEL_NAME, FakeServer, make_server

pytestmark = pytest.mark.anyio

MESSAGES = [{"role": "user", "content": "a"}]


@asynccontextmanager
async def client_of(server: FakeServer, *keys: str) -> AsyncIterator[httpx.AsyncClient]:
    ring = KeyRing(read_keys(ServeSettings(api_key=keys)))
    app = create_app(server.context, keys=ring)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


# --- the name of the model ---------------------------------------------------------------

BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": MESSAGES}),
    ("/v1/completions", {"prompt": "a"}),
    ("/completion", {"prompt": "a"}),
]


SILLY_TAVERN: dict[str, Any] = {
    "prompt": "a",
    "max_new_tokens": 4,
    "max_tokens": 4,
    "n_predict": 4,
    "num_predict": 4,
    "num_ctx": 8192,
    "truncation_length": 8192,
    "n": 1,
    "temperature": 1,
    "top_p": 0.95,
    "top_k": 0,
    "top_a": 0,
    "tfs": 1,
    "typical_p": 1,
    "typical": 1,
    "min_p": 0.01,
    "min_keep": 0,
    "min_tokens": 0,
    "nsigma": 0,
    "top_n_sigma": 0,
    "rep_pen": 1.1,
    "rep_pen_range": 0,
    "rep_pen_slope": 1,
    "repetition_penalty_range": 0,
    "repeat_penalty": 1.1,
    "repeat_last_n": 0,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "xtc_threshold": 0.1,
    "xtc_probability": 0,
    "adaptive_target": -0.01,
    "adaptive_decay": 0.9,
    "smoothing_factor": 0,
    "smoothing_curve": 1,
    "dry_allowed_length": 2,
    "dry_multiplier": 0,
    "dry_base": 1.75,
    "dry_sequence_breakers": ["\n", ":", '"', "*"],
    "dry_penalty_last_n": 0,
    "mirostat": 0,
    "mirostat_mode": 0,
    "mirostat_tau": 5,
    "mirostat_eta": 0.1,
    "samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "tfs_z", "typical_p", "xtc",
                 "top_p", "min_p", "temperature"],
    "stop": ["\nUser:"],
    "stopping_strings": ["\nUser:"],
    "add_bos_token": True,
    "ban_eos_token": False,
    "ignore_eos": False,
    "skip_special_tokens": True,
    "include_reasoning": True,
    "guidance_scale": 1,
    "negative_prompt": "",
    "custom_token_bans": "",
    "banned_strings": [],
    "logit_bias": [[5, False]],
    "grammar": "",
    "cache_prompt": True,
    "api_type": "llamacpp",
    "api_server": "http://127.0.0.1:8080",
}  # fmt: skip
"""The fields that SillyTavern sends to llama.cpp, with the values of its default preset."""


@pytest.mark.parametrize("stream", [False, True])
async def test_sillytavern_and_its_default_preset(client: httpx.AsyncClient, stream: bool) -> None:
    answer = await client.post("/completion", json={**SILLY_TAVERN, "stream": stream})
    assert answer.status_code == 200, answer.text
    if not stream:
        chain = ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "xtc", "top_p", "min_p"]
        settings = answer.json()["generation_settings"]
        assert settings["samplers"] == [*chain, "temperature"]
        assert settings["max_tokens"] == 4


@pytest.mark.parametrize("name", ["gpt-4o-mini", "models/other.gguf", "", "local model", "ä"])
@pytest.mark.parametrize(("path", "body"), BODIES)
async def test_any_model_name_means_the_served_model(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], name: str
) -> None:
    answer = await client.post(path, json={**body, "model": name})
    assert answer.status_code == 200
    assert answer.json()["model"] == MODEL_NAME


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (None, 200),
        (MODEL_NAME, 200),
        ("fake.gguf", 200),
        ("gpt-4o-mini", 404),
        ("fake-model2", 404),
    ],
)
async def test_a_strict_server_knows_its_own_names_only(name: str | None, status: int) -> None:
    async with client_of(make_server(ServeSettings(strict_model=True))) as client:
        for path, body in BODIES[:2]:
            answer = await client.post(path, json={**body, "model": name})
            assert answer.status_code == status
            if status == 404:
                assert answer.json()["error"]["param"] == "model"


# --- pages of other origins --------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "origin", "is_let_in"),
    [
        ("localhost", "http://localhost", True),
        ("localhost", "https://localhost:5173", True),
        ("localhost", "http://127.0.0.1:1", True),
        ("localhost", "https://[::1]", True),
        ("localhost", "http://[::1]:65535", True),
        ("localhost", "http://localhost.evil.example", False),
        ("localhost", "http://127.0.0.10", False),
        ("localhost", "http://[::11]:80", False),
        ("localhost", "http://localhost:80@evil.example", False),
        ("localhost", "ftp://localhost", False),
        ("localhost", "null", False),
        ("app.example", "https://app.example", True),
        ("App.Example", "http://app.example:3000", True),
        ("app.example", "https://www.app.example", False),
        ("app.example", "https://app.example.evil", False),
        ("app.example:3000", "http://app.example:3000", True),
        ("app.example:3000", "http://app.example:3001", False),
        ("192.168.0.7", "http://192.168.0.7:8000", True),
        ("https://app.example", "https://app.example", True),
        ("https://app.example:443", "https://app.example", True),
        ("https://app.example", "http://app.example", False),
        ("https://app.example", "https://app.example:8443", False),
        ("app://desktop", "app://desktop", True),
        ("*", "https://anything.example:1", True),
        ("*", "null", True),
        ("localhost,https://a.example", "https://a.example", True),
        ("localhost,https://a.example", "http://localhost:9", True),
        ("localhost,https://a.example", "https://b.example", False),
        ("", "http://localhost", False),
    ],
)
async def test_an_allowed_origin_is_named_back(allowed: str, origin: str, is_let_in: bool) -> None:
    settings = ServeSettings.model_validate({"cors_origins": allowed})
    expected = origin if is_let_in else None
    async with client_of(make_server(settings), "secret") as client:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for path in ("/completion", "/v1/chat/completions", "/slots/0", "/nothing"):
            preflight = await client.options(path, headers=asked)
            assert preflight.status_code == 200
            assert preflight.content == b""
            assert preflight.headers.get("access-control-allow-origin") == expected
        for key, status in (("secret", 200), ("wrong", 401)):
            headers = {"Origin": origin, "X-Api-Key": key}
            answer = await client.get("/props", headers=headers)
            assert answer.status_code == status
            assert answer.headers.get("access-control-allow-origin") == expected


@pytest.mark.parametrize(
    ("settings", "wanted", "methods", "headers"),
    [
        ({}, "", "GET, POST, DELETE, OPTIONS", "*"),
        ({}, "x-a", "GET, POST, DELETE, OPTIONS", "*"),
        ({}, "x-a,authorization", "GET, POST, DELETE, OPTIONS", "*, authorization"),
        ({"cors_methods": "POST"}, "", "POST", "*"),
        ({"cors_methods": "get,PUT", "cors_headers": "X-A,X-B"}, "x-c", "get, PUT", "X-A, X-B"),
        ({"cors_credentials": True}, "x-a,x-b", "GET, POST, DELETE, OPTIONS", "x-a, x-b"),
    ],
)
async def test_preflights_tell_what_is_configured(
    settings: dict[str, Any], wanted: str, methods: str, headers: str
) -> None:
    server = make_server(ServeSettings.model_validate({"cors_origins": "a.example", **settings}))
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    if wanted:
        asked["Access-Control-Request-Headers"] = wanted
    async with client_of(server, "secret") as client:
        preflight = await client.options("/completion", headers=asked)
    assert preflight.headers["access-control-allow-methods"] == methods
    assert preflight.headers["access-control-allow-headers"] == headers


@pytest.mark.parametrize("prefix", ["", "/llm"])
@pytest.mark.parametrize("path", ["/", "/health", "/v1/health", "/livez", "/readyz"])
async def test_open_paths_need_no_key(prefix: str, path: str) -> None:
    async with client_of(make_server(ServeSettings(api_prefix=prefix)), "secret") as client:
        assert (await client.get(prefix + path)).status_code == 200
        assert (await client.get(prefix + "/props")).status_code == 401


# --- the name of the build ---------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body"), BODIES[:2])
async def test_the_fingerprint_is_a_build_number(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], stream: bool
) -> None:
    answer = await client.post(path, json={**body, "stream": stream})
    found = re.findall(r'"system_fingerprint":"([^"]*)"', answer.text)
    props = (await client.get("/props")).json()
    for fingerprint in [*found, props["build_info"]]:
        assert re.match(r"b[0-9]+-[^ ]+", fingerprint)
    assert len(set(found)) == 1


# --- settings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ({"seed": 42}, "seed", 42),
        ({"seed": 0}, "seed", 0),
        ({}, "seed", 2**32 - 1),
        ({"temp": 0.25}, "temperature", 0.25),
        ({"top_k": 7}, "top_k", 7),
        ({"min_p": 0.5}, "min_p", 0.5),
        ({"repeat_penalty": 1.5}, "repeat_penalty", 1.5),
        ({"samplers": "top_k;min_p"}, "samplers", ["top_k", "min_p"]),
        ({"ignore_eos": True}, "ignore_eos", True),
        ({"reasoning_format": "none"}, "reasoning_format", "none"),
        ({"n_predict": 9}, "n_predict", 9),
        ({"keep": 3, "context_shift": True}, "n_keep", 3),
    ],
)
async def test_props_show_the_servers_own_settings(
    settings: dict[str, Any], field: str, value: Any
) -> None:
    async with client_of(make_server(ServeSettings.model_validate(settings))) as client:
        props = (await client.get("/props")).json()
    assert props["default_generation_settings"]["params"][field] == value


async def test_props_and_answers_have_the_same_settings(client: httpx.AsyncClient) -> None:
    props = (await client.get("/props")).json()["default_generation_settings"]["params"]
    answer = (await client.post("/completion", json={"prompt": "a"})).json()
    assert set(props) == set(answer["generation_settings"])


@pytest.mark.parametrize(
    ("given", "tags"),
    [("chat", ["chat"]), ("chat, fim,small", ["chat", "fim", "small"]), ("", [])],
)
async def test_tags_are_listed(given: str, tags: list[str]) -> None:
    async with client_of(make_server(ServeSettings.model_validate({"tags": given}))) as client:
        [model] = (await client.get("/v1/models")).json()["data"]
    assert model["tags"] == tags


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["generation_settings/temperature"], {"generation_settings/temperature": 0.8}),
        (
            ["timings/predicted_n", "generation_settings/stop", "stop_type"],
            {"timings/predicted_n": 4, "generation_settings/stop": ["x"], "stop_type": "eos"},
        ),
        (
            ["generation_settings/reasoning_format"],
            {"generation_settings/reasoning_format": "auto"},
        ),
        (["generation_settings/n_predict/x", "no/such", "content/x", ""], {}),
        (["index", "index"], {"index": 0}),
    ],
)
async def test_response_fields_reach_nested_fields(
    client: httpx.AsyncClient, fields: list[str], expected: dict[str, Any]
) -> None:
    body = {"prompt": "a", "stop": "x", "response_fields": fields}
    assert (await client.post("/completion", json=body)).json() == expected


# --- timings and progress ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicted_n", "predicted_ms", "per_token_ms", "per_second"),
    [
        (0, 0.0, 0.0, 0.0),
        (1, 0.0, 0.0, 0.0),
        (1, 8.0, 0.0, 0.0),
        (2, 8.0, 8.0, 125.0),
        (5, 80.0, 20.0, 50.0),
        (101, 1000.0, 10.0, 100.0),
    ],
)
async def test_rates_leave_out_the_first_token(
    predicted_n: int, predicted_ms: float, per_token_ms: float, per_second: float
) -> None:
    shown = timings_json(Timings(1, 2, 4.0, predicted_n, predicted_ms))
    assert (shown["predicted_n"], shown["predicted_ms"]) == (predicted_n, predicted_ms)
    assert shown["predicted_per_token_ms"] == pytest.approx(per_token_ms)
    assert shown["predicted_per_second"] == pytest.approx(per_second)
    assert shown["prompt_per_second"] == pytest.approx(500)


@pytest.mark.parametrize(("path", "body"), BODIES)
async def test_progress_comes_with_timings(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    prompt = {"prompt": "abcdef"} if "prompt" in body else {}
    body = {**body, **prompt, "stream": True, "return_progress": True}
    lines = (await client.post(path, json=body)).text.split("\n\n")
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    found = [event for event in events if "prompt_progress" in event]
    assert found
    for event in found:
        progress, timings = event["prompt_progress"], event["timings"]
        assert timings["cache_n"] == progress["cache"]
        assert timings["prompt_n"] == progress["processed"] - progress["cache"]
        assert timings["prompt_ms"] == progress["time_ms"]
        assert timings["predicted_n"] == 0


# --- a full context ----------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("length", [128, 129, 1000, 100_000])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/completion"])
async def test_too_long_a_prompt_says_so_in_known_words(
    client: httpx.AsyncClient, path: str, length: int, stream: bool
) -> None:
    text = "a" * length
    prompt = (
        {"messages": [{"role": "user", "content": text}]} if "chat" in path else {"prompt": text}
    )
    answer = await client.post(path, json={**prompt, "stream": stream})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "exceed_context_size_error")
    assert "exceeds the available context size (128 tokens)" in error["message"]
    assert error["n_ctx"] == 128


# --- verbose answers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verbosity", "fields", "is_verbose"),
    [
        (3, {"verbose": True}, True),
        (3, {"verbose": True, "stream": True}, True),
        (3, {"verbose": False}, False),
        (3, {"verbose": None, "stream": True}, False),
        (4, {}, False),
        (5, {}, True),
        (9, {"stream": True}, True),
        (5, {"verbose": False}, False),
    ],
)
@pytest.mark.parametrize(("path", "body"), BODIES[:2])
async def test_verbose_answers_tell_prompt_and_settings(
    path: str, body: dict[str, Any], verbosity: int, fields: dict[str, Any], is_verbose: bool
) -> None:
    body = {**body, **fields, "temperature": 0.5, "n": 2, "seed": 7}
    async with client_of(make_server(ServeSettings(verbosity=verbosity))) as client:
        answer = await client.post(path, json=body)
    found = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line[:7] == "data: {"]
    records = [event["__verbose"] for event in found or [answer.json()] if "__verbose" in event]
    assert len(records) == (is_verbose and 1 + bool(found))
    for record in records:
        assert record["prompt"].startswith("<s>")
        assert record["generation_settings"]["temperature"] == 0.5
        assert record["generation_settings"]["seed"] == 7 + record["index"]
        assert record["content"] == ("" if found else "Hello, world\n")
        assert record["stop_type"] == "eos"


# --- counting tokens ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"messages": MESSAGES},
        {"messages": [{"role": "system", "content": "x"}, *MESSAGES], "model": "any"},
        {"messages": MESSAGES, "add_generation_prompt": False},
        {"messages": [*MESSAGES, {"role": "assistant", "content": "ä😀"}]},
    ],
)
@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_input_tokens_are_those_of_the_prompt(
    client: httpx.AsyncClient, server: FakeServer, body: dict[str, Any], prefix: str
) -> None:
    path = f"{prefix}/chat/completions"
    counted = await client.post(f"{path}/input_tokens", json=body)
    assert not server.generator.opened
    answer = await client.post(path, json=body)
    assert answer.status_code == 200
    expected = answer.json()["usage"]["prompt_tokens"]
    assert counted.json() == {"input_tokens": expected, "object": "response.input_tokens"}


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"role": "user", "content": "a" * 1000}], 200),
        ([], 400),
        ([{"role": "user"}], 400),
        (None, 400),
    ],
)
async def test_long_prompts_are_counted_and_wrong_ones_refused(
    client: httpx.AsyncClient, messages: Any, status: int
) -> None:
    path = "/v1/chat/completions/input_tokens"
    answer = await client.post(path, json={"messages": messages})
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["input_tokens"] > 1000
