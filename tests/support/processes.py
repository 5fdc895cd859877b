"""A real server of the demo model: its processes, its log, and clients that stream from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.paths import DEMO_TARGET

TARGET = DEMO_TARGET
COMMAND = Path(sys.executable).parent / "llamapack"
DEADLINE = 300.0
"""Seconds after which a test fails, even on a busy machine."""

SAME_SUMS = ("-fa", "on", "-ub", "32")
"""For a test that kills the engine and compares texts.

A new engine computes the first part of an answer as a prompt. With these kernels, rows of a prompt
add up like rows of an answer, so near ties end alike.
"""

ONE_BY_ONE = ("-ub", "1")
"""`SAME_SUMS` for adapters. Their weights are not quantized, so only rows that are computed one by
one add up alike.
"""

# These kernels compute a row the same way with any other rows, so texts can be compared exactly.
# The seed is for requests that name none: no test depends on luck.
FLAGS = (
    *("--port", "0", "-np", "4", "-c", "2048", "-t", "1", "--no-repack", "-fa", "off"),
    *("--seed", "7"),
)


def wait_until(condition: Callable[[], Any]) -> None:
    """Poll until the condition is true. Raises `TimeoutError`."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("nothing happened")
        time.sleep(0.01)


def command(*flags: str, executable: Path = COMMAND) -> list[str]:
    return [str(executable), "serve", *flags]


def _is_engine(process: psutil.Process) -> bool:
    """Whether the process is a living engine, and not the sandbox process of grammars."""
    try:
        return "scheduler" in process.cmdline()
    except psutil.Error:  # a zombie has no readable command line
        return False


class Server:
    """A server process and its log.

    The `executable` of another installation serves the model that is embedded there.
    """

    def __init__(
        self,
        *flags: str,
        executable: Path = COMMAND,
        cwd: Path | None = None,
        has_one_model: bool = True,
    ) -> None:
        model = ("-m", str(TARGET)) if executable is COMMAND and has_one_model else ()
        self.process = subprocess.Popen(
            command(*model, *FLAGS, *flags, executable=executable),
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)

    @property
    def text(self) -> str:
        """The log so far."""
        return "".join(self.log)

    def wait_ready(self) -> None:
        """Wait until the model is loaded and connections are accepted, in any order."""
        self.wait_words("ready: ")
        wait_until(self._answers)

    def wait_words(self, words: str) -> None:
        """Wait until the log has these words. Fails with the log if the process ends before."""
        with suppress(TimeoutError):
            wait_until(lambda: words in self.text or self.process.poll() is not None)
        assert words in self.text, self.text or "the server logged nothing"

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/livez", timeout=DEADLINE).status_code == 200
        except httpx.ConnectError:
            return False

    @property
    def url(self) -> str:
        found = re.search(r"listening on (http://\S+?),", self.text)
        assert found, self.text
        return found[1]

    @property
    def engine(self) -> psutil.Process | None:
        """The engine's process, or None while no engine lives."""
        return next(iter(self.engines), None)

    @property
    def engines(self) -> list[psutil.Process]:
        """The processes of all engines that live."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if _is_engine(child)]

    def kill_engine(self) -> None:
        """Kill the engine as an out-of-memory killer does; return when a new engine runs."""
        engine = self.engine
        assert engine is not None
        engine.kill()
        wait_until(lambda: self.engine not in (None, engine))

    def is_ready(self) -> bool:
        return httpx.get(f"{self.url}/readyz", timeout=DEADLINE).status_code == 200

    def end(self) -> None:
        """Stop the server in any state."""
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children():
                child.kill()
            self.process.kill()
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def starting(*flags: str, has_one_model: bool = True) -> Iterator[Server]:
    """A server that has begun to load. It is killed at the end if it still runs."""
    server = Server(*flags, has_one_model=has_one_model)
    try:
        server.wait_words("listening on")
        yield server
    finally:
        server.end()


@contextmanager
def serving(*flags: str, has_one_model: bool = True) -> Iterator[Server]:
    """A server that is ready. It is killed at the end if it still runs."""
    with starting(*flags, has_one_model=has_one_model) as server:
        server.wait_ready()
        yield server


class Stream:
    """A client that reads a streamed completion in its own thread."""

    def __init__(self, server: Server, prompt: str, **fields: Any) -> None:
        self.status = 0
        """HTTP status, set when the head of the response has come."""
        self.ended = 0.0
        self.text = ""
        self.num_events = 0
        self.error: dict[str, Any] | None = None
        self.is_whole = False
        self._url = f"{server.url}/completion"
        self._headers = {"X-Api-Key": fields.pop("key", "")}
        self._body = {"prompt": prompt, "temperature": 0, "stream": True, **fields}
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with httpx.stream(
            "POST", self._url, json=self._body, headers=self._headers, timeout=DEADLINE
        ) as response:
            self.status = response.status_code
            for line in response.iter_lines():
                if line.startswith(("data: {", "error: {")):
                    self._take(json.loads(line.split(": ", 1)[1]))
        self.ended = time.monotonic()

    def _take(self, event: dict[str, Any]) -> None:
        if "error" in event or "code" in event:
            self.error = event.get("error", event)
            return
        self.text += event["content"]
        self.is_whole = event["stop"]
        self.num_events += 1

    def join(self) -> str:
        """Wait for the end and return the whole text."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the stream does not end"
        return self.text
