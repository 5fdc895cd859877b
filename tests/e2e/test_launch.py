"""`llamapack launch` with programs that stand in for clients and tell what they were told."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from config import ServeSettings
from server.app import create_app
from server.launch.clients import CLIENTS
from tests.support.fake_server import MODEL_NAME, N_CTX_SLOT, key_ring, make_server
from tests.support.live import serving
from tests.support.processes import COMMAND, DEADLINE, TARGET, wait_until

CLIENT = f"""#!{sys.executable}
import json, os, signal, sys, time, urllib.request

def got(number, frame):
    with open(os.environ["REPORT"] + ".signals", "a") as file:
        file.write(f"{{number}}\\n")
    if number != signal.SIGINT:
        sys.exit(40 + number)

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, got)
with open(os.environ["REPORT"] + ".part", "w") as file:
    json.dump({{"arguments": sys.argv[1:], "variables": dict(os.environ)}}, file)
os.rename(os.environ["REPORT"] + ".part", os.environ["REPORT"])
if code := os.environ.get("EXIT"):
    sys.exit(int(code))
if os.environ.get("DIE"):
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
"""


@dataclass
class Desk:
    """A user's home with clients in it."""

    home: Path

    @property
    def report(self) -> Path:
        return self.home / "report"

    def variables(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "REPORT": str(self.report),
            **more,
        }

    def launch(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, "launch", *words],
            env=self.variables(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def told(self) -> Any:
        return json.loads(self.report.read_text())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    folder = tmp_path / "bin"
    folder.mkdir()
    for client in CLIENTS.values():
        program = folder / client.program
        program.write_text(CLIENT)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return Desk(tmp_path)


@pytest.fixture
def url() -> Iterator[str]:
    with serving(create_app(make_server().context)) as url:
        yield url


@pytest.fixture
def locked() -> Iterator[str]:
    """A server that wants a key."""
    context = make_server(ServeSettings(api_key=("right",))).context
    with serving(create_app(context, keys=key_ring("right"))) as url:
        yield url


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_learns_the_server_and_gets_the_users_words(
    name: str, desk: Desk, url: str
) -> None:
    done = desk.launch(name, "--url", f"{url}/v1", "--", "do", "--this", EXIT="0")
    assert done.returncode == 0, done.stderr
    told = desk.told()
    assert told["arguments"][-2:] == ["do", "--this"]
    everything = json.dumps(told) + "".join(
        Path(value).read_text()
        for value in told["variables"].values()
        if value.endswith(".json") and Path(value).is_file()
    )
    assert url in everything
    assert MODEL_NAME in everything
    assert str(N_CTX_SLOT) in everything
    assert "larger -c" in done.stderr


@pytest.mark.parametrize("name", CLIENTS)
def test_what_is_printed_does_the_same(name: str, desk: Desk, url: str) -> None:
    words = [name, "--url", url, "--", "it's", "$HOME"]
    variables = {"EXIT": "0", "ANTHROPIC_API_KEY": "of-another-server"}
    assert desk.launch(*words, **variables).returncode == 0
    launched = desk.told()
    printed = desk.launch(name, "--print", *words[1:]).stdout
    subprocess.run(["sh", "-c", printed], env=desk.variables(**variables), check=True, timeout=60)
    by_shell = desk.told()
    assert by_shell["arguments"] == launched["arguments"]
    for name in ("_", "PWD", "SHLVL", "OLDPWD"):
        by_shell["variables"].pop(name, None)
        launched["variables"].pop(name, None)
    assert by_shell["variables"] == launched["variables"]
    if CLIENTS["claude"].program == words[0]:
        assert "ANTHROPIC_API_KEY" not in launched["variables"]


@pytest.mark.parametrize("name", CLIENTS)
def test_nothing_of_the_users_is_written(name: str, desk: Desk, url: str) -> None:
    before = {path for path in desk.home.rglob("*") if path.is_file()}
    desk.launch(name, "--url", url, EXIT="0")
    new = {path for path in desk.home.rglob("*") if path.is_file()} - before - {desk.report}
    assert all(desk.home / ".cache/llamapack/launch" in path.parents for path in new)


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_the_clients(code: int, desk: Desk, url: str) -> None:
    assert desk.launch("claude", "--url", url, EXIT=str(code)).returncode == code


def test_a_client_that_is_killed_looks_as_in_a_shell(desk: Desk, url: str) -> None:
    assert desk.launch("claude", "--url", url, DIE="1").returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_client(number: signal.Signals, desk: Desk, url: str) -> None:
    with subprocess.Popen(
        [COMMAND, "launch", "claude", "--url", url],
        env=desk.variables(),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as launch:
        wait_until(desk.report.exists)
        launch.send_signal(number)
        assert launch.wait(60) == 40 + number


def test_ctrl_c_reaches_the_client_once_and_ends_nothing_else(desk: Desk, url: str) -> None:
    program = "import pty, sys; pty.spawn(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", program, COMMAND, "launch", "claude", "--url", url],
        env=desk.variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as terminal:
        assert terminal.stdin is not None
        wait_until(desk.report.exists)
        signals = Path(f"{desk.report}.signals")
        terminal.stdin.write(b"\x03")
        terminal.stdin.flush()
        wait_until(lambda: signals.exists() and signals.read_text())
        [parent] = _parents_of_clients(desk)
        os.kill(parent, signal.SIGTERM)
        terminal.wait(60)
    assert signals.read_text().split() == [str(int(signal.SIGINT)), str(int(signal.SIGTERM))]


def _parents_of_clients(desk: Desk) -> set[int]:
    """The processes that have started a client of this desk."""
    program = str(desk.home / "bin" / "claude")
    return {process.ppid() for process in psutil.process_iter() if program in _words_of(process)}


def _words_of(process: psutil.Process) -> list[str]:
    try:
        words: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return words


@pytest.mark.parametrize("name", CLIENTS)
def test_a_missing_client_says_how_to_get_it(name: str, desk: Desk, url: str) -> None:
    (desk.home / "bin" / CLIENTS[name].program).unlink()
    done = desk.launch(name, "--url", url, PATH=str(desk.home / "bin"))
    assert done.returncode == 127
    assert CLIENTS[name].install in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--url", "http://127.0.0.1:1"], 1, "no server answers at http://127.0.0.1:1"),
        (["--url", "here"], 1, "--url must be an address such as"),
        (["--url", "http://127.0.0.1:1", "-c", "5"], 2, "-c is for a server that is started"),
        (["-m", "missing.gguf"], 1, "missing.gguf"),
        (["--parallel", "none"], 2, "--parallel"),
        (["--port", "0"], 1, "leave out --port"),
        (["--print", "--port", "1"], 1, "no server runs at http://127.0.0.1:1"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], code: int, message: str, desk: Desk) -> None:
    done = desk.launch("claude", *words)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not desk.report.exists()


def test_an_unknown_client_is_wrong_usage(desk: Desk) -> None:
    done = desk.launch("clod")
    assert done.returncode == 2
    assert "claude" in done.stderr


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_names_the_clients(words: list[str], desk: Desk) -> None:
    done = desk.launch(*words)
    assert done.returncode == 0
    assert all(name in done.stdout for name in CLIENTS)


def test_an_unknown_model_is_said_with_the_known_ones(desk: Desk, url: str) -> None:
    done = desk.launch("codex", "--url", url, "--model", "gpt-9")
    assert done.returncode == 1
    assert "gpt-9" in done.stderr
    assert MODEL_NAME in done.stderr


def test_the_key_is_passed_on(desk: Desk, locked: str) -> None:
    wrong = desk.launch("claude", "--url", locked, "--api-key", "wrong")
    assert (wrong.returncode, "--api-key" in wrong.stderr) == (1, True)
    for variables, words in (({}, ["--api-key", "right"]), ({"LLAMA_API_KEY": "right"}, [])):
        done = desk.launch("claude", "--url", locked, *words, EXIT="0", **variables)
        assert done.returncode == 0, done.stderr
        assert desk.told()["variables"]["ANTHROPIC_AUTH_TOKEN"] == "right"


def test_a_proxy_is_not_asked_for_this_machine(desk: Desk, url: str) -> None:
    done = desk.launch("claude", "--url", url, EXIT="0", HTTP_PROXY="http://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1" in desk.told()["variables"]["NO_PROXY"].split(",")


def test_the_running_server_is_found(desk: Desk, url: str) -> None:
    port = url.rpartition(":")[2]
    done = desk.launch("claude", EXIT="0", LLAMA_ARG_PORT=port)
    assert done.returncode == 0, done.stderr
    assert desk.told()["variables"]["ANTHROPIC_BASE_URL"] == url
    assert "starting" not in done.stderr


def own(desk: Desk) -> str:
    """The URL of the server that was started for the client."""
    url: str = desk.told()["variables"]["ANTHROPIC_BASE_URL"]
    return url


def is_gone(url: str) -> bool:
    try:
        httpx.get(f"{url}/livez", timeout=DEADLINE)
    except httpx.ConnectError:
        return True
    except (httpx.ReadError, httpx.RemoteProtocolError):  # it is just ending
        return False
    return False


OPTIONS = ("-m", str(TARGET), "-c", "2048", "-np", "1", "--api-key", "of-two")


def test_a_server_is_started_and_ends_with_its_client(desk: Desk) -> None:
    with subprocess.Popen(
        [COMMAND, "launch", "claude", *OPTIONS],
        env=desk.variables(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as launch:
        wait_until(lambda: desk.report.exists() or launch.poll() is not None)
        told = desk.told()["variables"]
        models = httpx.get(
            f"{own(desk)}/v1/models",
            headers={"Authorization": f"Bearer {told['ANTHROPIC_AUTH_TOKEN']}"},
            timeout=DEADLINE,
        )
        assert models.json()["data"][0]["id"] == told["ANTHROPIC_MODEL"]
        assert told["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] == "2048"
        launch.terminate()
        assert launch.wait(60) == 40 + signal.SIGTERM
        assert launch.stderr is not None
        said = launch.stderr.read()
    assert is_gone(own(desk))
    log = re.search(r"its log is (\S+)", said)
    assert log is not None
    assert not Path(log[1]).exists()


def test_a_server_ends_even_if_the_launcher_is_killed(desk: Desk) -> None:
    with subprocess.Popen(
        [COMMAND, "launch", "claude", *OPTIONS],
        env=desk.variables(),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as launch:
        wait_until(lambda: desk.report.exists() or launch.poll() is not None)
        assert not is_gone(own(desk))
        os.killpg(launch.pid, signal.SIGKILL)
    wait_until(lambda: is_gone(own(desk)))
