"""The application of deploy/ray on a real Ray, in a process that a test starts and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from loadtests.harness.ports import free_port
from tests.support.paths import DEMO_TARGET, ROOT
from tests.support.processes import COMMAND, DEADLINE

FOLDER = Path(os.environ.get("LLAMAPACK_RAY", "missing"))
"""An environment with `ray[serve]`."""

START_SECONDS = 240.0
FLAGS = f"-m {DEMO_TARGET} -np 4 -c 8192 --context-shift -t 1 --no-measure-costs --seed 7"

# A laptop's Ray: no telemetry, and metrics of replicas every second instead of every ten.
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_raylet_start_wait_time_s": "300",  # a busy machine
}


class Cluster:
    """`serve run`, and what runs below it."""

    def __init__(self, log: Path, **options: object) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        words = {"flags": FLAGS, "command": COMMAND, "cpus": 0, **options}
        program = _PROGRAM.format(port=port, options={k: str(v) for k, v in words.items()})
        self._begin = time.monotonic()
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [str(FOLDER / "bin" / "python"), "-c", program],
                cwd=ROOT / "deploy" / "ray",
                env={**os.environ, **VARIABLES, "PYTHONPATH": str(ROOT / "deploy" / "ray")},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """The log so far."""
        return self._log.read_text("utf-8", "replace")

    def wait_ready(self) -> float:
        """Wait until all replicas of the start are up; returns the seconds since the start."""
        wait_until(lambda: "READY" in self.text or self.process.poll() is not None, START_SECONDS)
        assert "READY" in self.text, self.text
        return time.monotonic() - self._begin

    def engines(self) -> list[psutil.Process]:
        """The processes of `llamapack serve` that replicas run."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if "serve" in words and str(DEMO_TARGET) in words and "lifeline" not in words[1]:
                found.append(process)
        return found

    def end(self) -> None:
        """Stop Serve and Ray, and whatever is left of them."""
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            below = []
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)
        _, alive = psutil.wait_procs(below, 15)
        for process in alive:
            process.kill()


# As `serve run` does it, with a port of its own.
_PROGRAM = """
import time
import ray
from ray import serve
from llamapack_ray.app import build
from llamapack_ray.options import Options

ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
serve.start(http_options={{"host": "127.0.0.1", "port": {port}}})
serve.run(build(Options(**{options!r})))
print("READY", flush=True)
try:
    while True:
        time.sleep(1)
except KeyboardInterrupt:
    serve.shutdown()
    ray.shutdown()
"""


@contextmanager
def cluster(log: Path, **options: object) -> Iterator[Cluster]:
    """The application, ready. It ends with the block."""
    running = Cluster(log, **options)
    try:
        running.wait_ready()
        yield running
    finally:
        running.end()


def wait_until(condition: Any, seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.1)


class ChatStream:
    """A client that reads a streamed chat in its own thread, and keeps what comes."""

    def __init__(self, url: str, prompt: str, max_tokens: int = 64) -> None:
        self.text = ""
        self.status = 0
        self.num_events = 0
        self.error: dict[str, Any] | None = None
        self.is_done = False
        self.failure = ""
        self._leaves = False
        self._url = url
        self._body = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        import json

        try:
            with httpx.stream(
                "POST", f"{self._url}/v1/chat/completions", json=self._body, timeout=120
            ) as response:
                self.status = response.status_code
                for line in response.iter_lines():
                    if self._leaves:
                        return
                    if line == "data: [DONE]":
                        self.is_done = True
                    elif line.startswith("data: "):
                        self._take(json.loads(line[6:]))
        except httpx.HTTPError as error:
            self.failure = repr(error)

    def _take(self, event: dict[str, Any]) -> None:
        if "error" in event:
            self.error = event["error"]
            return
        for choice in event["choices"]:
            self.text += choice["delta"].get("content") or ""
        self.num_events += 1

    def leave(self) -> None:
        """Close the connection when the next piece comes."""
        self._leaves = True
        self.join()

    @property
    def is_whole(self) -> bool:
        return self.is_done and self.error is None and not self.failure

    def join(self) -> None:
        self._thread.join(120)
        assert not self._thread.is_alive(), "the stream does not end"
