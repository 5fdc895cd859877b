"""A replica's engine: a process of `llamapack serve` on a loopback port, and what it tells."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from llamapack_ray.call import Call, Head, kept
from llamapack_ray.options import Options

LIFELINE = Path(__file__).with_name("lifeline.py")
POLL_SECONDS = 0.1
PROBE = aiohttp.ClientTimeout(total=5)
ANSWER = aiohttp.ClientTimeout(total=None, sock_connect=5)
"""An answer may take any time: the engine has its own limits."""

STATS = {
    "waiting": "vllm:num_requests_waiting",
    "running": "vllm:num_requests_running",
    "kv_use": "vllm:kv_cache_usage_perc",
}
"""What the autoscaler reads, and the metric that tells it."""

_SAMPLE = re.compile(r"^(?P<name>[\w:]+)(?:\{[^}]*\})? (?P<value>\S+)", re.MULTILINE)


class EngineLost(Exception):
    """The engine's process has ended, or does not answer."""


class Engine:
    """The process, and connections to it. Belongs to one event loop."""

    def __init__(
        self, process: asyncio.subprocess.Process, port: int, session: aiohttp.ClientSession
    ) -> None:
        self._process = process
        self._url = f"http://127.0.0.1:{port}"
        self._session = session

    @classmethod
    async def start(cls, options: Options) -> Engine:
        """Start the process, and wait until its model is loaded. Raises `EngineLost`."""
        port = _free_port()
        own = ("--host", "127.0.0.1", "--port", str(port), "--metrics")
        command = (options.command, "serve", *options.arguments, *own)
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(LIFELINE), *command, stdin=asyncio.subprocess.PIPE
        )
        connections = aiohttp.TCPConnector(limit=0)
        session = aiohttp.ClientSession(connector=connections, auto_decompress=False)
        engine = cls(process, port, session)
        await engine._wait_ready(options.start_seconds)
        return engine

    async def answer(self, call: Call) -> AsyncIterator[Head | bytes]:
        """The head of the answer, then its body as it comes. Raises `EngineLost`.

        The request ends when the iterator is closed.
        """
        try:
            async with self._session.request(
                call.method,
                self._url + call.target,
                headers=call.headers,
                data=call.body or None,
                allow_redirects=False,
                timeout=ANSWER,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            ) as response:
                yield Head(response.status, kept(iter(response.headers.items())))
                async for piece in response.content.iter_any():
                    yield piece
        except (aiohttp.ClientError, OSError) as error:
            raise EngineLost(str(error)) from error

    async def stats(self, key: str = "") -> dict[str, float]:
        """The values of `STATS`. Raises `EngineLost`."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        text = await self._get("/metrics", headers)
        values = {found["name"]: float(found["value"]) for found in _SAMPLE.finditer(text)}
        return {name: values.get(metric, 0.0) for name, metric in STATS.items()}

    async def check(self) -> None:
        """Raises `EngineLost` if the server does not move. A dead engine it replaces itself."""
        await self._get("/livez", {})

    async def ended(self) -> int:
        """Wait for the end of the process; returns its exit status."""
        return await self._process.wait()

    def stop(self) -> None:
        """Let the process finish what runs, and end."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _wait_ready(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            if self._process.returncode is not None:
                raise EngineLost(f"the engine ended with status {self._process.returncode}")
            try:
                await self._get("/health", {})
                return
            except EngineLost:
                if time.monotonic() > deadline:
                    self.stop()
                    raise
            await asyncio.sleep(POLL_SECONDS)

    async def _get(self, path: str, headers: dict[str, str]) -> str:
        try:
            async with self._session.get(
                self._url + path, headers=headers, timeout=PROBE
            ) as response:
                text = await response.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineLost(f"{path}: {error}") from error
        if response.status != 200:
            raise EngineLost(f"{path} answers {response.status}: {text[:200]}")
        return text


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
