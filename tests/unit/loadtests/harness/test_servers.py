"""Starting and stopping real processes, with a server of one line of Python."""

from __future__ import annotations

import asyncio
import os
import sys

import psutil
import pytest

from loadtests.harness.servers import Server, ServerError, Side, running

SERVER = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'llamapack_steps_total 3\\n')
        self.wfile.write(b'llamapack_step_seconds_total{phase="decode"} 1')
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
SIDE = Side("tiny", (sys.executable, "-c", SERVER))


async def use(server: Server) -> None:
    await server.wait_ready()
    steps = (await server.counters()).steps
    assert steps is not None
    assert (steps.count, steps.seconds) == (3.0, {"decode": 1.0})
    async with server.metered() as meter:
        await asyncio.sleep(0.05)
    assert meter.cost.wall_s >= 0.05
    assert meter.cost.peak_rss_mib > 1


def test_a_server_and_its_children_are_gone_afterwards() -> None:
    with running(SIDE, ["-m", "x"]) as server:
        asyncio.run(use(server))
        family = [p.pid for p in server.processes()]
        assert len(family) == 2
    assert not any(psutil.pid_exists(pid) for pid in family)


def test_an_interrupt_leaves_no_server_behind() -> None:
    family: list[int] = []

    def interrupted() -> None:
        with running(SIDE, []) as server:
            asyncio.run(server.wait_ready())
            family.extend(p.pid for p in server.processes())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert family
    assert not any(psutil.pid_exists(pid) for pid in family)


def test_a_server_that_dies_is_told_with_its_log() -> None:
    side = Side("doomed", (sys.executable, "-c", "print('no such model'); raise SystemExit(3)"))
    with running(side, []) as server, pytest.raises(ServerError) as caught:
        asyncio.run(server.wait_ready())
    assert "doomed ended with status 3" in str(caught.value)
    assert "no such model" in str(caught.value)


def test_a_command_that_does_not_exist() -> None:
    with (
        pytest.raises(ServerError, match="/no/such/server cannot be started"),
        running(Side("missing", ("/no/such/server",)), []),
    ):
        pass


def test_no_server_finds_what_another_has_left_in_its_cache() -> None:
    folders = []
    for _ in range(2):
        with running(SIDE, []) as server:
            asyncio.run(server.wait_ready())  # until its program runs, its environment is ours
            folders.append(server.processes()[0].environ()["XDG_CACHE_HOME"])
    assert len({*folders, os.environ.get("XDG_CACHE_HOME")}) == 3
