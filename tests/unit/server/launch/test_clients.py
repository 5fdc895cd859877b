"""What each client is told. The tests of e2e show that the clients understand it."""

from __future__ import annotations

import json
import tomllib

import pytest

from server.launch.clients import CLIENTS, Target

TARGET = Target("http://127.0.0.1:9000", "a-key", 'org/a "model"', 65_536)


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("context", [512, 65_536, 1_000_000])
def test_every_client_learns_the_server_the_key_the_model_and_the_context(
    name: str, context: int
) -> None:
    target = Target(TARGET.url, TARGET.key, "a-model", context)
    setup = CLIENTS[name].setup(target)
    told = "\n".join([*setup.variables.values(), *setup.arguments, *setup.files.values()])
    for fact in (target.url, target.key, target.model, str(context)):
        assert fact in told, fact


@pytest.mark.parametrize("name", CLIENTS)
def test_no_key_is_on_a_command_line(name: str) -> None:
    assert not any(TARGET.key in word for word in CLIENTS[name].setup(TARGET).arguments)


def test_codex_overrides_are_toml() -> None:
    words = CLIENTS["codex"].setup(TARGET).arguments
    assert set(words[::2]) == {"-c"}
    config = tomllib.loads("\n".join(words[1::2]))
    assert config["model"] == TARGET.model
    provider = config["model_providers"][config["model_provider"]]
    assert provider["base_url"] == f"{TARGET.url}/v1"
    assert CLIENTS["codex"].setup(TARGET).variables[provider["env_key"]] == TARGET.key


def test_opencodes_config_is_json_and_names_its_model() -> None:
    config = json.loads(CLIENTS["opencode"].setup(TARGET).variables["OPENCODE_CONFIG_CONTENT"])
    provider, _, model = config["model"].partition("/")
    assert model == TARGET.model
    assert config["provider"][provider]["models"][model]["limit"] == {
        "context": 65_536,
        "output": 16_384,
    }


def test_an_answer_leaves_room_for_the_prompt() -> None:
    sizes = [Target("", "", "", context).answer for context in (512, 65_536, 1_000_000)]
    assert sizes == [128, 16_384, 32_000]
