"""Agents do real work against the server, whose model plays given texts.

Skipped unless LLAMAPACK_AGENTS names a folder into which npm installed the agents.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from server.app import create_app
from server.generation.types import GenerationRequest, Item
from server.templates.chat_template import ChatTemplate
from tests.http.openai.conftest import TEMPLATE
from tests.support import fake_server
from tests.support.fake_server import ScriptedGenerator, make_server
from tests.support.live import serving
from tests.support.recorded_requests import recording

AGENTS = Path(os.environ.get("LLAMAPACK_AGENTS", "missing"))
CLAUDE = AGENTS / "node_modules/.bin/claude"
CODEX = AGENTS / "node_modules/.bin/codex"

CONTEXT = 1_000_000
"""Tokens, which are bytes here; an agent's instructions have some ten thousands."""

QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1"}


@dataclass
class Actor(ScriptedGenerator):
    """Plays one text after the other: the next one when one more tool has answered."""

    lines: Sequence[str] = ()
    prompts: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, request: GenerationRequest) -> AsyncIterator[AsyncIterator[Item]]:
        tokens = (token for token in request.spec.prompt if token < 256)
        prompt = bytes(tokens).decode(errors="replace")
        self.prompts.append(prompt)
        line = self.lines[min(prompt.count("<|tool|>"), len(self.lines) - 1)]
        self.pieces = [line[at : at + 5] for at in range(0, len(line), 5)]
        async with super().open(request) as items:
            yield items


@contextmanager
def acting(
    monkeypatch: pytest.MonkeyPatch, client: str, lines: Sequence[str]
) -> Iterator[tuple[str, Actor]]:
    """The URL of a server with an actor. What the client sends is recorded if a variable asks."""
    monkeypatch.setattr(fake_server, "N_CTX_SLOT", CONTEXT)
    actor = Actor(lines=lines)
    context = dataclasses.replace(
        make_server(generator=actor).context, chat_template=ChatTemplate(TEMPLATE)
    )
    app: ASGIApp = create_app(context)
    if "LLAMAPACK_RECORD" in os.environ:
        app = recording(app, Path(os.environ["LLAMAPACK_RECORD"]), client)
    with serving(app) as url:
        yield url, actor


def call(name: str, **arguments: str) -> str:
    """A call as the template's model writes it."""
    fields = ", ".join(f'"{key}": "{value}"' for key, value in arguments.items())
    return f'<tool_call>\n{{"name": "{name}", "arguments": {{{fields}}}}}\n</tool_call>'


@pytest.mark.skipif(not CLAUDE.exists(), reason="LLAMAPACK_AGENTS has no Claude Code")
def test_claude_code_reads_and_edits_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    notes = work / "notes.txt"
    notes.write_text("The word is heron.\n")
    lines = [
        call("Read", file_path=str(notes)),
        call("Edit", file_path=str(notes), old_string="heron", new_string="stork"),
        "Done: the word is stork now.",
    ]
    with acting(monkeypatch, "claude", lines) as (url, actor):
        access = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": "none"}
        done = subprocess.run(
            [CLAUDE, "-p", "Make it a stork.", "--model", "any", "--allowedTools", "Read,Edit"],
            cwd=work,
            env={"PATH": os.environ["PATH"], "HOME": str(home)} | access | QUIET,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == lines[-1]
    assert notes.read_text() == "The word is stork.\n"
    assert len(actor.prompts) == 3
    for earlier, later in zip(actor.prompts, actor.prompts[1:], strict=False):
        # All but the marker of the answer is the beginning of the next prompt.
        assert later.startswith(earlier.removesuffix("<think></think>"))


@pytest.mark.skipif(not CODEX.exists(), reason="LLAMAPACK_AGENTS has no Codex")
def test_codex_runs_a_command_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    lines = [call("exec_command", cmd="echo heron > bird.txt; cat bird.txt"), "It wrote heron."]
    with acting(monkeypatch, "codex", lines) as (url, actor):
        (home / "config.toml").write_text(
            'model = "any"\nmodel_provider = "local"\n[model_providers.local]\nname = "local"\n'
            f'base_url = "{url}/v1"\nwire_api = "responses"\nenv_key = "LOCAL_KEY"\n'
        )
        done = subprocess.run(
            [
                CODEX,
                "exec",
                "--skip-git-repo-check",
                "--sandbox",
                "danger-full-access",
                "Write it.",
            ],
            cwd=work,
            env={"PATH": os.environ["PATH"], "CODEX_HOME": str(home), "LOCAL_KEY": "none"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines[-1] in done.stdout
    assert (work / "bird.txt").read_text() == "heron\n"
    assert "<|tool|>" in actor.prompts[-1]
    assert "heron" in actor.prompts[-1].rpartition("<|tool|>")[2]
