"""`llamapack run` in a terminal and in a pipe, `ps`, `load` and `unload`."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import ServeSettings
from server.app import create_app
from tests.support.fake_server import MODEL_NAME, FakeServer, key_ring, make_server
from tests.support.live import serving
from tests.support.processes import COMMAND, DEADLINE, TARGET, wait_until
from tests.support.signals import heed_signals


@pytest.fixture
def fake() -> FakeServer:
    return make_server()


@pytest.fixture
def url(fake: FakeServer) -> Iterator[str]:
    with serving(create_app(fake.context)) as url:
        yield url


def variables(home: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH",)}
    return {**kept, "HOME": str(home), "TMPDIR": str(home), "TERM": "xterm", **more}


def llamapack(
    home: Path, *words: str, given: str | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *words],
        env=variables(home, **more),
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


class Terminal:
    """A program that believes it runs in a terminal."""

    def __init__(self, home: Path, *words: str) -> None:
        self._screen, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [COMMAND, *words],
            env=variables(home),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: _take_terminal(theirs),
        )
        os.close(theirs)
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def see(self, pattern: str) -> str:
        """Wait until something is shown; what was shown before it is forgotten."""
        deadline = time.monotonic() + DEADLINE
        while (found := re.search(pattern, self.text)) is None:
            assert time.monotonic() < deadline, self.text
            assert self._read(), self.text
        self.text = self.text[found.end() :]
        return found[0]

    def end(self) -> int:
        while self._read():
            pass
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._screen)

    def _read(self) -> bool:
        if not select.select([self._screen], [], [], DEADLINE)[0]:
            return False
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # the program has ended
            return False
        self.text += data.decode(errors="replace")
        return bool(data)


def _take_terminal(terminal: int) -> None:
    """Make it the one that Ctrl-C comes from."""
    import fcntl
    import termios

    heed_signals()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


@contextmanager
def chatting(home: Path, *words: str) -> Iterator[Terminal]:
    terminal = Terminal(home, "run", *words)
    try:
        yield terminal
    finally:
        terminal.close()


def test_a_chat_in_a_terminal(url: str, fake: FakeServer, tmp_path: Path) -> None:
    with chatting(tmp_path, MODEL_NAME, "--url", url) as terminal:
        terminal.see(f"{MODEL_NAME} at {url}")
        terminal.see(">>> ")
        terminal.type("Hello\n")
        terminal.see("Hello, world")
        terminal.see(">>> ")
        terminal.type("/clear\n")
        terminal.see("forgotten")
        terminal.see(">>> ")
        terminal.type('"""two\n')
        terminal.see(r"\.\.\. ")
        terminal.type('lines"""\n')
        terminal.see("Hello, world")
        terminal.see(">>> ")
        terminal.type("/stats\n")
        terminal.see("tokens of prompt")
        terminal.type("/bye\n")
        assert terminal.end() == 0
    assert len(fake.generator.opened) == 2
    history = tmp_path / ".local" / "state" / "llamapack" / "run_history"
    assert history.read_text().splitlines()[0] == "Hello"
    assert history.stat().st_mode & 0o077 == 0


def test_ctrl_c_stops_the_answer_alone(url: str, fake: FakeServer, tmp_path: Path) -> None:
    fake.generator.pieces = ("word ",) * 2000
    fake.generator.delay = 0.02
    with chatting(tmp_path, "--url", url) as terminal:
        terminal.see(">>> ")
        terminal.type("Talk\n")
        terminal.see("word word")
        terminal.type("\x03")
        terminal.see("stopped")
        terminal.see(">>> ")
        wait_until(lambda: fake.generator.aborted == 1)
        terminal.type("\x03")
        terminal.see("Ctrl-D ends")
        terminal.see(">>> ")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_the_last_line_can_be_called_back(url: str, fake: FakeServer, tmp_path: Path) -> None:
    pytest.importorskip("readline")
    with chatting(tmp_path, "--url", url) as terminal:
        terminal.see(">>> ")
        terminal.type("/system X\n")
        terminal.see("system prompt is set")
        terminal.see(">>> ")
        terminal.type("\x1b[A")
        terminal.see("/system X")
        terminal.type("Y\n")
        terminal.see("system prompt is set")
        terminal.see(">>> ")
        terminal.type("/system\n")
        terminal.see("XY")
        terminal.type("/bye\n")
        assert terminal.end() == 0


def test_one_question_for_a_script(url: str, fake: FakeServer, tmp_path: Path) -> None:
    done = llamapack(tmp_path, "run", MODEL_NAME, "What", "now?", "--url", url)
    assert (done.returncode, done.stdout) == (0, "Hello, world\n"), done.stderr
    piped = llamapack(tmp_path, "run", MODEL_NAME, "Sum up:", "--url", url, given="a long text\n")
    assert piped.stdout == "Hello, world\n"
    prompts = [bytes(one.spec.prompt[1:]).decode("latin-1") for one in fake.generator.opened]
    assert "What now?" in prompts[0]
    assert "Sum up:\n\na long text" in prompts[1]


def test_flags_become_fields(url: str, fake: FakeServer, tmp_path: Path) -> None:
    done = llamapack(
        tmp_path,
        *("run", "--url", url, "--system", "SYS", "--set", "max_tokens", "2"),
        *("--stats", MODEL_NAME, "q"),
    )
    assert done.stdout == "Hello,\n"
    assert "tokens of prompt" in done.stderr
    assert "SYS" in bytes(fake.generator.opened[0].spec.prompt[1:]).decode("latin-1")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("run", "nobody", "q"), 1, f"has no model nobody; it has: {MODEL_NAME}"),
        (("run", MODEL_NAME), 1, "there is nothing to ask"),
        (("run", MODEL_NAME, "q", "--set", "messages", "x"), 1, "messages can't be set"),
        (("run", MODEL_NAME, "q" * 500), 1, "128"),
        (("load", "nobody"), 1, f"has no model nobody; it has: {MODEL_NAME}"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: tuple[str, ...], code: int, message: str, url: str, tmp_path: Path
) -> None:
    done = llamapack(tmp_path, *words, "--url", url)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_server_and_no_file(tmp_path: Path) -> None:
    done = llamapack(tmp_path, "run", "nobody", "q", LLAMA_ARG_PORT="1")
    assert done.returncode == 1
    assert "nobody is no file, URL, repository or stored model" in done.stderr
    done = llamapack(tmp_path, "ps", "--url", "http://127.0.0.1:1")
    assert "no server answers at http://127.0.0.1:1" in done.stderr


def test_keys(tmp_path: Path) -> None:
    context = make_server(ServeSettings(api_key=("right",))).context
    with serving(create_app(context, keys=key_ring("right"))) as url:
        refused = llamapack(tmp_path, "run", MODEL_NAME, "q", "--url", url)
        assert "wants another key" in refused.stderr
        flag = llamapack(tmp_path, "run", MODEL_NAME, "q", "--url", url, "--api-key", "right")
        variable = llamapack(tmp_path, "run", MODEL_NAME, "q", "--url", url, LLAMA_API_KEY="right")
        assert flag.stdout == variable.stdout == "Hello, world\n"


def test_ps_lists_what_is_loaded(url: str, tmp_path: Path) -> None:
    done = llamapack(tmp_path, "ps", "--url", url)
    head, row = done.stdout.splitlines()
    assert head.split()[:2] == ["NAME", "STATE"]
    assert row.split()[:2] == [MODEL_NAME, "loaded"]
    entries = json.loads(llamapack(tmp_path, "ps", "--url", url, "--json").stdout)
    assert [entry["id"] for entry in entries] == [MODEL_NAME]


def test_a_server_of_its_own(tmp_path: Path) -> None:
    done = llamapack(
        tmp_path,
        *("run", str(TARGET), "What is the capital of France?"),
        *("--set", "temperature", "0", "--", "-c", "1024", "-t", "1"),
    )
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    assert "starting a server" in done.stderr
    assert not list(tmp_path.glob("llamapack-*.log"))


def test_a_stored_model_is_known_by_its_name(tmp_path: Path) -> None:
    stored = llamapack(tmp_path, "import", str(TARGET), "--name", "stored")
    assert stored.returncode == 0, stored.stderr
    done = llamapack(
        tmp_path,
        *("run", "stored", "What is the capital of France?", "--set", "temperature", "0"),
        *("--", "-c", "1024", "-t", "1"),
    )
    assert "Paris" in done.stdout, done.stderr


def test_a_terminal_that_goes_away_ends_the_chat(url: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "run", "--url", url)
    terminal.see(">>> ")
    terminal.process.send_signal(signal.SIGHUP)
    assert terminal.process.wait(DEADLINE) != 0
    terminal.close()


def test_the_log_of_a_server_that_fails_stays_and_is_named(tmp_path: Path) -> None:
    done = llamapack(tmp_path, "run", str(TARGET), "Hi", "--", "--chat-template", "{% bad")
    assert done.returncode == 1
    (log,) = tmp_path.glob("llamapack-*.log")
    assert f"the server's log is {log}" in done.stderr
    assert log.read_text()
