"""The clients that can be launched, and what each must be told to use a server.

A client is told by variables, arguments and files of our own. Its user's files stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

MOST_ANSWER_TOKENS = 32_000
"""What agents ask for at most in one answer, if the context has room for it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A model on a server that runs."""

    url: str
    """Without a slash at the end, and without `/v1`."""
    key: str
    model: str
    context: int
    """Tokens of prompt and answer together."""

    @property
    def answer(self) -> int:
        """Tokens that one answer may have, so that most of the context is left for the prompt."""
        return min(MOST_ANSWER_TOKENS, self.context // 4)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a client is told, on top of its user's variables and arguments."""

    variables: Mapping[str, str]
    arguments: tuple[str, ...] = ()
    """They come before the user's."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The content of files by the variable that names the file to the client."""
    unset: tuple[str, ...] = ()
    """Variables that would send the client elsewhere."""


@dataclass(frozen=True, slots=True)
class Client:
    """A program, how to get it, and how it is set up."""

    program: str
    install: str
    instructions: int
    """Tokens that its instructions and tools take, about."""
    setup: Callable[[Target], Setup]


def _claude(target: Target) -> Setup:
    models = ("OPUS", "SONNET", "HAIKU", "FABLE")
    clouds = ("BEDROCK", "VERTEX", "FOUNDRY", "MANTLE", "GATEWAY")
    return Setup(
        variables={
            "ANTHROPIC_BASE_URL": target.url,
            "ANTHROPIC_AUTH_TOKEN": target.key,
            "ANTHROPIC_MODEL": target.model,
            **{f"ANTHROPIC_DEFAULT_{name}_MODEL": target.model for name in models},
            "CLAUDE_CODE_SUBAGENT_MODEL": target.model,
            "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(target.context),
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(target.answer),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
        unset=("ANTHROPIC_API_KEY", *(f"CLAUDE_CODE_USE_{cloud}" for cloud in clouds)),
    )


def _codex(target: Target) -> Setup:
    provider = "model_providers.llamapack"
    overrides: dict[str, object] = {
        "model": target.model,
        "model_provider": "llamapack",
        f"{provider}.name": "llamapack",
        f"{provider}.base_url": f"{target.url}/v1",
        f"{provider}.wire_api": "responses",
        f"{provider}.env_key": "LLAMAPACK_API_KEY",
        "model_context_window": target.context,
        "check_for_update_on_startup": False,
        "analytics.enabled": False,
        "feedback.enabled": False,
        "features.plugins": False,  # it would ask for lists of them on the internet
    }
    # TOML writes texts, numbers and truth values as JSON does.
    pairs = (("-c", f"{name}={json.dumps(value)}") for name, value in overrides.items())
    return Setup(
        variables={"LLAMAPACK_API_KEY": target.key},
        arguments=tuple(word for pair in pairs for word in pair),
    )


def _opencode(target: Target) -> Setup:
    name = f"llamapack/{target.model}"
    model = {"name": target.model, "limit": {"context": target.context, "output": target.answer}}
    config = {
        "model": name,
        "small_model": name,
        "share": "disabled",
        "autoupdate": False,
        "provider": {
            "llamapack": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "llamapack",
                "options": {"baseURL": f"{target.url}/v1", "apiKey": target.key},
                "models": {target.model: model},
            }
        },
    }
    quiet = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "SHARE")
    return Setup(
        variables={
            "OPENCODE_CONFIG_CONTENT": json.dumps(config),
            **{f"OPENCODE_DISABLE_{name}": "1" for name in quiet},
        }
    )


def _aider(target: Target) -> Setup:
    name = f"openai/{target.model}"
    known = {
        "max_input_tokens": target.context,
        "max_output_tokens": target.answer,
        "input_cost_per_token": 0,
        "output_cost_per_token": 0,
        "litellm_provider": "openai",
        "mode": "chat",
    }
    return Setup(
        variables={
            "OPENAI_API_KEY": target.key,
            "AIDER_ANALYTICS": "false",
            "AIDER_CHECK_UPDATE": "false",
            "AIDER_SHOW_MODEL_WARNINGS": "false",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # instead of a list on the internet
        },
        # As arguments, they win over the .env files that aider reads.
        arguments=(
            *("--openai-api-base", f"{target.url}/v1"),
            *("--model", name, "--weak-model", name, "--editor-model", name),
        ),
        files={"AIDER_MODEL_METADATA_FILE": json.dumps({name: known})},
    )


CLIENTS = {
    "claude": Client("claude", "npm install -g @anthropic-ai/claude-code", 25_000, _claude),
    "codex": Client("codex", "npm install -g @openai/codex", 10_000, _codex),
    "opencode": Client("opencode", "npm install -g opencode-ai", 10_000, _opencode),
    "aider": Client("aider", "pip install aider-chat", 3_000, _aider),
}
