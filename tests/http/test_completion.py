"""`POST /completion` without streaming: every shape of prompt, every field of the answer."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from grammars import compiler
from tests.support.fake_server import BOS, END_OF_TURN, EOS, MODEL_NAME, FakeServer

pytestmark = pytest.mark.anyio

FINAL_FIELDS = {
    "index",
    "content",
    "tokens",
    "id_slot",
    "stop",
    "model",
    "tokens_predicted",
    "tokens_evaluated",
    "generation_settings",
    "prompt",
    "has_new_line",
    "truncated",
    "stop_type",
    "stopping_word",
    "tokens_cached",
    "timings",
}

TIMING_FIELDS = {
    "cache_n",
    "prompt_n",
    "prompt_ms",
    "prompt_per_token_ms",
    "prompt_per_second",
    "predicted_n",
    "predicted_ms",
    "predicted_per_token_ms",
    "predicted_per_second",
}


async def complete(client: httpx.AsyncClient, **body: Any) -> Any:
    response = await client.post("/completion", json={"prompt": "abc", **body})
    assert response.status_code == 200, response.text
    return response.json()


async def test_final_object_has_all_fields(client: httpx.AsyncClient) -> None:
    answer = await complete(client)
    assert set(answer) == FINAL_FIELDS
    assert answer["content"] == "Hello, world\n"
    assert answer["tokens"] == []
    assert answer["stop"] is True
    assert answer["model"] == MODEL_NAME
    assert answer["tokens_predicted"] == 4
    assert answer["tokens_evaluated"] == 4
    assert answer["tokens_cached"] == 7
    assert answer["prompt"] == "<s>abc"
    assert answer["has_new_line"] is True
    assert answer["truncated"] is False
    assert answer["stop_type"] == "eos"
    assert answer["stopping_word"] == ""
    assert set(answer["timings"]) == TIMING_FIELDS
    assert answer["timings"]["predicted_per_second"] == pytest.approx(3 / 0.02)


async def test_both_paths_serve(client: httpx.AsyncClient) -> None:
    response = await client.post("/completions", json={"prompt": "abc"})
    assert response.json()["content"] == "Hello, world\n"


async def test_content_type_of_the_body_does_not_matter(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/completion", content=b'{"prompt": "a"}', headers={"content-type": "text/plain"}
    )
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("ab", (BOS, 97, 98)),
        ("<s>ab", (BOS, BOS, 97, 98)),
        ([97, 98], (97, 98)),
        (["ab", 99], (BOS, 97, 98, 99)),
        ([99, "ab"], (99, 97, 98)),
        ({"prompt_string": "ab"}, (BOS, 97, 98)),
        ([[97, 98]], (97, 98)),
        (["ab"], (BOS, 97, 98)),
        ([{"prompt_string": "ab", "multimodal_data": []}], (BOS, 97, 98)),
    ],
)
async def test_one_prompt_in_any_shape(
    client: httpx.AsyncClient, server: FakeServer, prompt: Any, tokens: tuple[int, ...]
) -> None:
    answer = await complete(client, prompt=prompt)
    assert answer["index"] == 0
    assert [request.spec.prompt for request in server.generator.opened] == [tokens]


async def test_several_prompts_are_answered_by_an_array(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    answers = await complete(client, prompt=["a", [98], {"prompt_string": "c"}, ["d", 101]])
    assert [answer["index"] for answer in answers] == [0, 1, 2, 3]
    assert [answer["prompt"] for answer in answers] == ["<s>a", "b", "<s>c", "<s>de"]


async def test_choices_have_seeds_of_their_own(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    answers = await complete(client, prompt=["a", "b"], n=2, seed=7)
    assert [answer["index"] for answer in answers] == [0, 1, 2, 3]
    assert [request.spec.sampling.seed for request in server.generator.opened] == [7, 8, 7, 8]
    assert [answer["generation_settings"]["seed"] for answer in answers] == [7, 8, 7, 8]


async def test_a_drawn_seed_is_reported(client: httpx.AsyncClient, server: FakeServer) -> None:
    answer = await complete(client, seed=-1)
    [request] = server.generator.opened
    assert answer["generation_settings"]["seed"] == request.spec.sampling.seed < 2**32 - 1


async def test_generation_settings_report_what_ran(client: httpx.AsyncClient) -> None:
    answer = await complete(client, temperature=0.1, top_k=-3, stop="x", n_predict=9, n_probs=2)
    settings = answer["generation_settings"]
    assert settings["temperature"] == 0.1
    assert settings["top_k"] == 0
    assert settings["stop"] == ["x"]
    assert settings["n_predict"] == settings["max_tokens"] == 9
    assert settings["n_probs"] == 2
    assert settings["samplers"][-1] == "temperature"
    assert settings["dry_sequence_breakers"] == ["\n", ":", '"', "*"]
    assert settings["stream"] is False
    assert settings["grammar"] == ""


async def test_a_stop_word(client: httpx.AsyncClient) -> None:
    answer = await complete(client, stop=[" world"])
    assert answer["content"] == "Hello,"
    assert answer["stop_type"] == "word"
    assert answer["stopping_word"] == " world"


async def test_a_limit(client: httpx.AsyncClient) -> None:
    answer = await complete(client, max_tokens=1)
    assert answer["content"] == "Hello"
    assert answer["stop_type"] == "limit"


async def test_nothing_to_generate(client: httpx.AsyncClient) -> None:
    answer = await complete(client, n_predict=0)
    assert answer["content"] == ""
    assert answer["tokens_predicted"] == 0
    assert answer["tokens_cached"] == answer["tokens_evaluated"]
    assert answer["timings"]["predicted_per_second"] == 0.0


async def test_tokens_on_request(client: httpx.AsyncClient) -> None:
    answer = await complete(client, return_tokens=True)
    assert answer["tokens"] == [ord("o"), ord(","), ord("d"), ord("\n")]


async def test_probabilities(client: httpx.AsyncClient) -> None:
    answer = await complete(client, n_probs=2, n_predict=1)
    [entry] = answer["completion_probabilities"]
    assert entry["id"] == ord("o")
    assert entry["token"] == "Hello"
    assert entry["bytes"] == list(b"Hello")
    assert entry["logprob"] == -0.5
    assert [top["token"] for top in entry["top_logprobs"]] == ["a", "b"]
    assert entry["top_logprobs"][0] == {"id": 97, "token": "a", "bytes": [97], "logprob": -1.0}


@pytest.mark.parametrize("n_probs", [1, 2, 3])
async def test_every_token_has_its_probabilities_the_ending_one_too(
    client: httpx.AsyncClient, n_probs: int
) -> None:
    answer = await complete(client, n_probs=n_probs, return_tokens=True)
    assert answer["stop_type"] == "eos"
    entries = answer["completion_probabilities"]
    assert [entry["id"] for entry in entries] == answer["tokens"]
    assert [len(entry["top_logprobs"]) for entry in entries] == [n_probs] * len(entries)


async def test_probabilities_after_the_samplers(client: httpx.AsyncClient) -> None:
    answer = await complete(client, logprobs=1, n_predict=1, post_sampling_probs=True)
    [entry] = answer["completion_probabilities"]
    assert entry["prob"] == pytest.approx(0.60653, abs=1e-4)
    assert entry["top_probs"][0]["prob"] == pytest.approx(0.36788, abs=1e-4)
    assert "logprob" not in entry


@pytest.mark.parametrize("wanted", [True, False])
async def test_settings_tell_whether_the_device_may_sample(
    client: httpx.AsyncClient, server: FakeServer, *, wanted: bool
) -> None:
    answer = await complete(client, backend_sampling=wanted)
    assert server.generator.opened[0].spec.sampling.backend_sampling is wanted
    assert answer["generation_settings"]["backend_sampling"] is wanted


async def test_response_fields(client: httpx.AsyncClient) -> None:
    fields = ["content", "generation_settings/n_predict", "nothing/there"]
    answer = await complete(client, response_fields=fields, n_predict=2)
    assert answer == {"content": "Hello,", "generation_settings/n_predict": 2}


async def test_ignore_eos_bans_every_end_token(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    answer = await complete(client, ignore_eos=True)
    [request] = server.generator.opened
    assert dict(request.spec.sampling.logit_bias) == {
        EOS: float("-inf"),
        END_OF_TURN: float("-inf"),
    }
    assert answer["generation_settings"]["ignore_eos"] is True
    assert answer["generation_settings"]["logit_bias"][0]["bias"] is None


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "prompt", "is required"),
        ({"prompt": None}, "prompt", "is required"),
        ({"prompt": 5}, "prompt", "must be a text"),
        ({"prompt": []}, "prompt", "must not be empty"),
        ({"prompt": [[]]}, "prompt", "must not be empty"),
        ({"prompt": [1, True]}, "prompt", "must be a text"),
        ({"prompt": [9999]}, "prompt", "the token 9999"),
        ({"prompt": [-1]}, "prompt", "the token -1"),
        ({"prompt": {"prompt_string": 1}}, "prompt", "prompt_string"),
        ({"prompt": {"prompt_string": "a", "multimodal_data": ["x"]}}, "prompt", "text only"),
        ({"prompt": "a", "temperature": "hot"}, "temperature", "must be a number"),
        ({"prompt": "a", "id_slot": 4}, "id_slot", "below 4"),
        ({"prompt": "a", "logit_bias": [[9999, 1]]}, "logit_bias", "token 9999"),
        ({"prompt": "a", "lora": [{"id": 0, "scale": 1}]}, "lora.0.id", "there is no adapter 0"),
        ({"prompt": "a", "json_schema": {"type": "nonsense"}}, "json_schema", "can't be used"),
        ({"prompt": "a", "grammar": "root ::= x", "json_schema": {}}, "grammar", "not both"),
    ],
)
async def test_a_wrong_body_names_its_field(
    client: httpx.AsyncClient, body: dict[str, Any], param: str, message: str
) -> None:
    response = await client.post("/completion", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert message in error["message"]


async def test_a_prompt_that_does_not_fit(client: httpx.AsyncClient) -> None:
    response = await client.post("/completion", json={"prompt": "x" * 200})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "exceed_context_size_error"
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (201, 128)


async def test_a_shipped_grammar_is_named(client: httpx.AsyncClient, server: FakeServer) -> None:
    listed = (await client.get("/v1/grammars")).json()["data"]
    assert "uuid" in {entry["id"] for entry in listed}
    response = await client.post("/completion", json={"prompt": "a", "grammar": "uuid"})
    assert response.status_code == 200
    assert server.generator.opened[-1].spec.constraint == compiler.named("uuid")
    refused = await client.post("/completion", json={"prompt": "a", "grammar": "uuidd"})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "grammar"


async def test_a_grammar_reaches_the_engine(client: httpx.AsyncClient, server: FakeServer) -> None:
    grammar = 'root ::= "a"'
    answer = await complete(client, grammar=grammar)
    assert server.generator.opened[0].spec.constraint is not None
    assert answer["generation_settings"]["grammar"] == grammar


async def test_every_sequence_is_released(client: httpx.AsyncClient, server: FakeServer) -> None:
    await complete(client, n=3)
    assert server.generator.running == 0
    assert server.generator.aborted == 0
