"""What an attack is: its number, the server that it needs, and what it does to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from loadtests.harness.client import Address
from loadtests.harness.servers import Server
from loadtests.trials import raw

NATIVE, CHAT = "/completion", "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
PATIENCE_SECONDS = 15.0
"""An attacker hangs up after this time."""

INNOCENT_KEY, CHATTING_KEY = "innocent-key", "chatting-key"
ATTACKER_KEY, ADMIN_KEY = "attacker-key", "admin-key"

NO_KEYS = ""
KEYS = (
    f'[keys.innocent]\nkey = "{INNOCENT_KEY}"\n'
    f'[keys.chatting]\nkey = "{CHATTING_KEY}"\n'
    f'[keys.attacker]\nkey = "{ATTACKER_KEY}"\n'
    f'[keys.admin]\nkey = "{ADMIN_KEY}"\nadmin = true\n'
)
"""Keys for the innocent client's stream and for its chats, one for attackers, and an admin's."""


@dataclass(frozen=True)
class Setting:
    """A server that some attacks need. Attacks with equal settings share one server.

    `files` are written into a folder before the start; `{folder}` in a flag is the folder.
    """

    flags: tuple[str, ...] = ()
    keys: str = NO_KEYS
    """The content of the file of keys."""
    files: tuple[tuple[str, str], ...] = ()
    wrapper: tuple[str, ...] = ()
    """The command in front of the server's own, such as `env NAME=value`."""
    model: Callable[[Path, str], str] | None = None
    """Makes the model's path from the folder and the trial's own model."""


@dataclass
class Target:
    """The server as attackers see it, and what they saw."""

    server: Server
    folder: Path
    key: str
    statuses: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """Promises that were broken, besides the bounds that every attack is measured by."""
    told: str = ""
    """The first error of 500 and above."""

    @property
    def address(self) -> Address:
        return self.server.address

    def claim(self, holds: bool, problem: str) -> None:
        """Note a problem unless the claim holds."""
        if not holds:
            self.problems.append(problem)

    async def post(
        self,
        path: str,
        body: object,
        *,
        key: str | None = None,
        headers: Sequence[str] = (),
        timeout_s: float = PATIENCE_SECONDS,
    ) -> raw.Reply:
        """Send a body, bytes or JSON, and note the status. An attacker hangs up in the end."""
        return await self.send("POST", path, body, key=key, headers=headers, timeout_s=timeout_s)

    async def send(
        self,
        method: str,
        path: str,
        body: object = b"",
        *,
        key: str | None = None,
        headers: Sequence[str] = (),
        host: str = "localhost",
        timeout_s: float = PATIENCE_SECONDS,
    ) -> raw.Reply:
        """Send any request, and note the status."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = (*headers, *self.credentials(key))
        reply = await raw.send(
            self.address, method, path, payload, headers=headers, host=host, timeout_s=timeout_s
        )
        self.note(reply)
        return reply

    def credentials(self, key: str | None = None) -> tuple[str, ...]:
        """The header with a key; the attacker's own unless another is named. "" is no key."""
        key = self.key if key is None else key
        return (f"Authorization: Bearer {key}",) if key else ()

    def note(self, reply: raw.Reply) -> None:
        """Count a status that an attacker saw."""
        if reply.status:
            self.statuses[str(reply.status)] += 1
            if reply.status >= 500 and not self.told:
                self.told = reply.body[:200].decode(errors="replace")
        else:
            self.statuses["gave up" if "Timeout" in reply.error else "cut"] += 1

    async def together(self, times: int, path: str, body: object) -> list[raw.Reply]:
        """Send the same body many times at once."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await asyncio.gather(*(self.post(path, payload) for _ in range(times)))

    async def hang_up(self, times: int, path: str, body: object, after_s: float = 0.3) -> None:
        """Send the same body many times, and leave before the answers."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = raw.head("POST", path, len(payload), self.credentials())
        writers = [await self._open() for _ in range(times)]
        for writer in writers:
            writer.write(head + payload)
        await asyncio.sleep(after_s)
        for writer in writers:
            writer.close()
        self.statuses["hung up"] += times

    async def _open(self) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection(self.address.host, self.address.port)
        return writer

    async def read(self, path: str, *, key: str | None = None, headers: Sequence[str] = ()) -> Any:
        """The JSON of a GET, or None if the answer is no JSON."""
        reply = await self.send("GET", path, key=key, headers=headers)
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(reply.whole)
        return None


Run = Callable[[Target], Awaitable[None]]


@dataclass(frozen=True)
class Attack:
    """One attack. `number` is the kind's number in the trial's table."""

    number: int
    name: str
    run: Run
    setting: Setting = Setting()
    restarts: int = 0
    """Most engines that may die; then the bound of gaps doesn't count."""
    expected: frozenset[str] = frozenset()
    """Statuses of 500 and above that are right here, besides 501, 503 and 504."""
    is_outage: bool = False
    """Whether the attack takes the engine away for a while, so that health is not judged."""
    is_alone: bool = False
    """Whether no other attack may use the same server."""

    def __hash__(self) -> int:
        return hash((self.number, self.name))


def posts(path: str, body: object, times: int = 1) -> Run:
    """An attack that sends one body, some times at once."""

    async def run(target: Target) -> None:
        await target.together(times, path, body)

    return run


def leaves(path: str, body: object, times: int = 1) -> Run:
    """An attack that sends one body some times, and leaves before the answers."""

    async def run(target: Target) -> None:
        await target.hang_up(times, path, body)

    return run


def completion(**fields: object) -> dict[str, object]:
    """A body for llama-server's completions."""
    return {"prompt": "One two three", "n_predict": 16, **fields}


def chat(**fields: object) -> dict[str, object]:
    """A body for chats."""
    return {"messages": MESSAGES, "max_tokens": 16, **fields}


def schema_chat(schema: object) -> dict[str, object]:
    """A chat whose answer follows a schema."""
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return chat(response_format=wanted)
