"""A scripted server in a process of its own, which a test kills and starts again."""

from __future__ import annotations

import subprocess
import sys

import httpx

from loadtests.harness.ports import free_port
from tests.support.paths import ROOT
from tests.support.processes import DEADLINE, wait_until


class KillableServer:
    """A scripted server that is killed, and started again on the same port."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> KillableServer:
        self._start(words=100_000, delay=0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def do(self, word: str) -> None:
        if word == "stop":
            self._kill()
        else:
            self._start(words=20, delay=0.001)

    def _start(self, *, words: int, delay: float) -> None:
        module = "tests.support.scripted_server"
        arguments = [str(self._port), str(words), str(delay)]
        self._process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT)
        wait_until(self._answers)

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/livez", timeout=DEADLINE).status_code == 200
        except httpx.ConnectError:
            return False
