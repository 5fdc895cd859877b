"""Hostile input: no answer is a 500, no other client is delayed, no engine dies.

The trial sends broken bodies to every route of /openapi.json, slow requests, huge bodies, known bad
inputs, and the requests of schemathesis. Meanwhile one client streams and another asks for the
models all the time.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from loadtests.harness.client import get
from loadtests.harness.servers import Server
from loadtests.harness.stats import percentile
from loadtests.harness.subject import FILLS, api_process, busy_slots, metric, serving
from loadtests.trials import raw
from loadtests.trials.crowd import Crowd, greedy, longest_gap
from loadtests.trials.hostile_bodies import bodies, extremes, huge

FLAGS = (
    *("-n", "16", "--timeout", "30", "--slot-save-path", tempfile.gettempdir(), "--embeddings"),
    *FILLS,
)
AT_ONCE = 16
SLOW_CONNECTIONS = 200
MAX_BODY_MIB = 16
"""Maximum size of a body that the server takes."""

PING_SECONDS = 0.02

NOT_WITHOUT_FLAGS = "|".join(
    ("props", "rerank", "infill", "kv_events", "api/(pu|blobs|delete)", "models/(un|down)load")
)
"""Paths that answer 501 on this server."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options: how much of each attack."""
    parser.add_argument("--bodies", type=int, default=10_000, help="over all routes together")
    parser.add_argument("--routes", default="", help="regular expression: broken bodies go there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow-seconds", type=float, default=20.0)
    parser.add_argument("--examples", type=int, default=100, help="of schemathesis for a route")
    parser.add_argument("--stall", type=float, default=1.0, help="longest for others, in seconds")
    parser.add_argument("--skip-huge", action="store_true", help="no bodies of 100 MB")


@dataclass
class Report:
    """What was seen so far."""

    stall_limit: float
    problems: list[str] = field(default_factory=list)

    def judge(
        self, what: str, replies: Iterable[tuple[str, raw.Reply]], *, may_cut: bool = False
    ) -> None:
        """Count the answers to one kind of attack; with `may_cut` the server may close the
        connection."""
        statuses: Counter[str] = Counter()
        for name, reply in replies:
            statuses[str(reply.status) if reply.status else reply.error[:60]] += 1
            was_cut = may_cut and reply.error.startswith("ConnectionResetError")
            if reply.status == 500 or (reply.status == 0 and not was_cut):
                told = reply.body[:300].decode(errors="replace") or reply.error
                self.problems.append(f"{what}, {name}: {reply.status} {told}")
        shown = ", ".join(f"{count} x {status}" for status, count in statuses.most_common())
        print(f"{what}: {shown}", flush=True)


async def run(options: argparse.Namespace) -> list[str]:
    """Run the trial and return what went wrong."""
    report = Report(options.stall)
    async with serving(*FLAGS) as server:
        paths = await _post_paths(server)
        await raw.send(server.address, "GET", "/props")
        descriptors = api_process(server).num_fds()
        async with _bystanders(server, "broken bodies", report):
            chosen = [path for path in paths if re.search(options.routes, path)]
            report.judge("broken bodies", await _broken(server, chosen, options))
        async with _bystanders(server, "known evils", report):
            report.judge("known evils", [await _one(server, *evil) for evil in extremes()])
        if not options.skip_huge:
            for size in (MAX_BODY_MIB, 100):
                async with _bystanders(server, f"{size} MiB bodies", report):
                    replies = [await _one(server, *evil) for evil in huge(size)]
                    report.judge(f"{size} MiB bodies", replies, may_cut=size > MAX_BODY_MIB)
        async with _bystanders(server, "slow clients", report):
            await _slow(server, options.slow_seconds)
        async with _bystanders(server, "schemathesis", report):
            await _schemathesis(server, options, report)
        await _afterwards(server, descriptors, report)
    return report.problems


async def _post_paths(server: Server) -> list[str]:
    """All paths that take a body, from the server's own description."""
    _, body = await get(server.address, "/openapi.json")
    paths = msgspec.json.decode(body)["paths"]
    found = [path for path, methods in paths.items() if "post" in methods]
    return [path.replace("{id}", "0") + "?action=erase" * ("/slots" in path) for path in found]


async def _broken(
    server: Server, paths: list[str], options: argparse.Namespace
) -> list[tuple[str, raw.Reply]]:
    """Send broken bodies to every path in turn."""
    queue = itertools.islice(
        zip(
            itertools.cycle(paths),
            _round_robin([bodies(path, options.seed) for path in paths]),
            strict=False,
        ),
        options.bodies,
    )
    replies: list[tuple[str, raw.Reply]] = []

    async def work() -> None:
        for path, body in queue:
            reply = await raw.send(server.address, "POST", path, body)
            replies.append((f"{path} {body[:400]!r}", reply))

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return replies


def _round_robin(sources: list[Iterable[bytes]]) -> Iterable[bytes]:
    iterators = [iter(source) for source in sources]
    for iterator in itertools.cycle(iterators):
        yield next(iterator)


async def _one(server: Server, name: str, path: str, body: bytes) -> tuple[str, raw.Reply]:
    reply = await raw.send(server.address, "POST", path, body)
    print(f"    {name}: {reply.status or reply.error} after {reply.seconds:.2f} s", flush=True)
    return name, reply


async def _slow(server: Server, seconds: float) -> None:
    """Open connections that send a byte a second, half of them in the head, half in the body."""
    opened = []
    for number in range(SLOW_CONNECTIONS):
        _, writer = await asyncio.open_connection(server.address.host, server.address.port)
        if number % 2:
            writer.write(raw.head("POST", "/completion", 1000))
        opened.append(writer)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for writer in opened:
            if not writer.is_closing():
                writer.write(b"a")
        await asyncio.sleep(1)
    cut = sum(writer.is_closing() for writer in opened)
    print(f"slow clients: {SLOW_CONNECTIONS} for {seconds:.0f} s, of which {cut} were cut off")
    for writer in opened:
        writer.close()


async def _schemathesis(server: Server, options: argparse.Namespace, report: Report) -> None:
    """Send requests that schemathesis makes from the description, valid and invalid ones."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run"),
        f"http://{server.address}/openapi.json",
        *("--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"),
        *("--max-examples", str(options.examples), "--seed", str(options.seed)),
        *("--request-timeout", "60", "--workers", "2", "--no-color"),
        # Exclude routes that answer 501 without special flags, and routes that change the server.
        *("--exclude-path-regex", NOT_WITHOUT_FLAGS),
        # The coverage phase fails on the schema of messages, inside a library of schemathesis.
        *("--phases", "examples,fuzzing,stateful"),
    ]
    result = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False
    )
    print("\n".join(result.stdout.splitlines()[-25:]))
    if result.returncode != 0:
        report.problems.append(f"schemathesis: {result.stdout[-6000:]}{result.stderr[-2000:]}")


@asynccontextmanager
async def _bystanders(server: Server, what: str, report: Report) -> AsyncIterator[None]:
    """Run a stream and quick requests during the block; none may wait longer than the limit."""
    crowd = Crowd(server.address, lambda client, turn: greedy(client, turn, 100))
    streaming = asyncio.create_task(crowd.run(1))
    pings: list[raw.Reply] = []

    async def ping() -> None:
        while not crowd.is_over:
            pings.append(await raw.send(server.address, "GET", "/v1/models"))
            await asyncio.sleep(PING_SECONDS)

    pinging = asyncio.create_task(ping())
    try:
        yield
    finally:
        crowd.is_over = True
        await asyncio.gather(streaming, pinging)
        slowest = max(reply.seconds for reply in pings)
        gap = longest_gap(list(crowd.records.values()))
        usual = percentile([reply.seconds for reply in pings], 99)
        print(
            f"    others meanwhile: {len(pings)} quick requests, p99 {1000 * usual:.0f} ms, "
            f"slowest {1000 * slowest:.0f} ms; {len(crowd.records)} streams, "
            f"longest wait for a token {1000 * gap:.0f} ms"
        )
        failed = [reply for reply in pings if reply.status != 200]
        report.problems += [f"{what}: {error}" for error in crowd.failures.values()]
        report.problems += [f"{what}: a quick request got {r.status} {r.error}" for r in failed]
        if max(slowest, gap) > report.stall_limit:
            report.problems.append(f"{what}: somebody waited {max(slowest, gap):.2f} s")


async def _afterwards(server: Server, descriptors: int, report: Report) -> None:
    """Check that nothing is left over, and that the engine is still the same."""
    for _ in range(100):
        if not await busy_slots(server) and api_process(server).num_fds() <= descriptors + 2:
            break
        await asyncio.sleep(0.1)
    left = api_process(server).num_fds()
    busy = await busy_slots(server)
    deaths = await metric(server, "llamapack_engine_restarts_total")
    print(
        f"afterwards: {left} file descriptors (before: {descriptors}), {busy} slots busy, ", end=""
    )
    print(f"{deaths:.0f} engine restarts")
    if left > descriptors + 5 or busy or deaths:
        report.problems.append("something is left over, or the engine died")
