"""Agents do real work against the server, set up by docs/clients.md and by `llamapack launch`.

The server's model plays given texts. Skipped unless LLAMAPACK_AGENTS names a folder into which npm
installed the agents, and LLAMAPACK_CLIENTS an environment with aider.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from server.app import create_app
from tests.support import live
from tests.support.acting import Actor, acting, call
from tests.support.desk import Desk, has
from tests.support.fake_server import make_server
from tests.support.pages import example
from tests.support.paths import ROOT
from tests.support.processes import COMMAND, serving

PAGE = ROOT / "docs" / "clients.md"
WORD = "Done: the word is heron."
COMMAND_LINE = "echo heron > bird.txt; cat bird.txt"

BRIEF = "root ::= [ -~\\n]{1,200}"
"""So that an answer ends, whichever words a client's version puts before the question."""

QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1"}


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not has(program), reason=f"{program} is not installed for tests")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    _end_daemons(desk)


def _end_daemons(desk: Desk) -> None:
    """End what a client left running: Cline leaves a hub for its next sessions."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("HOME") == str(desk.home):
                process.send_signal(signal.SIGKILL)


@contextmanager
def playing(
    monkeypatch: pytest.MonkeyPatch, *calls: str, last: str = WORD, client: str = ""
) -> Iterator[tuple[str, Actor]]:
    with acting(monkeypatch, [*calls, last], client) as (url, actor):
        yield url, actor


def assert_wrote(desk: Desk, actor: Actor) -> None:
    """The command has run, and its output has come back."""
    assert (desk.work / "bird.txt").read_text() == "heron\n"
    assert "heron" in actor.prompts[-1].rpartition("<|tool|>")[2]


@needs("claude")
def test_claude_code_reads_and_edits_a_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = desk.work / "notes.txt"
    notes.write_text("The word is heron.\n")
    lines = [
        call("Read", file_path=str(notes)),
        call("Edit", file_path=str(notes), old_string="heron", new_string="stork"),
    ]
    desk.variables |= QUIET
    with playing(monkeypatch, *lines, client="claude") as (url, actor):
        script = example(PAGE, "Claude Code", "sh", url)
        done = desk.shell(script, "-p", "Make it a stork.", "--allowedTools", "Read,Edit")
    assert done.stdout.strip() == WORD
    assert notes.read_text() == "The word is stork.\n"
    assert len(actor.prompts) == 3
    for earlier, later in zip(actor.prompts, actor.prompts[1:], strict=False):
        # All but the marker of the answer is the beginning of the next prompt.
        assert later.startswith(earlier.removesuffix("<think></think>"))


@needs("codex")
def test_codex_runs_a_command_and_reports(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    command = call("exec_command", cmd=COMMAND_LINE)
    with playing(monkeypatch, command, client="codex") as (url, actor):
        config = desk.home / ".codex" / "config.toml"
        config.parent.mkdir()
        config.write_text(example(PAGE, "Codex", "toml", url))
        desk.variables["LLAMAPACK_API_KEY"] = "none"
        options = ("--skip-git-repo-check", "--sandbox", "danger-full-access")
        done = desk.run("codex", "exec", *options, "Write it.")
    assert WORD in done.stdout
    assert_wrote(desk, actor)


@needs("codex")
def test_codex_runs_two_commands_of_one_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("one", "two")
    calls = "\n".join(call("exec_command", cmd=f"echo {word} > {word}.txt") for word in words)
    with playing(monkeypatch, calls, "nobody asks for this") as (url, actor):
        options = ("--skip-git-repo-check", "--sandbox", "danger-full-access")
        launch = (COMMAND, "launch", "codex", "--url", url, "--")
        done = desk.run(*launch, "exec", *options, "Write them.")
    assert WORD in done.stdout
    assert [(desk.work / f"{word}.txt").read_text() for word in words] == ["one\n", "two\n"]
    assert actor.prompts[-1].count("<|tool|>") == 2


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        pytest.param("claude", ("-p", "Hi."), "Prompt is too long", marks=needs("claude")),
        pytest.param(
            "codex",
            ("exec", "--skip-git-repo-check", "Hi."),
            "ran out of room in the model's context window",
            marks=needs("codex"),
        ),
    ],
)
def test_an_agent_knows_that_the_context_is_too_small(
    name: str, words: Sequence[str], message: str, desk: Desk
) -> None:
    """The words of the server's error are those that the agent looks for."""
    app = create_app(make_server().context)
    with live.serving(app) as url, pytest.raises(AssertionError, match=message) as failure:
        desk.run(COMMAND, "launch", name, "--url", url, "--", *words)
    assert "larger -c" in str(failure.value)


@needs("opencode")
def test_opencode_runs_a_command_and_reports(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(monkeypatch, call("bash", command=COMMAND_LINE)) as (url, actor):
        (desk.work / "opencode.json").write_text(example(PAGE, "opencode", "json", url))
        desk.variables |= {f"OPENCODE_DISABLE_{name}": "1" for name in ("MODELS_FETCH", "SHARE")}
        done = desk.run("opencode", "run", "Write it.")
    assert WORD in done.stdout
    assert_wrote(desk, actor)


@needs("cn")
def test_continue_runs_a_command_and_reports(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(monkeypatch, call("Bash", command=COMMAND_LINE)) as (url, actor):
        config = desk.home / ".continue" / "config.yaml"
        config.parent.mkdir()
        config.write_text(example(PAGE, "Continue", "yaml", url))
        desk.variables["CONTINUE_TELEMETRY_ENABLED"] = "0"
        done = desk.run("cn", "-p", "Write it.", "--allow", "Bash", "--config", config)
    assert WORD in done.stdout
    assert_wrote(desk, actor)


@needs("cn")
def test_continue_takes_the_server_for_ollama(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command line asks an Ollama's `/v1`; what its editors ask is in test_ollama.py."""
    with playing(monkeypatch, call("Bash", command=COMMAND_LINE)) as (url, actor):
        config = desk.home / ".continue" / "config.yaml"
        config.parent.mkdir()
        openai = example(PAGE, "Continue", "yaml", url)
        config.write_text(
            openai.replace("provider: openai", "provider: ollama").replace(f"{url}/v1", url)
        )
        desk.variables["CONTINUE_TELEMETRY_ENABLED"] = "0"
        done = desk.run("cn", "-p", "Write it.", "--allow", "Bash", "--config", config)
    assert WORD in done.stdout
    assert_wrote(desk, actor)


@needs("cline")
def test_cline_runs_a_command_and_reports(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = json.dumps({"commands": [COMMAND_LINE]})
    line = f'<tool_call>\n{{"name": "run_commands", "arguments": {arguments}}}\n</tool_call>'
    with playing(monkeypatch, line) as (url, actor):
        desk.shell(example(PAGE, "Cline", "sh", url))
        done = desk.run("cline", "Write it, please.")
    assert WORD in done.stdout
    assert_wrote(desk, actor)


@needs("aider")
def test_aider_writes_a_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.variables |= {"AIDER_ANALYTICS": "false", "AIDER_CHECK_UPDATE": "false"}
    with playing(monkeypatch, last="bird.txt\n```\nheron\n```\n") as (url, _):
        script = example(PAGE, "aider", "sh", url)
        desk.shell(script, "--no-git", "--yes-always", "--message", "Write it.", "bird.txt")
    assert (desk.work / "bird.txt").read_text() == "heron\n"


@contextmanager
def recording_proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy that lets nothing through, and the hosts that it is asked for."""
    hosts: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    hosts.append(connection.recv(4096).split()[1].decode())
                    connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", hosts
        server.shutdown(socket.SHUT_RDWR)


LAUNCHED: list[tuple[str, Sequence[str], set[str]]] = [
    ("claude", ("-p", "What is it?"), set()),
    ("codex", ("exec", "--skip-git-repo-check", "What is it?"), set()),
    # For its own plugins' package; it has no switch.
    ("opencode", ("run", "What is it?"), {"registry.npmjs.org:443"}),
    ("aider", ("--no-git", "--yes-always", "--show-model-warnings", "--message", "Hi."), set()),
]


@pytest.mark.parametrize(
    ("name", "words", "allowed"),
    [pytest.param(*row, marks=needs(row[0]), id=row[0]) for row in LAUNCHED],
)
def test_a_launched_client_answers_and_talks_to_nobody_else(
    name: str,
    words: Sequence[str],
    allowed: set[str],
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with recording_proxy() as (proxy, hosts), playing(monkeypatch) as (url, actor):
        desk.variables |= {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy}
        done = desk.run(COMMAND, "launch", name, "--url", url, "--", *words)
    assert WORD in done.stdout
    assert actor.prompts
    assert set(hosts) <= allowed
    assert "Unknown context window" not in done.stdout


SMOLLM2 = Path(os.environ.get("LLAMAPACK_SMOLLM2", "missing"))
QUESTION = "What is 2+2?"


@pytest.fixture(scope="module")
def weak() -> Iterator[str]:
    """The URL of a real and weak model, which answers without chance and not for long."""
    with serving(
        "-m", str(SMOLLM2), "-c", "4096", "-np", "1", "--temp", "0", "--grammar", BRIEF
    ) as server:
        yield server.url


@needs("claude")
@pytest.mark.skipif(not SMOLLM2.exists(), reason="LLAMAPACK_SMOLLM2 names no file")
def test_claude_code_prints_what_a_weak_model_says(desk: Desk, weak: str) -> None:
    # Its own instructions are longer than the model's context.
    brief = ("--system-prompt", "Answer briefly.", "--tools", "", "--output-format", "json")
    done = desk.run(COMMAND, "launch", "claude", "--url", weak, "--", "-p", QUESTION, *brief)
    result = json.loads(done.stdout)
    assert result["is_error"] is False
    assert result["result"]
    assert result["usage"]["output_tokens"] > 0


@needs("codex")
@pytest.mark.skipif(not SMOLLM2.exists(), reason="LLAMAPACK_SMOLLM2 names no file")
def test_codex_prints_what_a_weak_model_says(desk: Desk, weak: str) -> None:
    instructions = desk.work / "instructions.md"
    instructions.write_text("Answer briefly.\n")
    switches = [f"features.{name}=false" for name in ("shell_tool", "multi_agent", "goals")]
    brief = [f"model_instructions_file={instructions}", *switches]
    options = [word for switch in brief for word in ("-c", switch)]
    words = ("exec", "--skip-git-repo-check", *options, QUESTION)
    done = desk.run(COMMAND, "launch", "codex", "--url", weak, "--", *words)
    assert done.stdout.strip()
    assert "ERROR" not in done.stderr
